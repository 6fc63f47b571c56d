# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is defined is used: no function, class or constant is left over from an earlier way of doing something."""

from __future__ import annotations

import ast
import collections
import functools
import pathlib
import re
import typing as t

import pytest
from support import ROOT

FOLDERS = (".ci", "docs", "extensions", "playbooks", "plugins", "roles", "tests")
# Names that something else looks for: pytest, Ansible, the standard library in its subclasses, and getattr().
BY_OTHERS = re.compile(
    r"__\w+__|test_\w+|pytest_\w+|InventoryModule|_connect|put_file|fetch_file|emit|log_message|handle_\w+|_act_\w+"
)
# The settings of Sphinx; and what only keeps imports loaded.
EXCEPT = {"docs/dev/site/conf.py", "plugins/action/macvtap_host_plan.py"}
# Where a name may stand that means a thing of Python.
READ = {".py", ".yml", ".j2", ".sh", ".toml", ""}


def files() -> t.Iterator[pathlib.Path]:
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in READ and path.is_file())
    yield from (ROOT / name for name in ("Makefile", "pyproject.toml"))


@functools.lru_cache
def words() -> collections.Counter[str]:
    """Return how often each word occurs in code, strings and comments."""
    return count(path.read_text(encoding="utf-8", errors="replace") for path in files())


def count(texts: t.Iterable[str]) -> collections.Counter[str]:
    """Return how often each word occurs, and under ``.word`` how often behind a dot."""
    found: collections.Counter[str] = collections.Counter()
    for text in texts:
        found.update(re.findall(r"\w+", text))
        found.update(re.findall(r"\.\w+", text))
    return found


def is_called(decorator: ast.expr) -> bool:
    """Whether pytest or Hypothesis calls what is decorated, without its name being anywhere."""
    return re.search(r"\b(fixture|rule)\b", ast.unparse(decorator)) is not None


def defined(tree: ast.Module) -> t.Iterator[str]:
    """Yield the names of a file's functions and classes, of their methods, and of what is assigned at its top."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not any(map(is_called, node.decorator_list)):
            yield node.name
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def unused(text: str, occurring: t.Mapping[str, int]) -> set[str]:
    """Return the names that a file defines and nothing uses. One with an underscore belongs to its file."""
    own = count([text])
    return {
        name
        for name in defined(ast.parse(text))
        if not BY_OTHERS.fullmatch(name)
        and (own[name] == 1 and not occurring[f".{name}"] if name.startswith("_") else occurring[name] == 1)
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_that_is_defined_is_used(folder: str) -> None:
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        if str(path.relative_to(ROOT)) in EXCEPT:
            continue
        names = unused(path.read_text(encoding="utf-8"), words())
        if names:
            found[str(path.relative_to(ROOT))] = sorted(names)
    assert found == {}


def test_what_is_unused_is_found() -> None:
    text = "A, B = 1, 2\nC: int = A\ndef f(): return f2()\ndef f2(): return C\nclass K:\n  def m(self): pass\n"
    assert unused(text, count([text])) == {"B", "f", "K", "m"}
    # Another file may have a constant of this name.
    assert unused("_A, B = 1, 2", count(["_A, B = 1, 2", "_A, B = 1, 2", "print(_A, B)"])) == {"_A"}
    assert unused("_A = 1", count(["_A = 1", "module._A"])) == set()
