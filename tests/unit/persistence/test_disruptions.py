# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Boot configuration that would cut off the host at the next boot."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    Address,
    Connection,
    Reach,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared

from .cut_off import ADDRESSED, ETH0, OURS, TAP, VLAN, host, lost
from .planned import HOST, LINKS, MAC, after, link, vlan


@pytest.mark.parametrize(
    ("declared", "purge", "path"),
    [
        ([vlan(state="absent")], False, "vlans[0]: "),
        ([vlan(backend="none")], False, "vlans[0]: "),
        ([], True, "purge: "),
    ],
)
@pytest.mark.parametrize("extended", ["", "eth0.20"])
def test_a_link_that_the_next_boot_would_no_longer_create(
    declared: list[Declared], purge: bool, path: str, extended: str
) -> None:
    manager = OURS if extended else None
    there = after(host(VLAN, networkd=manager, extended=extended), vlan())
    text = lost(there, ADDRESSED, *declared, purge=purge)
    why = "eth0.20 has addresses of the host (192.0.2.1/24), and removing its configuration for the next boot would"
    assert text.startswith(f"{path}{why} remove them then. Remove them first, or set")
    # With what is on it.
    above = Link("wg0", 12, "vxlan", "eth0.20", 9, up=True)
    on_it = replace(there, links={**there.links, "wg0": above})
    assert lost(on_it, Reach((Address("192.0.2.1", 24, index=12),)), *declared, purge=purge).startswith(
        f"{path}wg0 has"
    )
    assert not lost(there, Reach(), *declared, purge=purge)
    # Something else has created it, or it is gone already.
    assert not lost(after(host(), vlan()), ADDRESSED, *declared, purge=purge)
    theirs = replace(there, links={**LINKS, "eth0.20": replace(VLAN, alias=None)}, networkd=HOST.networkd)
    assert not lost(theirs, ADDRESSED, *declared, purge=purge)


def test_a_macvtap_link_that_the_next_boot_would_no_longer_create() -> None:
    there, reach = after(host(TAP), link()), Reach((Address("192.0.2.1", 24, index=10),))
    for declared in (link(state="absent"), link(backend="none")):
        assert lost(there, reach, declared).startswith("links[0]: mt0 has addresses of the host")
    assert lost(there, reach, purge=True).startswith("purge: mt0 has addresses of the host")
    assert not lost(there, reach, link(name="mt1", mac="52:54:00:00:00:02"))


PORT, BR0 = replace(ETH0, master="br0"), Link("br0", 12, "bridge", up=True)
IN_BRIDGE = Link("br0.20", 13, "vlan", "br0", 12, up=True, vlan_id=20, vlan_protocol="802.1Q")
ON_BRIDGE = Reach((Address("192.0.2.1", 24, index=13),))


def test_a_vlan_link_that_takes_the_frames_of_one_on_a_bridge() -> None:
    there = host(PORT, BR0, IN_BRIDGE)
    text = "vlans[0]: br0.20 has addresses of the host (192.0.2.1/24), which depends on eth0, and a VLAN link with this"
    for declared in (vlan(), vlan(state="down"), vlan(name="office"), vlan(parent="lan-a")):
        assert lost(there, ON_BRIDGE, declared).startswith(text)
    for declared in (vlan(id=21), vlan(protocol="802.1ad"), vlan(parent="eth1"), vlan(backend="none")):
        assert not lost(there, ON_BRIDGE, declared)
    # It has them now already, whatever its name.
    for taking in (VLAN, replace(VLAN, name="office")):
        assert not lost(host(PORT, BR0, IN_BRIDGE, taking), ON_BRIDGE, vlan())
    # By a file that an earlier run has written; the link still does not exist.
    assert lost(after(there, vlan()), ON_BRIDGE, vlan()).startswith(text)


ROUTER, ROUTER_MAC = "192.0.2.254", "02:00:00:00:00:fe"
BY_ROUTER = Reach(routes=(Route("0.0.0.0/0", 2, ROUTER),), neighbours={ROUTER: ROUTER_MAC})
SOURCE: dict[str, t.Any] = {"mode": "source", "nodst": True, "source_macs": frozenset({ROUTER_MAC})}


def test_a_link_that_takes_the_frames_of_the_router() -> None:
    text = "links[0]: eth0 has routes to 0.0.0.0/0 through a router there, and a link in mode source on it"
    for there in (host(), host(TAP), host(replace(TAP, mode="source", nodst=True))):
        assert lost(there, BY_ROUTER, link(**SOURCE)).startswith(text)
    assert not lost(host(replace(TAP, **SOURCE)), BY_ROUTER, link(**SOURCE))
    other = frozenset({"02:00:00:00:00:77"})
    changes: list[dict[str, t.Any]] = [{"nodst": False}, {"source_macs": other}, {"state": "down"}, {"parent": "eth1"}]
    for change in changes:
        assert not lost(host(), BY_ROUTER, link(**{**SOURCE, **change}))


def test_passthru_takes_what_its_parent_receives() -> None:
    reach = Reach((Address("192.0.2.1", 24, index=2),))
    text = "links[0]: eth0 has addresses of the host (192.0.2.1/24), and a link in mode passthru on it"
    for there in (host(), host(TAP), host(replace(TAP, mode="passthru", parent="eth1", parent_index=3))):
        assert lost(there, reach, link(mode="passthru", mac=None)).startswith(text)
    assert not lost(host(replace(TAP, mode="passthru")), reach, link(mode="passthru", mac=None))
    assert not lost(host(), reach, link())


ON_TAP = Reach((Address("192.0.2.1", 24, index=10),))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "setting arp: false on it"),
        ({"arp": False}, "setting arp: false on it"),
        ({"arp": True, "state": "down"}, "setting it down"),
        ({"arp": True, "mtu": 1400}, "changing its MTU"),
        ({"arp": True, "mac": "52:54:00:00:00:09"}, "changing its MAC address"),
        ({"arp": True, "parent": "eth1"}, "recreating it"),
    ],
)
def test_a_link_with_addresses_that_would_be_another_one(change: dict[str, t.Any], why: str) -> None:
    there = host(replace(TAP, arp=True, accept_ra=True))
    assert lost(there, ON_TAP, link(**change)).startswith(
        f"links[0]: mt0 has addresses of the host (192.0.2.1/24), and {why}"
    )
    assert not lost(there, Reach(), link(**change))
    # As it is, and what costs nothing.
    same: list[dict[str, t.Any]] = [
        {},
        {"state": "present"},
        {"mode": "private"},
        {"alias": "a guest's"},
        {"mac": None},
    ]
    for more in same:
        assert not lost(there, ON_TAP, link(**{"arp": True, **more}))
    assert not lost(host(replace(TAP, arp=False)), ON_TAP, link())


def test_a_vlan_link_with_addresses_that_would_be_another_one() -> None:
    changes: list[dict[str, t.Any]] = [
        {"state": "down"},
        {"mtu": 1400},
        {"mac": MAC},
        {"id": 21, "name": "eth0.20"},
        {"parent": "eth1", "name": "eth0.20"},
    ]
    for change in changes:
        assert lost(host(VLAN), ADDRESSED, vlan(**change)).startswith("vlans[0]: eth0.20 has addresses of the host")
    for change in ({}, {"state": "present"}, {"id": 30}, {"mtu": 1500}):
        assert not lost(host(VLAN), ADDRESSED, vlan(**change))
    # As it is by its parent's alternative name, on which the link that it is has no name.
    assert not lost(host(VLAN), ADDRESSED, vlan(parent="lan-a"))


def test_a_connection_that_depends_on_router_advertisements() -> None:
    own = (Address("2001:db8::1", 64, index=10, advertised=True),)
    reach = Reach(own, connections=(Connection("2001:db8::1", "2001:db8:9::9", 10),))
    there = host(replace(TAP, arp=True, accept_ra=True))
    assert "setting accept_ra: false on it could cut it off" in lost(there, reach, link(arp=True))
    assert not lost(there, reach, link(arp=True, accept_ra=True))
