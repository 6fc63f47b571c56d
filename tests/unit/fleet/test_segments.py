# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The same MAC address in network segments of their own, and twice in one."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, NOTHING, U1, U2, A, B, conflicts, macvtap, nic, only, places, shim, vlan, web
from fleet import Values, declared, found, iface, mac

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface


def test_hosts_in_segments_of_their_own_may_have_the_same_address() -> None:
    lan, dmz = declared(nic("web1", mac=A), segment="lan"), declared(nic("web2", mac=A), segment="dmz")
    assert conflicts((lan, H1), (dmz, H2)) == []
    conflict = only((lan, H1), (dmz, H2), (declared(nic("web3", mac=A), segment="lan"), found(number=3)))
    assert conflict.message == f"{A} is used twice in the segment lan"
    assert conflict.segment == "lan"


def test_an_address_that_a_managed_save_brings_back_is_used() -> None:
    """Although no stored NIC has it any more."""
    saved = Domain("web1", U1, stored=(iface(B),), saved=(iface(A), iface(B)))
    conflict = only((NOTHING, found(saved)), (declared(nic("web2", mac=A)), H2))
    assert conflict.message == f"{A} is used twice on one network"
    assert places(conflict) == [f"hv1 web1 {A} saved", f"hv2 web2 {A} declared"]
    # Its own are its own, also where it has come to another host.
    assert conflicts((declared(nic("web1", mac=A)), found(saved))) == []
    moved = Domain("web1", U1, True, stored=(iface(A),), live=(iface(A),))
    assert conflicts((NOTHING, found(saved)), (NOTHING, found(moved, number=2))) == []
    # And one that leads into another segment is none of this one's.
    apart = Domain("web1", U1, saved=(Iface(A, "direct", {"source": "eth0.10", "mode": "bridge"}),))
    assert conflicts((declared(segment=TRUNK), found(apart)), (declared(nic("web2", mac=A), segment="lan"), H2)) == []


TRUNK = {"default": "lan", "eth0.10": "v10", "eth0.20": "v20"}


def on(source: str, domain: str = "web1", **variables: t.Any) -> Values:
    return declared(nic(domain, mac=A, source=source), **variables)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # By the segments' names, regardless of the links' names and where they are declared.
        ((on("eth0.10", segment=TRUNK), found(vlan(10))), (on("eth0", "b", segment="v10"), H2)),
        (
            (on("eth0.10", segment=TRUNK), found(vlan(10))),
            (on("bond0.10", "b", segment={"bond0.10": "v10"}), found(vlan(10, "bond0", mac(9)), number=2)),
        ),
        ((on("eth0", segment=TRUNK), H1), (on("eth0", "b", segment="lan"), H2)),
        ((on("eth0.30", segment=TRUNK), found(vlan(30))), (on("eth0", "b", segment="lan"), H2)),
        ((on("eth0", segment={"02:00:00:00:00:01": "x"}), H1), (on("eth0", "b", segment="x"), H2)),
        ((on("eth0", segment={"eth1": "x"}), H1), (on("eth0", "b"), H2)),
        # New VLAN links, links, and current state.
        (
            (on("eth0.10", segment=TRUNK, links_vlans=[{"parent": "eth0", "id": 10}]), H1),
            (declared(links=[{"name": "x0", "mac": A}], segment="v10"), H2),
        ),
        (
            (declared(segment=TRUNK), found(vlan(10), macvtap("x0", A, parent="eth0.10"))),
            (declared(links=[{"name": "x0", "mac": A}], segment="v10"), H2),
        ),
        (
            (declared(segment={"br0": "v10"}), found(web("a", U1, Iface(A, "bridge", origin="br0")))),
            (on("eth0", "b", segment="v10"), H2),
        ),
        (
            (
                declared(segment=TRUNK),
                found(
                    web("a", U1, Iface(A, "ethernet", {"target": "mt0"})), vlan(10), macvtap("mt0", A, parent="eth0.10")
                ),
            ),
            (on("eth0", "b", segment="v10"), H2),
        ),
        # A host that could not be checked.
        ((on("eth0.10", segment=TRUNK), {"unreachable": True}), (on("eth0", "b", segment="v10"), H2)),
    ],
)
def test_an_address_twice_in_a_segment_behind_one_of_a_hosts_links(
    one: tuple[Values, Values], other: tuple[Values, Values]
) -> None:
    conflict = only(one, other)
    assert (conflict.kind, [place.host for place in conflict.where]) == ("mac", ["hv1", "hv2"])
    apart = {**other[0], "macvtap_segment": "elsewhere"}
    assert conflicts(one, (apart, other[1])) == []


def test_the_segments_of_a_host_may_each_have_an_address_once() -> None:
    there = found(vlan(10), vlan(20), web("a", U1, iface(A, "eth0.10")), web("b", U2, iface(A, "eth0.20")))
    assert only((NOTHING, there)).message == f"{A} is used twice on one network"
    assert conflicts((declared(segment=TRUNK), there)) == []
    assert conflicts((on("eth0.10", "a", segment=TRUNK), there)) == []
    nat = {"vnet-a": "a", "vnet-b": "b"}
    networks = found(*(web(n, u, Iface(A, "network", origin=f"vnet-{n}")) for n, u in (("a", U1), ("b", U2))))
    assert only((NOTHING, networks)).kind == "mac"
    assert conflicts((declared(segment=nat), networks)) == []


def test_two_domains_of_a_host_with_one_address_are_refused_in_any_segment() -> None:
    both = declared(nic("a", mac=A, source="eth0.10"), nic("b", mac=A, source="eth0.20"), segment=TRUNK)
    bare = found(vlan(10), vlan(20))
    conflict = only((both, bare))
    assert conflict.message == f"{A} is used by 2 domains of one host, which libvirt_direct_iface always refuses"
    assert places(conflict) == [f"hv1 a {A} declared", f"hv1 b {A} declared"]
    stored = found(vlan(10), vlan(20), web("b", U2, iface(A, "eth0.20")))
    assert only((on("eth0.10", "a", segment=TRUNK), stored)).kind == "mac"


def test_shims_are_in_the_segment_of_their_parent() -> None:
    tagged = {**shim("192.0.2.9", parent="eth0.10"), "macvtap_segment": TRUNK}
    there = found(vlan(10))
    assert conflicts((tagged, there), ({**shim("192.0.2.9"), "macvtap_segment": "lan"}, H2)) == []
    conflict = only((tagged, there), ({**shim("192.0.2.9"), "macvtap_segment": "v10"}, H2))
    assert conflict.message == "192.0.2.9 is the address of 2 host interfaces in the segment v10"


@pytest.mark.parametrize("segment", [["lan"], True, {"eth0": None}, {"eth0": ["lan"]}])
def test_an_invalid_segment(segment: t.Any) -> None:
    conflict = only((declared(segment=segment), H1))
    assert (conflict.kind, places(conflict)) == ("declaration", ["hv1"])
    assert conflict.message.startswith("macvtap_segment: must be a segment's name")
