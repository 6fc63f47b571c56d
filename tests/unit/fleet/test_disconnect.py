# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Declarations that would cut off a host itself are conflicts, found before any change."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from compared import U1, A, conflicts, macvtap, nic, only, places, web
from fleet import Values, declared, found, iface, mac, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Conflict
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    Address,
    Connection,
    Reach,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

VLAN = Link(
    "eth0.20", 3, "vlan", "eth0", 2, None, mac(1), 1500, up=True, alias="linuxvirt.macvtap",
    vlan_id=20, vlan_protocol="802.1Q",
)  # fmt: skip
MT0 = replace(macvtap("mt0", mac(5), up=True), index=5)
HOST0 = Link("host0", 6, "macvlan", "eth0", 2, "bridge", mac(6), 1500, up=True, alias=OWNER_ALIAS, group=0)
ALL = (VLAN, MT0, HOST0, uplink(9, "eth1", index=9))


def reach_of(index: int, what: str = "address") -> Reach:
    if what == "route":
        return Reach(routes=(Route("203.0.113.0/24", index),))
    if what == "connection":
        return Reach(connections=(Connection("192.0.2.1", "192.0.2.9", index),))
    return Reach((Address("192.0.2.1", 24, index=index), Address("fe80::1", 64, index=index, link_local=True)))


def link(**options: t.Any) -> list[Values]:
    return [{"name": "mt0", **options}]


CASES = [
    (2, declared(links=[{"name": "mt9", "mode": "passthru"}]), "links", "mt9"),
    (2, declared(links=[{"name": "mt9", "mode": "passthru", "state": "down"}]), "links", "mt9"),
    (2, declared(nic(mac=A, mode="passthrough")), "domains", f"web1 {A}"),
    (5, declared(links=link(state="absent")), "links", "mt0"),
    (5, declared(links=link(state="down")), "links", "mt0"),
    (5, declared(links=link(parent="eth1")), "links", "mt0"),
    (5, declared(links=link(mac=mac(77))), "links", "mt0"),
    (5, declared(links=link(mtu=1400)), "links", "mt0"),
    (3, declared(links_vlans=[{"parent": "eth0", "id": 20, "state": "absent"}]), "links", "eth0.20"),
    (3, declared(links_vlans=[{"parent": "eth0", "id": 21, "name": "eth0.20"}]), "links", "eth0.20"),
    (3, declared(links_vlans=[{"parent": "eth0", "id": 20, "mtu": 1400}]), "links", "eth0.20"),
    (3, declared(links_vlans=[{"parent": "eth0", "id": 20, "state": "down"}]), "links", "eth0.20"),
]


@pytest.mark.parametrize("what", ["address", "route", "connection"])
@pytest.mark.parametrize(("index", "variables", "role", "where"), CASES)
def test_what_would_cut_off_the_host(what: str, index: int, variables: Values, role: str, where: str) -> None:
    there = found(*ALL, web("web1", U1), reach=reach_of(index, what))
    (conflict,) = disconnects(variables, there)
    assert places(conflict) == [f"hv1 {where} declared"]
    assert conflict.remedy.endswith(f"or set macvtap_{role}_allow_host_disconnect: true")
    assert disconnects({**variables, f"macvtap_{role}_allow_host_disconnect": True}, there) == []
    # On another link it has no effect.
    assert disconnects(variables, found(*ALL, web("web1", U1), reach=reach_of(9, what))) == []


def disconnects(variables: Values, there: Values) -> list[Conflict]:
    """Return only these conflicts. A link in mode passthru also conflicts with others here."""
    return [one for one in conflicts((variables, there)) if one.kind == "disconnect"]


def test_a_host_as_declared_loses_nothing() -> None:
    alone = macvtap("mt0", mac(2), mode="passthru")
    guest = web("web1", U1, iface(A, "eth1", "passthrough"))
    variables = declared(nic(mac=A, source="eth1", mode="passthrough"), links=link(mode="passthru"))
    both = Reach((*reach_of(2).addresses, *reach_of(9).addresses))
    assert conflicts((variables, found(uplink(9, "eth1", index=9), alone, guest, reach=both))) == []


def test_a_shim_may_lose_its_declared_addresses_but_not_a_connection() -> None:
    variables = declared(host_access_shims=[{"name": "host0", "parent": "eth0", "state": "absent"}])
    assert conflicts((variables, found(*ALL, reach=reach_of(6)))) == []
    conflict = only((variables, found(*ALL, reach=reach_of(6, "connection"))))
    assert conflict.message.startswith("Ansible's connection from 192.0.2.9 to 192.0.2.1 goes over")
    assert "macvtap_host_access_allow_host_disconnect" in conflict.remedy


def test_a_purge() -> None:
    grouped = replace(macvtap("mt7", mac(7), group=7), index=7)
    variables = declared(links=link(), links_group=7, links_purge=True)
    conflict = only((variables, found(MT0, grouped, reach=reach_of(7))))
    assert (conflict.kind, places(conflict)) == ("disconnect", ["hv1 mt7 found"])
