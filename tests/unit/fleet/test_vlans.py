# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""VLAN links that are declared along with the links on them: parents, MTUs, and those that are impossible."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, A, B, conflicts, macvtap, nic, only, places, vlan
from fleet import Values, declared, found, mac, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link


def test_new_vlan_links_are_parents() -> None:
    def declaring(*vlans: Values, **variables: t.Any) -> Values:
        links = [{"name": "x0", "parent": "dmz0"}]
        return declared(nic(mac=A, source="eth0.20"), links=links, links_vlans=list(vlans), **variables)

    lan, dmz = {"parent": "eth0", "id": "20"}, {"parent": "eth0", "id": 30, "name": "dmz0", "mtu": 1400}
    assert conflicts((declaring(lan, dmz), H1)) == []
    assert only((declaring(lan, dmz, links_mtu=1500), H1)).message == "mtu 1500 exceeds that of the parent dmz0 (1400)"
    assert places(only((declaring(lan), H1))) == ["hv1 x0 declared"]
    assert only((declaring(lan, {**dmz, "mtu": 9000}), H1)).kind == "mtu"
    got = conflicts((declaring(lan, {**dmz, "parent": "eth7"}), H1))
    assert [(one.kind, places(one)) for one in got] == [
        ("parent", ["hv1 x0 declared"]),
        ("parent", ["hv1 dmz0 declared"]),
    ]
    assert only((declared(links_vlans=[{"parent": "eth0", "id": 4095}]), H1)).kind == "declaration"


OURS = {"alias": "linuxvirt.macvtap"}
LAN10: Values = {"parent": "eth0", "id": 10}


@pytest.mark.parametrize(
    ("vlans", "there", "mtu"),
    [
        # The MTU rises in the same run, or falls, or is not managed.
        ([{**LAN10, "mtu": 9000}], [vlan(10, **OURS)], 9000),
        ([{**LAN10, "mtu": 1400}], [vlan(10, mtu=9000, **OURS)], 1400),
        ([{**LAN10, "mtu": 9000}], [vlan(10)], 1500),
        ([LAN10], [vlan(10, mtu=1400, **OURS)], 1400),
        ([LAN10], [], 9000),
    ],
)
def test_the_mtu_of_a_vlan_link_is_its_final_one(vlans: list[Values], there: list[Link], mtu: int) -> None:
    for wanted in (mtu, mtu + 1 if mtu < 9000 else 0):
        links = [{"name": "x0", "parent": "eth0.10", "mtu": wanted or None}]
        got = conflicts((declared(links=links, links_vlans=vlans), found(uplink(1, mtu=9000), *there)))
        assert [one.kind for one in got] == (["mtu"] if wanted > mtu else [])


@pytest.mark.parametrize(
    ("vlans", "there", "kind", "message"),
    [
        ([{**LAN10, "state": "absent"}], [vlan(10, **OURS)], "parent", "there is no link eth0.10 on this host"),
        ([LAN10], [vlan(10, name="lan10", **OURS)], "declaration", "VLAN 10 of eth0 already exists as lan10"),
        ([LAN10], [Link("eth0.10", 30, "dummy", mtu=1500)], "declaration", "eth0.10 already exists and is a dummy"),
        ([LAN10, {**LAN10, "name": "b0"}], [], "declaration", "VLAN 10 of eth0 is declared twice, here and in"),
        (
            [LAN10, {"parent": "eth0.10", "id": 5}],
            [],
            "declaration",
            "eth0.10 is only created by macvtap_links_vlans",
        ),
        ([LAN10], [uplink(1, up=False)], "declaration", "the parent eth0 is down, so the kernel does not"),
    ],
)
def test_an_impossible_vlan_link(vlans: list[Values], there: list[Link], kind: str, message: str) -> None:
    variables = declared(links=[{"name": "x0", "parent": "eth0.10"}], links_vlans=vlans)
    conflict = only((variables, found(*there)))
    assert conflict.kind == kind
    assert message in conflict.message


def test_a_vlan_link_of_another_name_that_something_else_created_is_used() -> None:
    there = found(vlan(10, name="lan10"))
    assert conflicts((declared(nic(mac=A, source="lan10"), links_vlans=[LAN10]), there)) == []
    conflict = only((declared(nic(mac=A, source="eth0.10"), links_vlans=[LAN10]), there))
    assert conflict.message.startswith("there is no link eth0.10 on this host")


def test_a_vlan_link_is_a_parent_by_its_own_mac_address() -> None:
    there = found(vlan(10, own=B), vlan(20))
    links: list[Values] = [{"name": "x0", "parent": B}, {"name": "x1", "parent": uplink(1).mac}]
    assert conflicts((declared(links=links), there)) == []


def test_a_vlan_link_may_be_on_a_macvlan_link_and_not_on_a_macvtap_link() -> None:
    there = found(Link("mv0", 10, "macvlan", "eth0", 2, "bridge", B, 1500, up=True), macvtap("mt0", mac(9), up=True))
    assert conflicts((declared(links_vlans=[{"parent": "mv0", "id": 5}]), there)) == []
    conflict = only((declared(links_vlans=[{"parent": "mt0", "id": 5}]), there))
    assert (conflict.kind, places(conflict)) == ("parent", ["hv1 mt0.5 declared"])
    assert conflict.message.startswith("mt0 is a macvtap link, whose frames go to the process")
    assert only((declared(links=[{"name": "x0", "parent": "mv0"}]), there)).kind == "parent"


def test_a_removed_vlan_link_with_links_on_it() -> None:
    trunked = Link(
        "eth0.20", 3, "vlan", "eth0", 2, None, mac(1), 1500, up=True, alias="linuxvirt.macvtap",
        vlan_id=20, vlan_protocol="802.1Q",
    )  # fmt: skip
    there = found(trunked, Link("mt0", 4, "macvtap", "eth0.20", 3, "bridge", mac(8), 1500))
    vlans = [{"parent": "eth0", "id": 20, "state": "absent"}]
    conflict = only((declared(links_vlans=vlans), there))
    assert conflict.message.startswith("macvtap_links_vlans[0]: eth0.20 is the parent of mt0; removing it")
    assert conflicts((declared(links_vlans=vlans, links_force="yes"), there)) == []
    # The role removes the links on it first.
    gone = [{"name": "mt0", "parent": "eth0.20", "state": "absent"}]
    assert conflicts((declared(links_vlans=vlans, links=gone), there)) == []
