# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Allowed conflicts, hosts that --limit excludes, and the summary of declarations."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from compared import H1, NOTHING, U1, A, B, macvtap, nic
from fleet import Values, declared, found, iface

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, summary
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS as SHIM
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Connection, Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS

errors = pytest.importorskip("ansible.errors")

from ansible_collections.linuxvirt.macvtap.plugins.filter import (  # noqa: E402
    conflict_table,
    fleet_declarations,
    fleet_gaps,
    fleet_summary,
    fleet_undeclared,
)

TWICE: dict[str, Values] = {
    "hv1": {"declared": declared(nic("web1", mac=A, source="eth0")), "found": {}},
    "hv2": {"declared": declared(nic("web2", mac=A, source="eth0")), "found": {}},
}


def allowing(*entries: str, hosts: t.Sequence[str] = ("hv1", "hv2")) -> dict[str, Values]:
    more = {"macvtap_preflight_allow": list(entries)}
    return {
        name: {**data, "declared": {**data["declared"], **(more if name in hosts else {})}}
        for name, data in TWICE.items()
    }


@pytest.mark.parametrize("entry", ["mac", f"mac {A}", f"mac  {A.upper()}", "mac web1"])
def test_a_known_conflict_is_allowed_and_shown(entry: str) -> None:
    found = [one.as_dict() for one in compare.conflicts(allowing(entry))]
    assert [(one["kind"], one["allowed"]) for one in found] == [("mac", True)]
    assert "   allowed by macvtap_preflight_allow" in conflict_table.conflict_table(found).splitlines()
    assert summary.lines(TWICE, found)[-1] == "No conflicts on 2 hosts, 1 allowed"


@pytest.mark.parametrize(("entries", "hosts"), [(["mac"], ["hv1"]), (["mac web3"], ["hv1", "hv2"]), (["mtu"], ["hv1"])])
def test_a_conflict_that_not_all_hosts_allow_stays_one(entries: list[str], hosts: list[str]) -> None:
    (found,) = compare.conflicts(allowing(*entries, hosts=hosts))
    assert not found.allowed
    assert summary.lines(TWICE, [found.as_dict()])[-1] == "1 conflict on 2 hosts"


def test_an_unknown_kind_is_reported() -> None:
    found = compare.conflicts(allowing("macs"))
    assert ("macvtap_preflight_allow[0]: unknown kind of conflict 'macs'; did you mean mac?", 2) in [
        (one.message, len(one.where)) for one in found
    ]


def test_hosts_outside_of_limit_are_compared_by_what_they_declare() -> None:
    outside = {**TWICE, "hv1": {"declared": TWICE["hv1"]["declared"], "outside": True}}
    (found,) = compare.conflicts(outside)
    assert {place.host for place in found.where} == {"hv1", "hv2"}
    assert fleet_gaps.fleet_gaps({"hv1": outside["hv1"]}) == [
        {
            "host": "hv1",
            "what": "limit",
            "reason": "outside of --limit or macvtap_hosts; its declarations were compared",
        }
    ]


def test_a_conflict_of_hosts_outside_of_limit_stops_no_host() -> None:
    wrong = {"declared": declared(nic("web1", mac="none", source="eth0"), links_mode="nosuch"), "outside": True}
    assert compare.conflicts({"hv1": wrong, "hv2": TWICE["hv2"]}) == []
    assert compare.conflicts({"hv1": {**wrong, "outside": False}, "hv2": TWICE["hv2"]}) != []
    # Two of them as well.
    both = {name: {**data, "outside": True} for name, data in TWICE.items()}
    assert compare.conflicts({**both, "hv3": {"declared": NOTHING, "found": H1}}) == []


def test_the_summary_has_what_each_host_declares() -> None:
    web = nic("web1", mac=A, source="eth0")
    more = {"macvtap_links_links": [{"name": "a"}], "macvtap_links_vlans": [{}, {}]}
    fleet = {
        "hv1": {"declared": declared(web, web)},
        "hv2": {"declared": {**declared(), **more}, "names": ["macvtap_my_own", "macvtap_links_links"]},
        "hv3": json.dumps({"declared": declared(web, web)}),
        "hv4": {"declared": {"macvtap_host_access_shims": [{}], "macvtap_links_links": "none"}},
        "hv5": {"declared": {}},
        "hv6": {"unreadable": "it uses what is not there"},
    }
    assert fleet_summary.fleet_summary(fleet) == [
        "hv1, hv3: 2 NICs",
        "hv2: 1 link, 2 VLANs",
        "hv2: macvtap_my_own is set, but is not a variable of this collection",
        "hv4: 1 host interface",
        "hv5: declares nothing",
        "hv6: its variables cannot be read",
        "No conflicts on 6 hosts",
    ]
    many: dict[str, Values] = {f"hv{n:02}": {"declared": {}} for n in range(20)}
    assert summary.lines(many, [])[0].endswith("hv11 and 8 hosts more: declares nothing")


class _Undefined(t.Dict[str, t.Any]):
    def __getitem__(self, key: str) -> t.Any:
        raise errors.AnsibleUndefinedVariable("'rack' is undefined")


def test_the_declarations_of_other_hosts_are_read_from_hostvars() -> None:
    there = {
        "hv1": {"macvtap_links_links": [{"name": "a"}], "ansible_host": "::1", "macvtap_x": 1},
        "hv2": _Undefined(macvtap_links_mode="{{ rack }}"),
        "hv3": {"macvtap_preflight": "no", "macvtap_links_links": []},
    }
    assert fleet_declarations.fleet_declarations(there, list(there)) == {
        "hv1": {"declared": {"macvtap_links_links": [{"name": "a"}]}, "outside": True},
        "hv2": {"declared": {}, "outside": True, "unreadable": "macvtap_links_mode: 'rack' is undefined"},
    }
    gap = fleet_gaps.fleet_gaps(fleet_declarations.fleet_declarations(there, ["hv2"]))[0]["reason"]
    assert gap.endswith("not compared, because a variable cannot be read: macvtap_links_mode: 'rack' is undefined")
    with pytest.raises(errors.AnsibleFilterError, match="the input must be hostvars, with hv9"):
        fleet_declarations.fleet_declarations(there, ["hv9"])


def test_undeclared_links_and_nics_are_listed() -> None:
    shim = Link("host0", 31, "macvlan", "eth0", 2, "bridge", "52:54:00:00:00:fa", 1500, alias=SHIM)
    vlan = Link("eth0.20", 32, "vlan", "eth0", 2, alias=OWNER_ALIAS, vlan_id=20, vlan_protocol="802.1Q")
    theirs = (
        replace(shim, name="pod0", index=33, alias=None),
        replace(vlan, name="mgmt", index=34, vlan_id=9, alias=""),
    )
    guests = macvtap("macvtap0", A)
    running = Domain("web1", U1, True, stored=(iface(A),), live=(iface(A, target="macvtap0"),))
    there = found(macvtap("spare0", B), shim, vlan, *theirs, guests, running)
    assert fleet_undeclared.fleet_undeclared({"hv1": {"declared": NOTHING, "found": there}}) == [
        f"hv1: NIC {A} of web1 on eth0, link spare0 on eth0, host interface host0 on eth0, VLAN link eth0.20"
    ]
    all_of_it = {
        **declared(nic("web1", mac=A), links=[{"name": "spare0"}]),
        "macvtap_links_vlans": [{"parent": "eth0", "id": 20}],
        "macvtap_host_access_shims": [{"name": "host0", "addresses": ["192.0.2.250"]}],
    }
    assert fleet_undeclared.fleet_undeclared({"hv1": {"declared": all_of_it, "found": there}}) == []
    assert fleet_undeclared.fleet_undeclared({"hv1": {"declared": all_of_it, "found": there}}, True) == {"hv1": []}


@pytest.mark.parametrize(
    ("variables", "listed"),
    [
        ({}, ["link old0", "VLAN link old.20", "host interface oldhost0"]),
        ({"links_purge": True, "links_group": 7}, ["host interface oldhost0"]),
        ({"host_access_purge": True}, ["link old0", "VLAN link old.20"]),
    ],
)
def test_what_comes_back_at_the_next_boot_and_is_not_declared_is_listed(
    variables: dict[str, t.Any], listed: list[str]
) -> None:
    named = {"spare0": "macvtap", "new0": None, "old0": None, "old.20": "vlan", "oldhost0": "macvlan"}
    written = [{"name": name, "kind": kind} for name, kind in named.items()]
    there = {**found(macvtap("spare0", B)), "written": written}
    host = {"declared": declared(links=[{"name": "spare0"}, {"name": "new0"}], **variables), "found": there}
    (line,) = fleet_undeclared.fleet_undeclared({"hv1": host})
    assert line == "hv1: " + ", ".join(f"{one} at the next boot" for one in listed)


@pytest.mark.parametrize("purge", [False, True])
def test_a_host_interface_that_a_purge_removes_under_ansible_is_a_conflict(purge: bool) -> None:
    shim = Link("host0", 31, "macvlan", "eth0", 2, "bridge", "52:54:00:00:00:fa", 1500, up=True, alias=SHIM)
    reach = Reach(connections=(Connection("192.0.2.250", "192.0.2.9", 31),))
    there = found(shim, reach=reach)
    got = compare.conflicts({"hv1": {"declared": declared(host_access_purge=purge), "found": there}})
    assert [one.kind for one in got] == (["disconnect"] if purge else [])
    assert not got or got[0].remedy.endswith("macvtap_host_access_allow_host_disconnect: true")
