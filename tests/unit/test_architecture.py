# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The import rules of docs/dev/architecture.md."""

from __future__ import annotations

import ast
import functools
import pathlib
import typing as t

import pytest

PLUGINS = pathlib.Path(__file__).parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
PREFIX = "ansible_collections.linuxvirt.macvtap.plugins.module_utils"

# Modules that read or change a host. `struct` and `time` do neither; signals reach only this process.
READS_HOST = frozenset(
    "ctypes fcntl glob grp libvirt os pwd pyroute2 select shutil socket subprocess tempfile".split()  # noqa: SIM905
)
# Functions of os.path that only process names.
OF_NAMES = frozenset(("basename", "commonpath", "dirname", "join", "normpath", "relpath", "split"))

# Planners, as patterns of file names.
PLANNERS = (
    "*.planner *.validate *.warnings *.impacts *.parents _domains.identity *.steps *.rollback *.vlans",
    "*.vlan_validate *.vlan_warnings *.undo *.reachability *.routing *.desired *.choose_backend *.link_modes",
    "*.choice *.judge *.support *.blockers *.hints *.assignment *.selection *.resolution *.sharing *.multicast",
    "*.states *.impact *.merging *.declare *.auto *.sources *.disruptions _domains.report *.inspection _fleet.* _plan",
)

# Glue that modules share: it queries a host, and decides by the answer.
GLUE = frozenset(("_reflective_relay.ask", "_domains.run"))

# From top to bottom. A package imports only packages below it and the core, which is all files outside of packages.
LAYERS = (
    "_fleet",
    "_domains",
    "_keeper",
    "_dhcp",
    "_persistence",
    "_host_access",
    "_reflective_relay",
    "_kernel",
    "_links",
)


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


def reads_host(file: pathlib.Path) -> set[str]:
    """Return which imports of ``file`` itself read a host. Some of ``os.path`` only processes names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    direct = {name.partition(".")[0] for name in imports_of(file)} & READS_HOST
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


ADAPTERS = frozenset(name for name in FILES if any(reads_host(FILES[one]) for one in reached([name])))
DECIDES = frozenset(
    name for name in FILES for pattern in " ".join(PLANNERS).split() if pathlib.PurePath(name).match(pattern)
)


def test_every_pattern_of_planners_is_for_something() -> None:
    unused = [
        pattern
        for pattern in " ".join(PLANNERS).split()
        if not any(pathlib.PurePath(name).match(pattern) for name in FILES)
    ]
    assert unused == []
    assert {name.partition(".")[0] for name in FILES if "." in name} == set(LAYERS)


@pytest.mark.parametrize("name", sorted(DECIDES))
def test_what_decides_reads_no_host(name: str) -> None:
    by = {one: reads_host(FILES[one]) for one in reached([name]) if reads_host(FILES[one])}
    assert by == {}


@pytest.mark.parametrize("name", sorted(ADAPTERS - GLUE))
def test_an_adapter_imports_nothing_that_decides(name: str) -> None:
    # _plan has the journal, in which an adapter records what it begins.
    assert ours(FILES[name]) & DECIDES - {"_plan"} == set()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_package_imports_those_below_it_alone(name: str) -> None:
    package = name.partition(".")[0]
    below = LAYERS[LAYERS.index(package) + 1 :] if package in LAYERS else ()
    packages = {one.partition(".")[0] for one in ours(FILES[name]) if "." in one}
    assert packages - {package, *below} == set()


@pytest.mark.parametrize("file", sorted((PLUGINS / "filter").glob("*.py")), ids=lambda file: file.stem)
def test_the_controllers_side_reads_no_host(file: pathlib.Path) -> None:
    assert reads_host(file) == set()
    assert reached(ours(file)) & ADAPTERS == set()
