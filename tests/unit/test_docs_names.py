# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the developers' pages name in backticks exists: files and folders, and what is defined in the code."""

from __future__ import annotations

import ast
import fnmatch
import functools
import pathlib
import re

import pytest
from support import ROOT

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "tests/README.md", *sorted((ROOT / "docs" / "dev").glob("*.md"))]
# The pages that lead to places in the code: there constants and functions must exist as well.
GUIDES = sorted((ROOT / "docs" / "dev").glob("add-*.md"))
FOLDERS = (".ci", "changelogs", "docs", "extensions", "meta", "playbooks", "plugins", "roles", "tests")
# What is made, and a checkout may lack.
MADE = (".venv", ".cache", "build/")
PATH = re.compile(r"(?:\.\./)?[\w.*-]+(?:/[\w.*-]+)+/?|[\w.-]+/|[\w*-]+\.(?:py|ya?ml|md|toml|txt)")


def words(page: pathlib.Path) -> list[str]:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    return sorted({" ".join(word.split()) for word in re.findall(r"`([^`]+)`", text)})


@functools.cache
def paths() -> frozenset[str]:
    """Return the files and folders of a checkout."""
    found = [*ROOT.iterdir(), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
    return frozenset(str(path.relative_to(ROOT)) for path in found)


def is_there(word: str) -> bool:
    """Whether a path is that of something in the checkout, from its root or from any folder on."""
    pattern = word.replace("../", "").rstrip("/")
    return any(fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"*/{pattern}") for path in paths())


@functools.cache
def defined() -> frozenset[str]:
    """Return all names that modules and classes define, alone and behind that of their module or class."""
    found: set[str] = set()
    for path in (path for path in paths() if path.endswith(".py")):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for owner, body in ((pathlib.Path(path).stem, tree.body), *((node.name, node.body) for node in classes)):
            for name in filter(None, map(name_of, body)):
                found |= {name, f"{owner}.{name}"}
    return frozenset(found)


def name_of(node: ast.stmt) -> str | None:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return target.id if isinstance(target, ast.Name) else None
    return node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_and_folders_that_a_page_names_exist(page: pathlib.Path) -> None:
    named = [word for word in words(page) if PATH.fullmatch(word) and not word.startswith(MADE)]
    named += re.findall(r"(?m)\bTEST=(\S+)$", page.read_text(encoding="utf-8"))
    assert [word for word in named if not is_there(word)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_names_in_a_module_or_class_exist(page: pathlib.Path) -> None:
    named = [word for word in words(page) if re.fullmatch(r"\w+\.\w+(?:\(\))?", word) and not PATH.fullmatch(word)]
    assert [word for word in named if word.removesuffix("()") not in defined()] == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_the_constants_and_functions_that_a_guide_names_exist(page: pathlib.Path) -> None:
    named = [word for word in words(page) if re.fullmatch(r"_?[A-Z][A-Z_]+|\w+\(\)", word)]
    assert named
    assert [word for word in named if word.removesuffix("()") not in defined()] == []


def test_other_names_are_found_missing() -> None:
    assert is_there("_links/attributes.py")
    assert is_there("tests/unit/domains/test_sequences*.py")
    assert not is_there("_links/attribute.py")
    assert not is_there("links/attributes.py")
    assert {"LINK", "Field.normalize", "_plan.converge"} <= defined()
    assert not {"Field.normalise", "_plan.convert"} & defined()
