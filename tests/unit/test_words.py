# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of all modules and roles use one word for one thing, and no word for two."""

from __future__ import annotations

import importlib
import re
import typing as t

import pytest
import yaml
from support import MODULES, ROOT, documented

Option = t.Mapping[str, t.Any]


def _options(where: str, options: t.Mapping[str, Option]) -> t.Iterator[tuple[str, str, Option]]:
    for name, option in options.items():
        yield where, name, option
        yield from _options(f"{where}.{name}", option.get("suboptions") or option.get("options") or {})


def _of_modules() -> list[tuple[str, str, Option]]:
    names = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
    return [one for name in names for one in _options(name, documented(importlib.import_module(f"{MODULES}.{name}")))]


def _of_roles() -> list[tuple[str, str, Option]]:
    files = sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))
    specs = [yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"] for file in files]
    return [one for spec in specs for one in _options("roles", spec)]


OF_MODULES, OF_ROLES = _of_modules(), _of_roles()


def _named(*names: str, among: t.Sequence[tuple[str, str, Option]] = OF_MODULES) -> list[tuple[str, str, Option]]:
    found = [one for one in among if {one[1], *one[2].get("aliases", ())} & set(names)]
    assert found
    return found


@pytest.mark.parametrize("name", ["parent", "source"])
def test_parent_and_source_are_aliases_of_each_other(name: str) -> None:
    for where, own, option in _named(name):
        assert {own, *option["aliases"]} >= {"parent", "source"}, where


def test_a_vlan_link_has_the_words_of_other_modules_for_vlans() -> None:
    for where, own, option in _named("id"):
        assert (own, option["aliases"]) == ("id", ["vlan_id", "vlanid"]), where
    assert [(where, own) for where, own, _option in _named("vlandev")] == [
        ("macvtap_persistence.vlans", "parent"),
        ("vlan_link.vlans", "parent"),
        ("vlan_link", "parent"),
    ]


def test_each_mode_is_accepted_by_its_word_of_the_kernel_and_of_libvirt() -> None:
    modes = [
        one for one in [*OF_MODULES, *OF_ROLES] if one[1].endswith("mode") and "bridge" in one[2].get("choices", ())
    ]
    assert len(modes) >= 10
    for where, _name, option in modes:
        assert {"passthru", "passthrough", "auto"} < set(option["choices"]), where


def test_what_creates_a_link_at_boot_is_persistence_everywhere() -> None:
    assert not [where for where, name, option in OF_MODULES if "backend" in (name, *option.get("aliases", ()))]
    for where, name, option in _named("persistence"):
        assert name == "persistence", where
        assert "systemd" in option["choices"], where


def test_an_address_without_a_word_before_it_is_an_ip_address() -> None:
    assert not [where for where, name, option in OF_MODULES if "address" in (name, *option.get("aliases", ()))]
    for where, name, option in _named("addresses"):
        assert (name, option["elements"]) == ("addresses", "str"), where
        assert "IP address" in str(option["description"]) or re.match(r"See O\(.*addresses\)", option["description"]), (
            where
        )
