# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Misspelt variables, which have no effect."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from compared import H1, NOTHING
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, names


def test_the_known_variables_are_those_of_the_roles_and_playbooks() -> None:
    roles = set()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        roles |= set(yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"])
        roles |= set(yaml.safe_load((path.parents[1] / "defaults/main.yml").read_text()))
    assert roles == names.KNOWN


def results(value: t.Any) -> t.Iterator[str]:
    """Yield the variables that tasks set, wherever they are."""
    if isinstance(value, list):
        for one in value:
            yield from results(one)
    elif isinstance(value, dict):
        yield from value.get("ansible.builtin.set_fact", ())
        yield from [value["register"]] if "register" in value else ()
        for inner in value.values():
            yield from results(inner)


def test_what_the_roles_and_playbooks_set_is_no_misspelt_variable_of_a_run_after_them() -> None:
    files = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    found = {name for path in files for name in results(yaml.safe_load(path.read_text(encoding="utf-8")))}
    assert {"macvtap_plan", "macvtap_preflight_found", "macvtap_migration_rests"} <= found
    assert list(names.misspelt(found)) == []
    assert list(names.unknown(found)) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("macvtap_domain_interfaces", "macvtap_domains_interfaces"),
        ("macvtap_domains_interface", "macvtap_domains_interfaces"),
        ("macvtap_link_links", "macvtap_links_links"),
        ("macvtap_hostaccess_shims", "macvtap_host_access_shims"),
        ("macvtap_domains_sorce", "macvtap_domains_source"),
        ("macvtap_segmnet", "macvtap_segment"),
        ("macvtap_preflight_alow", "macvtap_preflight_allow"),
        ("mactap_links_links", "macvtap_links_links"),
        ("MACVTAP_LINKS_LINKS", "macvtap_links_links"),
        # Its former name, which is similar to no variable.
        ("macvtap_host_access_companions", "macvtap_host_access_shims"),
    ],
)
def test_a_misspelt_variable_is_a_conflict(name: str, meant: str) -> None:
    (conflict,) = compare.conflicts({"hv1": {"declared": NOTHING, "found": H1, "names": [name, meant]}})
    assert conflict.kind == "declaration"
    assert conflict.message.startswith(f"{name}: no role reads this variable")
    assert conflict.message.endswith(f"did you mean {meant}?")


def test_variables_of_the_user_are_left_alone() -> None:
    for own in ("macvtap_uplink_of_the_rack", "macvtap_links_result", "macvtap_preflight_hosts", "mac", "macvtap_"):
        assert list(names.misspelt([own])) == []
    assert list(names.misspelt(names.KNOWN)) == []
    assert list(names.unknown(["macvtap_uplink_of_the_rack", "mac", "macvtap_links_result", *names.KNOWN])) == [
        "macvtap_uplink_of_the_rack"
    ]
