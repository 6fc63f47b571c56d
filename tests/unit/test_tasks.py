# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Every task of roles, playbooks, documentation and molecule sets only options that its module has.

Ansible finds a wrong option when the task runs, and some tasks run only with a tag or on a certain host.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import re
import typing as t

import pytest
import yaml
from support import MODULES, ROOT, documented

PREFIX = "linuxvirt.macvtap."
NAMES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
FILES = sorted(
    path
    for pattern in ("roles/*/tasks/*.yml", "playbooks/**/*.yml", "extensions/molecule/**/*.yml")
    for path in ROOT.glob(pattern)
)
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md"))]


class _Loader(yaml.SafeLoader):
    """Takes a value with a tag of Ansible's own (!vault, !unsafe) as it is."""


_Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(t.cast("t.Any", node)))


def tasks(value: t.Any) -> t.Iterator[tuple[str, t.Any]]:
    """Yield the module and the arguments of each task of this collection, wherever it is."""
    if isinstance(value, list):
        for one in value:
            yield from tasks(one)
    elif isinstance(value, dict):
        for key, inner in value.items():
            name = str(key).removeprefix(PREFIX)
            if str(key).startswith(PREFIX) and name in NAMES and isinstance(inner, (dict, type(None))):
                yield name, inner or {}
            yield from tasks(inner)


@functools.lru_cache
def options_of(module: str) -> dict[str, t.Any]:
    return documented(importlib.import_module(f"{MODULES}.{module}"))


def unknown(arguments: t.Any, options: t.Mapping[str, t.Any]) -> list[str]:
    """Return the paths of arguments that are not options. Templates have no keys to look at."""
    known = {alias: spec for name, spec in options.items() for alias in (name, *spec.get("aliases", ()))}
    found = []
    for name, value in arguments.items():
        if name not in known:
            found.append(name)
            continue
        entries = value if isinstance(value, list) else [value]
        suboptions = known[name].get("suboptions", {})
        found += [
            f"{name}.{inner}"
            for entry in entries
            if suboptions and isinstance(entry, dict)
            for inner in unknown(entry, suboptions)
        ]
    return found


def unknown_in(text: str) -> list[str]:
    return [
        f"{module}: {path}"
        for document in yaml.load_all(text, Loader=_Loader)
        for module, arguments in tasks(document)
        for path in unknown(arguments, options_of(module))
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_task_has_only_options_of_its_module(file: pathlib.Path) -> None:
    assert unknown_in(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_task_in_a_page_has_only_options_of_its_module(page: pathlib.Path) -> None:
    for block in re.findall(r"(?ms)^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8")):
        assert unknown_in(block) == []


@pytest.mark.parametrize("module", NAMES)
def test_an_example_of_a_module_has_only_options_of_modules(module: str) -> None:
    text = importlib.import_module(f"{MODULES}.{module}").EXAMPLES
    assert list(tasks(yaml.safe_load(text)))
    assert unknown_in(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- linuxvirt.macvtap.macvtap_persistence: {backend: auto}", ["macvtap_persistence: backend"]),
        ("- block: [{linuxvirt.macvtap.macvtap_link: {lniks: []}}]", ["macvtap_link: lniks"]),
        ("- linuxvirt.macvtap.vlan_link: {vlans: [{id: 20, source: eth0}, {vid: 30}]}", ["vlan_link: vlans.vid"]),
    ],
)
def test_an_unknown_option_is_found(text: str, found: list[str]) -> None:
    assert unknown_in(text) == found


@pytest.mark.parametrize("file", ["main.yml", "absent.yml"])
def test_the_tag_vlans_writes_vlan_links_as_the_whole_role_does(file: str) -> None:
    text = (ROOT / "roles/macvtap_links/tasks" / file).read_text(encoding="utf-8")
    whole, alone, *_again = [
        arguments for module, arguments in tasks(yaml.safe_load(text)) if module == "macvtap_persistence"
    ]
    assert "links" not in alone
    assert alone.items() <= whole.items()
