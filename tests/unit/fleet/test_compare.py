# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whole fleets: order, size, and reading reports back."""

from __future__ import annotations

import copy
import typing as t

import pytest
import yaml
from compared import H1, H2, A, conflicts
from fleet import declared, many
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, options, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.declared import DEFAULTS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.names import KNOWN


def test_the_defaults_are_those_of_the_roles() -> None:
    roles: dict[str, t.Any] = {"macvtap_preflight_allow": []}
    for role in ("kernel", "guard", "links", "networks", "domains", "host_access"):
        roles |= yaml.safe_load((ROOT / f"roles/macvtap_{role}/defaults/main.yml").read_text())
    assert {name: roles[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_unset_variable_has_its_default(nothing: str | None) -> None:
    variables = dict.fromkeys((*DEFAULTS, "macvtap_segment", "macvtap_host_access_addresses"), nothing)
    assert conflicts((variables, H1), (declared(links=[{"name": "x0", "mac": A}], links_mode=nothing), H2)) == []


@pytest.mark.parametrize(
    ("role", "variable", "spec"),
    [
        ("guard", "guards", options.GUARDS),
        ("links", "links", options.LINK),
        ("links", "vlans", options.VLAN),
        ("networks", "networks", options.NETWORK),
        ("domains", "interfaces", options.INTERFACE),
        ("host_access", "shims", options.SHIM),
    ],
)
def test_entries_are_read_by_what_the_role_takes(role: str, variable: str, spec: options.Spec) -> None:
    specs = yaml.safe_load((ROOT / f"roles/macvtap_{role}/meta/argument_specs.yml").read_text())
    entry = specs["argument_specs"]["main"]["options"][f"macvtap_{role}_{variable}"]["options"]
    assert shape(entry) == shape(spec)


def test_variables_are_read_by_what_the_roles_take() -> None:
    for name, option in options.VARIABLES.items():
        if name == "macvtap_preflight_allow":
            continue
        roles = [
            role
            for role in ("kernel", "guard", "links", "networks", "domains", "host_access")
            if name.startswith(f"macvtap_{role}")
        ]
        for role in roles or ("links", "domains", "host_access"):
            specs = yaml.safe_load((ROOT / f"roles/macvtap_{role}/meta/argument_specs.yml").read_text())
            assert shape({name: specs["argument_specs"]["main"]["options"][name]}) == shape({name: option})


def shape(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the parts of options that decide which values are valid."""
    return {
        name: (
            option["type"].replace("raw", "str"),
            sorted(map(str, option.get("choices", ()))),
            shape(option.get("options") or {}),
        )
        for name, option in spec.items()
    }


def test_every_variable_that_is_read_is_handed_over() -> None:
    assert {*DEFAULTS, "macvtap_segment"} | {
        f"macvtap_{name}"
        for name in (
            "uplink",
            "links_parent",
            "links_mode",
            "links_mtu",
            "links_group",
            "networks_uplink",
            "networks_mode",
            "domains_source",
            "domains_network",
            "domains_portgroup",
            "domains_mode",
            "domains_model",
            "domains_trust_guest_rx_filters",
            "host_access_parent",
            "host_access_mtu",
            "host_access_addresses",
        )
    } <= KNOWN


def test_what_came_late_to_libvirt_is_an_option() -> None:
    assert {field.name for field in fields.FIELDS if field.added} >= {"driver.rss", "driver.packed"}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_fleet_has_exactly_the_conflicts_that_were_made(hosts: int, half: int, data: st.DataObject) -> None:
    whole = many(hosts, 2 * half)
    assert compare.conflicts(whole) == []
    spoilt = copy.deepcopy(whole)
    names = sorted(spoilt)
    taken = data.draw(
        st.lists(st.tuples(st.sampled_from(names), st.integers(0, 2 * half - 1)), unique=True, max_size=5)
    )
    for number, (host, index) in enumerate(taken):
        address = spoilt[host]["declared"]["macvtap_domains_interfaces"][index]["mac"]
        spoilt[names[0]]["declared"]["macvtap_domains_interfaces"].append({"domain": f"twin{number}", "mac": address})
        spoilt[names[0]]["found"]["domains"] += report.domains([Domain(f"twin{number}", f"of twin{number}")])
    got = compare.conflicts(spoilt)
    assert [conflict.kind for conflict in got] == ["mac"] * len(taken)
    assert {conflict.where[0].nic for conflict in got} == {
        whole[host]["declared"]["macvtap_domains_interfaces"][index]["mac"] for host, index in taken
    }
    # Regardless of the order of the hosts.
    backwards = compare.conflicts(dict(reversed(spoilt.items())))
    assert sorted(conflict.message for conflict in backwards) == sorted(conflict.message for conflict in got)
