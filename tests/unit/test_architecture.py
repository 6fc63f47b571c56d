# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The import rules of docs/dev/architecture.md."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import typing as t

import pytest

PLUGINS = pathlib.Path(__file__).parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
PREFIX = "ansible_collections.linuxvirt.macvtap.plugins.module_utils"

# Modules that read or change a host. `struct` and `time` do neither; signals reach only this process.
READS_HOST = frozenset(
    "ctypes fcntl glob grp libvirt nftables os pwd pyroute2 select shutil socket subprocess tempfile".split()  # noqa: SIM905
)
# Functions of os.path that only process names.
OF_NAMES = frozenset(("basename", "commonpath", "dirname", "join", "normpath", "relpath", "split"))

# Planners, as patterns of file names.
PLANNERS = (
    "*.planner *_planner *.validate *.warnings *.impacts *.parents _domains.identity *.steps *.rollback *.vlans",
    "*.vlan_validate *.vlan_warnings *.undo *.reachability *.routing *.desired *.choose_backend *.link_modes",
    "*.choice *.judge *.support *.blockers *.hints *.assignment *.selection *.resolution *.sharing *.multicast",
    "*.states *.impact *.merging *.declare *.auto *.sources *.disruptions *.network_validate *.report *.inspection",
    "_fleet.* _report.* _plan *.pausing *.rollback_warnings *.waiting *.questions *.prediction",
    "_addresses.guests _addresses.options _addresses.connections",
    "_migration.nics _migration.inventory _migration.along _migration.look _migration.announced",
    "_migration.parity _migration.reported _domains.segments _domains.source_users _forms *.conflicts",
)

# Glue that modules share: it queries a host, and decides by the answer.
GLUE = (
    "_reflective_relay.ask",
    "_domains.run",
    "_networks.run",
    "_migration.run",
    "_migration.rule_run",
    "_migration.announce_run",
    "_guard.reading",
    "_addresses.run",
    "_guard.around",
    "_runs.*",
    "_host_plan.run",
)

# The floors from top to bottom. A package imports only packages of lower floors and the core: all files outside of
# packages.
LAYERS = (
    ("_host_plan",),
    ("_report", "_runs"),
    ("_fleet", "_addresses"),
    ("_migration",),
    ("_domains", "_dhcp"),
    ("_networks",),
    ("_persistence", "_keeper", "_guard"),
    ("_host_access", "_reflective_relay", "_kernel", "_libvirt"),
    ("_links", "_nft"),
)
PACKAGES = frozenset(package for floor in LAYERS for package in floor)

# Readable sizes. The documentation string of a function does not count.
MAX_LINES_OF_FILE = 300
MAX_LINES_OF_FUNCTION = 50
DOCUMENTATION = (["DOCUMENTATION"], ["EXAMPLES"], ["RETURN"])

DOCS = PLUGINS.parent / "docs" / "dev"
# Files whose name says what they are in every package.
UNLISTED = frozenset(("model", "planner"))


def name_of(file: pathlib.Path) -> str:
    return ".".join(file.relative_to(UTILS).with_suffix("").parts)


@functools.cache
def imports_of(file: pathlib.Path) -> frozenset[str]:
    """Return all imports of a file, including those in functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            # The name may be a submodule, or belong to its module.
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return frozenset(found)


FILES: dict[str, pathlib.Path] = {
    name_of(file): file for file in sorted(UTILS.rglob("*.py")) if file.name != "__init__.py"
}


def ours(file: pathlib.Path) -> set[str]:
    """Return the modules of module_utils that ``file`` imports."""
    found = set()
    for name in imports_of(file):
        if name.startswith(PREFIX + "."):
            rest = name[len(PREFIX) + 1 :]
            found.add(rest if rest in FILES else rest.rpartition(".")[0])
    return found & FILES.keys()


@functools.cache
def reads_host(file: pathlib.Path) -> frozenset[str]:
    """Return which imports of ``file`` itself read a host. Some of ``os.path`` only processes names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    direct = READS_HOST & {name.partition(".")[0] for name in imports_of(file)}
    of_os = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    pure_paths = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
        and (node.value.value.id, node.value.attr) == ("os", "path")
    }
    if of_os == {"path"} and pure_paths <= OF_NAMES:
        direct -= {"os"}
    return direct


def reached(names: t.Iterable[str]) -> set[str]:
    """Return ``names`` and all that they import, directly or indirectly."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(ours(FILES[name]))
    return found


def matching(patterns: t.Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in FILES for pattern in patterns if pathlib.PurePath(name).match(pattern))


ADAPTERS = frozenset(name for name in FILES if any(reads_host(FILES[one]) for one in reached([name])))
DECIDES = matching(" ".join(PLANNERS).split())


def test_every_pattern_of_planners_is_for_something() -> None:
    unused = [
        pattern
        for pattern in " ".join(PLANNERS).split()
        if not any(pathlib.PurePath(name).match(pattern) for name in FILES)
    ]
    assert unused == []
    assert {name.partition(".")[0] for name in FILES if "." in name} == PACKAGES


@pytest.mark.parametrize("name", sorted(DECIDES))
def test_what_decides_reads_no_host(name: str) -> None:
    by = {one: reads_host(FILES[one]) for one in reached([name]) if reads_host(FILES[one])}
    assert by == {}


@pytest.mark.parametrize("name", sorted(ADAPTERS - matching(GLUE)))
def test_an_adapter_imports_nothing_that_decides(name: str) -> None:
    # _plan has the journal, in which an adapter records what it begins.
    assert ours(FILES[name]) & DECIDES - {"_plan"} == set()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_package_imports_those_below_it_alone(name: str) -> None:
    package = name.partition(".")[0]
    floor = next((n for n, packages in enumerate(LAYERS) if package in packages), len(LAYERS))
    below = {one for packages in LAYERS[floor + 1 :] for one in packages}
    packages = {one.partition(".")[0] for one in ours(FILES[name]) if "." in one}
    assert packages - {package, *below} == set()


@pytest.mark.parametrize("file", sorted((PLUGINS / "filter").glob("*.py")), ids=lambda file: file.stem)
def test_the_controllers_side_reads_no_host(file: pathlib.Path) -> None:
    assert reads_host(file) == frozenset()
    assert reached(ours(file)) & ADAPTERS == set()


def test_the_picture_of_the_packages_is_true() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    picture = text.partition("┌─ plugins/module_utils/")[2].partition("└")[0]
    *floors, core = picture.split("▼")
    assert tuple(tuple(re.findall(r"│  (_\w+)", floor)) for floor in floors) == LAYERS
    files = {name for name in FILES if "." not in name}
    assert set(re.findall(r"\b_\w+", core)) == files
    table = text.partition("| in the core |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(_\w+)\.py`", table)) == files


@pytest.mark.parametrize("package", sorted(PACKAGES - {"_dhcp", "_keeper"}))
def test_the_notes_list_every_file_of_a_package(package: str) -> None:
    notes = (DOCS / "notes.md").read_text(encoding="utf-8")
    table = notes.partition(f": `{package}/`\n\n")[2].partition("\n\n")[0]
    listed = [name for row in table.splitlines() for name in re.findall(r"`([\w/]+)\.py`", row.split("|")[1])]
    files = {name.partition(".")[2].replace(".", "/") for name in FILES if name.startswith(f"{package}.")}
    assert len(listed) == len(set(listed))
    assert set(listed) - files == set()
    assert files - set(listed) - UNLISTED == set()


def test_no_package_has_the_description_of_another() -> None:
    trees = [ast.parse((UTILS / package / "__init__.py").read_text(encoding="utf-8")) for package in PACKAGES]
    texts = [text for text in map(ast.get_docstring, trees) if text]
    assert len(texts) > 5
    assert len(set(texts)) == len(texts)


def span_of(node: ast.stmt) -> int:
    return t.cast("int", node.end_lineno) - node.lineno + 1


def lines_of(function: ast.FunctionDef) -> int:
    """Return how many lines a function has of its own, without its documentation string."""
    documentation = span_of(function.body[0]) if ast.get_docstring(function) is not None else 0
    return span_of(function) - documentation - sum(map(span_of, functions_in(function)))


def functions_in(node: ast.AST) -> t.Iterator[ast.FunctionDef]:
    """Yield the functions in ``node``, but not those in these functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        else:
            yield from functions_in(child)


def lines_of_code(text: str) -> int:
    """Return the number of lines of a file, without a module's documentation blocks."""
    lines = len(text.splitlines())
    if lines <= MAX_LINES_OF_FILE:
        return lines
    blocks = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and [target.id for target in node.targets if isinstance(target, ast.Name)][:1] in DOCUMENTATION
    ]
    return lines - sum(1 + (node.end_lineno or 0) - node.lineno for node in blocks)


def test_a_file_can_be_read_in_one_go() -> None:
    root = PLUGINS.parent
    folders = (".ci", "docs", "extensions", "plugins", "roles", "tests")
    files = (file for folder in folders for file in (root / folder).rglob("*.py"))
    lines = {str(file.relative_to(root)): lines_of_code(file.read_text(encoding="utf-8")) for file in files}
    assert "plugins/modules/macvtap_link.py" in lines
    assert {name: count for name, count in lines.items() if count > MAX_LINES_OF_FILE} == {}


@pytest.mark.parametrize("file", sorted(PLUGINS.rglob("*.py")), ids=lambda file: str(file.relative_to(PLUGINS)))
def test_a_function_can_be_seen_at_once(file: pathlib.Path) -> None:
    """A function inside of another counts by itself: a module's stages are such functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    own = {f"{node.name} in line {node.lineno}": lines_of(node) for node in functions}
    assert {name: lines for name, lines in own.items() if lines > MAX_LINES_OF_FUNCTION} == {}


def test_all_hosts_that_tests_make_up_have_the_same_loopback_link() -> None:
    # It shows whether the kernel has IPv6: what needs that is not tested on a host whose link lacks a field.
    tests = PLUGINS.parent / "tests"
    files = (*tests.glob("*.py"), *(tests / "unit").rglob("*.py"))
    own = [path for path in files if re.search(r"\bLink\(\s*\"lo\"", path.read_text(encoding="utf-8"))]
    assert own == [tests / "loopback.py"]
