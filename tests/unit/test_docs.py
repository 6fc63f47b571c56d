# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The pages: links work, pictures match their texts, and quoted messages exist in the source."""

from __future__ import annotations

import ast
import fnmatch
import functools
import pathlib
import re
import runpy
import typing as t
import xml.etree.ElementTree as ET

import pytest
import yaml
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

PAGES = [
    *(ROOT / name for name in ("README.md", "CODE_OF_CONDUCT.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "roles").glob("*/README.md")),
]
# For developers in a checkout. Their links may lead outside of the built collection.
DEVELOPERS_PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "tests/README.md", *sorted((ROOT / "docs" / "dev").glob("*.md"))]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.txt"))
# The placeholder of a value in a message, and the minimum length of the rest.
VALUE, LEAST = "\0", 12


def relative(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def section(page: str, heading: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?ms)^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text)
    return str(found)


def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors of a page's headings, as they are rendered."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@functools.lru_cache
def left_out() -> list[str]:
    return list(yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"])


def is_shipped(path: pathlib.Path) -> bool:
    inside = path.relative_to(ROOT)
    names = [str(part) for part in (inside, *inside.parents)]
    return not any(fnmatch.fnmatch(name, pattern) for name in names for pattern in left_out())


@pytest.mark.parametrize("page", [*PAGES, *DEVELOPERS_PAGES], ids=relative)
def test_links_and_pictures_are_there(page: pathlib.Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _hash, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert page in DEVELOPERS_PAGES or is_shipped(target), f"{link} is not in the built collection"
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_found() -> None:
    linked = {
        (page.parent / link).resolve()
        for page in (*PAGES, *DEVELOPERS_PAGES)
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    }
    assert {*PAGES, *DEVELOPERS_PAGES} - linked - {ROOT / "README.md"} == set()
    assert {path.with_suffix(".svg") for path in PICTURES} <= linked


@pytest.mark.parametrize("text", PICTURES, ids=relative)
def test_a_picture_is_what_its_text_says(text: pathlib.Path) -> None:
    draw = runpy.run_path(str(text.parent / "draw.py"))["draw"]
    svg = text.with_suffix(".svg").read_text(encoding="utf-8")
    assert draw(text.read_text(encoding="utf-8")) == svg, "run docs/pictures/draw.py"
    title = ET.fromstring(svg).find("{http://www.w3.org/2000/svg}title")  # noqa: S314
    assert title is not None
    assert title.text


def test_developers_pages_are_not_in_the_built_collection() -> None:
    assert [page for page in DEVELOPERS_PAGES if is_shipped(page)] == [ROOT / "CONTRIBUTING.md"]


def test_the_files_in_the_notes_tables_are_in_their_packages() -> None:
    notes = (ROOT / "docs/dev/notes.md").read_text(encoding="utf-8")
    named = [
        (package, file)
        for package, text in re.findall(r"(?ms)^## [^\n]*`(_\w+)/`$(.*?)(?=^## |\Z)", notes)
        for cells in re.findall(r"(?m)^\| ([^|]*) \|", text)
        for file in re.findall(r"`(\w+\.py)`", cells)
    ]
    assert len(named) > 50
    assert [one for one in named if not (ROOT / "plugins/module_utils" / one[0] / one[1]).exists()] == []


def helpers_on_the_page() -> set[str]:
    return set(re.findall(r"`([\w/]+\.py)`", (ROOT / "tests/README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", ["tests", "tests/torture"])
def test_each_helper_of_the_tests_is_on_their_page(folder: str) -> None:
    there = {path.name for path in (ROOT / folder).glob("*.py") if not path.name.startswith(("__", "conftest"))}
    assert len(there) > 20
    assert sorted(there - helpers_on_the_page()) == []


def test_the_helpers_on_the_page_exist() -> None:
    there = [path for folder in ("tests", ".ci", "extensions") for path in (ROOT / folder).rglob("*.py")]
    assert [name for name in helpers_on_the_page() if not any(path.match(name) for path in there)] == []


@pytest.mark.parametrize("impact", [one.value for one in Impact])
def test_each_impact_is_in_the_architecture_and_in_the_page_about_costs(impact: str) -> None:
    architecture = (ROOT / "docs/dev/architecture.md").read_text(encoding="utf-8")
    listed = architecture.partition("its changes field by field with their impact:")[2].partition("\n\n")[0]
    assert f"`{impact}`" in listed
    assert f"`{impact}`" in (ROOT / "docs/costs.md").read_text(encoding="utf-8")


def test_the_make_targets_in_contributing_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    for page in (*PAGES, *DEVELOPERS_PAGES):
        for words in re.findall(r"(?:^|`)make ([a-z -]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert set(words.split()) <= targets, f"{relative(page)}: make {words}"


def yaml_of_the_docs() -> t.Iterator[t.Any]:
    """Yield all YAML in the pages and in the plugins' documentation."""
    for page in PAGES:
        for number, text in enumerate(re.findall(r"(?ms)^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"))):
            yield pytest.param(text, id=f"{relative(page)} {number}")
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        for name, text in re.findall(
            r'(?ms)^(DOCUMENTATION|EXAMPLES|RETURN|_OPTIONS) = r?"""(.*?)^"""', path.read_text(encoding="utf-8")
        ):
            yield pytest.param(text, id=f"{relative(path)} {name}")


def numbers(value: t.Any) -> t.Iterator[int]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int):
        yield value


@pytest.mark.parametrize("text", list(yaml_of_the_docs()))
def test_no_address_is_shown_that_yaml_takes_for_a_number(text: str) -> None:
    # 52:54:00:00:00:01 counts seconds, to the base of 60.
    assert [number for number in numbers([*yaml.safe_load_all(text)]) if number > 10**9] == []


def test_yaml_was_found_and_an_address_without_quotes_is_a_number() -> None:
    assert len(list(yaml_of_the_docs())) > 40
    assert next(numbers(yaml.safe_load("- {mac: 52:54:00:00:00:01}"))) > 10**9


def template(node: ast.AST) -> str | None:
    """Return a text of the source with VALUE for each placeholder, or None for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or VALUE for part in node.values)
    return None


@functools.lru_cache
def patterns() -> tuple[re.Pattern[str], ...]:
    """Return patterns of the collection's messages, and of their beginnings up to a punctuation mark."""
    found: set[str] = set()
    for path in (ROOT / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = template(node)
            if text and "\n" not in text:
                ends = {match.start() for match in re.finditer(r"[.,;:] |$", text)}
                found |= {text[:end] for end in ends if len(text[:end].replace(VALUE, "")) >= LEAST}
    return tuple(re.compile(re.escape(text).replace(re.escape(VALUE), "(.+?)")) for text in sorted(found))


def is_said(message: str) -> bool:
    """Whether the source has this message. Placeholders must not make up most of it."""
    for pattern in patterns():
        match = pattern.fullmatch(message.removesuffix(": …"))
        if match and sum(map(len, match.groups())) <= len(message) * 0.6:
            return True
    return False


def quoted() -> t.Iterator[t.Any]:
    for message in re.findall(r"(?m)^\| `([^`]+)` \|", section("troubleshooting.md", "From this collection")):
        yield pytest.param(message, id=message[:40])
    for page in ("modes.md", "migrating.md", "multicast.md"):
        shown = re.findall(r"(?m)^    (.*)$", (ROOT / "docs" / page).read_text(encoding="utf-8"))
        for line in shown:
            if not re.match(r"(ansible|ansible-playbook|ip|sed|virsh) ", line):
                yield pytest.param(line, id=f"{page}: {line[:30]}")


@pytest.mark.parametrize("message", list(quoted()))
def test_a_quoted_message_is_one_of_the_sources(message: str) -> None:
    assert is_said(message), message


def test_messages_were_found_and_others_are_distinguished() -> None:
    assert len(list(quoted())) > 15
    assert not is_said("eth0 is a port of the bridge br0, which receives some of its frames")
    assert not is_said("there is no switch eth1 on this host")
