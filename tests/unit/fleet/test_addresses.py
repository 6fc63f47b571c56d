# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Duplicate MAC addresses, and what only looks like them."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, NOTHING, U1, U2, A, B, conflicts, macvtap, nic, only, places, web
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


def test_domains_of_one_name_on_hosts_that_share_no_network_are_several() -> None:
    def dns(source: str, segment: t.Any, number: int) -> tuple[Values, Values]:
        there = found(uplink(number + 5, "eth1"), number=number, version=None)
        mode = "vepa" if source == "eth1" else "bridge"
        return declared(nic("dns1", mac=A, source=source, mode=mode), segment=segment), there

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
