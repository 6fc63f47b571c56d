# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Duplicate MAC addresses, and what only looks like them."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, NOTHING, U1, U2, A, B, conflicts, macvtap, nic, only, places, shim, vlan, web
from fleet import Values, declared, found, iface, mac, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link


def test_two_domains_of_two_hosts_with_one_address() -> None:
    conflict = only((declared(nic("web1", mac=A)), H1), (declared(nic("web2", mac=A.upper())), H2))
    assert conflict.kind == "mac"
    assert conflict.message == f"{A} is used twice on one network"
    assert places(conflict) == [f"hv1 web1 {A} declared", f"hv2 web2 {A} declared"]
    assert "mac_address" in conflict.remedy


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


def test_domains_of_one_name_on_hosts_that_share_no_network_are_several() -> None:
    def dns(source: str, segment: t.Any, number: int) -> tuple[Values, Values]:
        there = found(uplink(number + 5, "eth1"), number=number, version=None)
        return declared(nic("dns1", mac=A, source=source), segment=segment), there

    assert conflicts(dns("eth0", "dc1", 1), dns("eth1", "dc2", 2)) == []
    assert only(dns("eth0", "dc1", 1), dns("eth1", {"default": "x", "eth0": "dc1"}, 2)).kind == "migration"
    # It is on both, and has its address on both.
    assert conflicts(dns("eth0", "dc1", 1), dns("eth0", {"eth0": "dc1"}, 2)) == []


@pytest.mark.parametrize(
    ("there", "seen"),
    [
        (found(web("db1", U2, iface(A)), number=2), f"hv2 db1 {A} stored"),
        (
            found(web("db1", U2, live=[iface(A, target="macvtap0")]), macvtap("macvtap0", A), number=2),
            f"hv2 db1 {A} live",
        ),
        (found(web("db1", U2, Iface(A, "bridge", origin="br0")), number=2), f"hv2 db1 {A} stored"),
        (found(macvtap("spare0", A), number=2), "hv2 spare0 found"),
        (
            found(macvtap("x0", B), uplink(2, "eth1", mac=A), macvtap("x1", mac(3), parent="eth1"), number=2),
            "hv2 eth1 parent",
        ),
    ],
)
def test_a_declared_address_that_something_of_another_host_has(there: Values, seen: str) -> None:
    conflict = only((declared(nic(mac=A)), H1), (NOTHING, there))
    assert (conflict.kind, places(conflict)) == ("mac", [f"hv1 web1 {A} declared", seen])


def test_an_address_of_a_nic_and_of_a_link_on_one_host() -> None:
    conflict = only((declared(nic(mac=A), links=[{"name": "spare0", "mac": A}]), H1))
    assert places(conflict) == [f"hv1 web1 {A} declared", "hv1 spare0 declared"]


def test_a_link_of_a_guest_that_has_another_address_than_the_guest() -> None:
    there = found(web("web1", U1, Iface(A, "ethernet", {"target": "mt0"})))
    conflict = only((declared(links=[{"name": "mt0", "mac": B}]), there), (declared(nic("web2", mac=B)), H2))
    assert places(conflict) == ["hv1 mt0 declared", f"hv2 web2 {B} declared"]


@pytest.mark.parametrize("parent", ["0000:01:00.0", "01:00.0", "lan0", "02:00:00:00:00:01"])
def test_a_parents_own_address_by_any_name_of_the_parent(parent: str) -> None:
    there = found(uplink(1, pci="0000:01:00.0", altnames=frozenset({"lan0"})))
    own = declared(nic("web2", mac=uplink(1).mac))
    conflict = only((declared(links=[{"name": "x0", "parent": parent}]), there), (own, H2))
    assert places(conflict) == ["hv1 eth0 parent", "hv2 web2 02:00:00:00:00:01 declared"]


@pytest.mark.parametrize("variables", [declared(nic(mac=A, state="absent")), declared(nic(mac=B), domains_purge=True)])
def test_a_running_guest_keeps_a_removed_nic_if_it_may_not_be_changed(variables: Values) -> None:
    there = found(web("web1", U1, iface(A), live=[iface(A, target="macvtap0")]), macvtap("macvtap0", A))
    other = (declared(nic("web2", mac=A)), H2)
    assert conflicts((variables, there), other) == []
    conflict = only(({**variables, "macvtap_domains_live": "none"}, there), other)
    assert places(conflict) == [f"hv1 web1 {A} live", f"hv2 web2 {A} declared"]


def test_found_things_alone_can_be_in_conflict() -> None:
    conflict = only(
        (NOTHING, found(web("a", U1, iface(A)), number=1)), (NOTHING, found(web("b", U2, iface(A)), number=2))
    )
    assert places(conflict) == [f"hv1 a {A} stored", f"hv2 b {A} stored"]


def test_the_parents_own_address_for_a_guest() -> None:
    own = H1["links"][0]["mac"]
    conflict = only((declared(nic(mac=own)), H1))
    assert places(conflict) == [f"hv1 web1 {own} declared", "hv1 eth0 parent"]


@pytest.mark.parametrize(
    ("variables", "there"),
    [
        # Existing as declared: stored, running with its link, or a link.
        (declared(nic(mac=A)), found(web("web1", U1, iface(A)))),
        (
            declared(nic(mac=A)),
            found(web("web1", U1, iface(A), live=[iface(A, target="macvtap0")]), macvtap("macvtap0", A)),
        ),
        (declared(links=[{"name": "spare0", "mac": A}]), found(macvtap("spare0", A))),
        # The declaration replaces the current state.
        (declared(nic(mac=A), links=[{"name": "spare0", "mac": B}]), found(macvtap("spare0", A))),
        (declared(nic(mac=A), nic("web2", mac=A, state="absent")), found(web("web2", U2, iface(A)))),
        (
            declared(nic(mac=A), nic("web2", mac=A, state="absent")),
            found(web("web2", U2, iface(A), live=[iface(A, target="macvtap0")]), macvtap("macvtap0", A)),
        ),
        (declared(nic(mac=A), links=[{"name": "spare0", "state": "absent"}]), found(macvtap("spare0", A))),
        (declared(nic(mac=A), nic("web2", mac=B), domains_purge=True), found(web("web2", U2, iface(A)))),
        (
            declared(nic(mac=A), links_purge="yes", links_group=7),
            found(macvtap("spare0", A, group=7)),
        ),
        # A passthru link and its parent have one address.
        (declared(links=[{"name": "p0", "mode": "passthru"}]), found(macvtap("p0", uplink(1).mac or "", "passthru"))),
        (declared(nic(mac=uplink(1).mac, mode="passthru")), H1),
        # A bridge and its port.
        (
            declared(nic(source="br0", mac=A), links=[{"name": "x0", "parent": "eth0"}]),
            found(uplink(1, "br0", kind="bridge")),
        ),
        # A guest's link, if libvirt cannot be queried for its owner.
        (declared(nic(mac=A)), found(macvtap("macvtap0", A), version=None)),
        (NOTHING, found(macvtap("macvtap0", A), Link("mv0", 11, "macvlan", "eth0", 2, "bridge", A), version=None)),
        # A link for a guest that does not create its own.
        (declared(links=[{"name": "mt0", "mac": A}]), found(web("web1", U1, Iface(A, "ethernet", {"target": "mt0"})))),
        (
            declared(links=[{"name": "mt0", "mac": A}]),
            found(
                web("web1", U1, live=[Iface(A, "ethernet", {"target": "mt0"})]),
                macvtap("mt0", A),
            ),
        ),
        (NOTHING, found(web("web1", U1, Iface(A, "ethernet", {"target": "mt0"})), macvtap("mt0", A))),
        # On the guest's own network only.
        (declared(nic(mac=A)), found(web("web2", U2, Iface(A, "user")))),
        (declared(nic(mac=A)), found(web("web2", U2, Iface(A, "null")))),
        # A teaming pair.
        (NOTHING, found(web("web1", U1, iface(A), Iface(A, "hostdev")))),
        (NOTHING, found(web("web1", U1, Iface(A, "hostdev"), iface(A), live=[Iface(A, "hostdev"), iface(A)]))),
    ],
)
def test_the_same_thing_seen_twice_is_not_a_conflict(variables: Values, there: Values) -> None:
    assert conflicts((variables, there)) == []


def test_a_domain_that_can_live_on_two_hosts_has_its_addresses_on_both() -> None:
    both = declared(nic(mac=A))
    running = found(web("web1", U1, iface(A), live=[iface(A)]), number=2)
    assert conflicts((both, H1), (both, H2)) == []
    assert conflicts((both, H1), (both, running)) == []
    assert conflicts((NOTHING, found(web("web1", U1, iface(A)))), (NOTHING, running)) == []
    # Renamed on one of them.
    assert conflicts((NOTHING, found(web("old", U1, iface(A)))), (NOTHING, running)) == []


def test_domains_of_one_name_and_several_uuids_are_several() -> None:
    hosts = [(NOTHING, found(web("web1", uuid, iface(A)), number=n)) for n, uuid in enumerate((U1, U2))]
    assert only(*hosts).kind == "mac"


def test_one_domain_that_runs_on_two_hosts_at_once() -> None:
    hosts = [(NOTHING, found(web("web1", U1, iface(A), live=[iface(A)]), number=n)) for n in (1, 2)]
    conflict = only(*hosts)
    assert conflict.message == f"{A} is used by one domain that runs on several hosts at once, on one network"


def test_one_domain_with_one_address_twice() -> None:
    assert only((NOTHING, found(web("web1", U1, iface(A), iface(A))))).kind == "mac"


def test_an_address_that_is_not_declared_is_the_one_that_the_module_will_make() -> None:
    domain = Domain("web1", U1)
    desired = Desired("", "web1", by="source", key="eth0", given={"source": "eth0"})
    meant = next(iter(assign([desired], Host("", {"web1": domain})).values()))
    made = getattr(meant, "mac", "")
    conflict = only((declared(nic()), found(domain)), (declared(nic("db1", mac=made)), H2))
    assert places(conflict) == [f"hv1 web1 {made} declared", f"hv2 db1 {made} declared"]
    # The domain is on the other host so far.
    moved = only(
        (declared(nic()), H1), (NOTHING, found(domain, number=2)), (declared(nic("db1", mac=made)), found(number=3))
    )
    assert places(moved)[0] == f"hv1 web1 {made} declared"


def test_an_interface_declared_by_its_source_is_the_one_that_is_there() -> None:
    there = found(web("web1", U1, iface(A)))
    assert conflicts((declared(nic(mode="vepa")), there)) == []
    conflict = only((declared(nic()), there), (declared(nic("db1", mac=A)), H2))
    assert places(conflict) == [f"hv1 web1 {A} declared, stored", f"hv2 db1 {A} declared"]
