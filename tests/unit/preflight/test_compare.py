# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Each conflict that a fleet can have, and what looks like one and is none."""

from __future__ import annotations

import copy
import json
import typing as t
from dataclasses import replace

import pytest
import yaml
from fleet import Said, declared, found, iface, mac, many, uplink
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import select
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import compare, options, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.declared import DEFAULTS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Conflict

A, B = mac(1), mac(2)
U1, U2 = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def fleet(*hosts: tuple[Said, Said]) -> dict[str, Said]:
    """Return the hosts as a fleet on which each declared domain is there, if need be with no NIC."""
    uuids = {domain["name"]: domain["uuid"] for _said, there in hosts for domain in there.get("domains", ())}
    made = {}
    for number, (said, there) in enumerate(hosts, 1):
        if there.get("libvirt", {}).get("available"):
            known = {domain["name"] for domain in there["domains"]}
            names = {name for name in said_domains(said) if name not in known}
            bare = [Domain(name, uuids.get(name, f"of {name}")) for name in sorted(names)]
            there = {**there, "domains": [*there["domains"], *report.domains(bare)]}  # noqa: PLW2901
        made[f"hv{number}"] = {"declared": said, "found": there}
    return made


def said_domains(said: Said) -> t.Iterator[str]:
    interfaces = said.get("macvtap_domains_interfaces")
    for entry in interfaces if isinstance(interfaces, list) else ():
        if isinstance(entry, dict) and entry.get("domain"):
            yield entry["domain"]


def conflicts(*hosts: tuple[Said, Said]) -> list[Conflict]:
    got = compare.conflicts(fleet(*hosts))
    json.dumps([one.as_dict() for one in got])
    return got


def only(*hosts: tuple[Said, Said]) -> Conflict:
    (conflict,) = conflicts(*hosts)
    return conflict


def places(conflict: Conflict) -> list[str]:
    """Return where it is, a word for each place."""
    return [" ".join(filter(None, (p.host, p.domain, p.nic or p.link, p.seen))) for p in conflict.where]


def web(name: str = "web1", uuid: str = U1, *stored: Iface, live: t.Sequence[Iface] = ()) -> Domain:
    return Domain(name, uuid, bool(live), stored=stored, live=tuple(live))


def nic(domain: str = "web1", **options: t.Any) -> Said:
    return {"domain": domain, **options}


def macvtap(name: str, address: str, mode: str = "bridge", parent: str = "eth0", **values: t.Any) -> Link:
    return Link(name, 10, "macvtap", parent, 2, mode, address, 1500, **values)


NOTHING = declared()
H1, H2 = found(number=1), found(number=2)


# -- companions --------------------------------------------------------------------------------------------------------


def companion(*addresses: str, name: str = "host0", parent: str = "eth0", **more: t.Any) -> Said:
    entry = {"name": name, "addresses": list(addresses), **more}
    return declared(host_access_companions=[entry], host_access_parent=parent)


def test_companions_of_two_hosts_with_one_address() -> None:
    conflict = only((companion("192.0.2.9", "2001:db8::1"), H1), (companion("192.0.2.9", "2001:db8::2"), H2))
    assert conflict.kind == "address"
    assert conflict.message == "192.0.2.9 is the address of 2 companions on one network"
    assert places(conflict) == ["hv1 host0 declared", "hv2 host0 declared"]


def test_an_ip_address_is_the_same_however_it_is_written() -> None:
    conflict = only((companion("2001:db8::1"), H1), (companion("2001:DB8:0::1/128"), H2))
    assert conflict.message == "2001:db8::1 is the address of 2 companions on one network"


@pytest.mark.parametrize("other", [companion("192.0.2.8"), companion("192.0.2.9", state="absent"), NOTHING])
def test_companions_with_addresses_of_their_own(other: Said) -> None:
    assert conflicts((companion("192.0.2.9"), H1), (other, H2)) == []


def test_companions_of_hosts_in_segments_of_their_own_may_have_the_same_address() -> None:
    lan, dmz = companion("192.0.2.9"), {**companion("192.0.2.9"), "macvtap_segment": "dmz"}
    assert conflicts((lan, H1), (dmz, H2)) == []


def test_addresses_for_all_companions_are_of_each_host() -> None:
    both = declared(host_access_companions=[{"name": "host0", "parent": "eth0"}], host_access_addresses=["192.0.2.9"])
    assert only((both, H1), (both, H2)).kind == "address"


def test_a_companion_has_a_mac_address_like_any_link() -> None:
    conflict = only((companion("192.0.2.9", mac=A), H1), (declared(nic("web1", mac=A)), H2))
    assert (conflict.kind, places(conflict)) == ("mac", ["hv1 host0 declared", f"hv2 web1 {A} declared"])


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (companion("192.0.2.9", parent="eth1"), "parent", "there is no link eth1 on this host; did you mean eth0?"),
        (companion("192.0.2.9", mtu=9000), "mtu", "mtu 9000 exceeds that of the parent eth0 (1500)"),
        (
            companion("192.0.2.9/24"),
            "declaration",
            "macvtap_host_access_companions[0].addresses[0]: '192.0.2.9/24' has a prefix length",
        ),
        (
            companion(guests={"web1": "192.0.2.77"}),
            "declaration",
            "macvtap_host_access_companions[0].guests: a list is needed, and found is {'web1': '192.0.2.77'}",
        ),
    ],
)
def test_a_companion_that_cannot_be(said: Said, kind: str, message: str) -> None:
    conflict = only((said, H1))
    assert conflict.kind == kind
    assert conflict.message.startswith(message)
    assert places(conflict) == ["hv1 host0 declared"]


# -- addresses ---------------------------------------------------------------------------------------------------------


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


TRUNK = {"default": "lan", "eth0.10": "v10", "eth0.20": "v20"}


def vlan(number: int, parent: str = "eth0", own: str | None = None, **values: t.Any) -> Link:
    name = f"{parent}.{number}"
    own = own or uplink(1).mac
    made = Link(name, 100 + number, "vlan", parent, 2, None, own, 1500, up=True, vlan_id=number, vlan_protocol="802.1Q")
    return replace(made, **values)


def on(source: str, domain: str = "web1", **variables: t.Any) -> Said:
    return declared(nic(domain, mac=A, source=source), **variables)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # By the names of the segments, whatever the links are called and wherever they are said.
        ((on("eth0.10", segment=TRUNK), found(vlan(10))), (on("eth0", "b", segment="v10"), H2)),
        (
            (on("eth0.10", segment=TRUNK), found(vlan(10))),
            (on("bond0.10", "b", segment={"bond0.10": "v10"}), found(vlan(10, "bond0", mac(9)), number=2)),
        ),
        ((on("eth0", segment=TRUNK), H1), (on("eth0", "b", segment="lan"), H2)),
        ((on("eth0.30", segment=TRUNK), found(vlan(30))), (on("eth0", "b", segment="lan"), H2)),
        ((on("eth0", segment={"02:00:00:00:00:01": "x"}), H1), (on("eth0", "b", segment="x"), H2)),
        ((on("eth0", segment={"eth1": "x"}), H1), (on("eth0", "b"), H2)),
        # VLAN links that are still to be made, links, and what is found.
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
        # Of a host that could not be looked at.
        ((on("eth0.10", segment=TRUNK), {"unreachable": True}), (on("eth0", "b", segment="v10"), H2)),
    ],
)
def test_an_address_twice_in_a_segment_behind_one_of_a_hosts_links(
    one: tuple[Said, Said], other: tuple[Said, Said]
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
    assert conflict.message.startswith(f"{A} is used by 2 domains of one host, which libvirt_direct_iface refuses")
    assert places(conflict) == [f"hv1 a {A} declared", f"hv1 b {A} declared"]
    stored = found(vlan(10), vlan(20), web("b", U2, iface(A, "eth0.20")))
    assert only((on("eth0.10", "a", segment=TRUNK), stored)).kind == "mac"


def test_companions_are_in_the_segment_behind_their_parent() -> None:
    tagged = {**companion("192.0.2.9", parent="eth0.10"), "macvtap_segment": TRUNK}
    there = found(vlan(10))
    assert conflicts((tagged, there), ({**companion("192.0.2.9"), "macvtap_segment": "lan"}, H2)) == []
    conflict = only((tagged, there), ({**companion("192.0.2.9"), "macvtap_segment": "v10"}, H2))
    assert conflict.message == "192.0.2.9 is the address of 2 companions in the segment v10"


@pytest.mark.parametrize("said", [["lan"], True, {"eth0": None}, {"eth0": ["lan"]}])
def test_what_is_no_segment(said: t.Any) -> None:
    conflict = only((declared(segment=said), H1))
    assert (conflict.kind, places(conflict)) == ("declaration", ["hv1"])
    assert conflict.message.startswith("macvtap_segment: the name of a segment is needed")


def test_domains_of_one_name_on_hosts_that_share_no_network_are_several() -> None:
    def dns(source: str, segment: t.Any, number: int) -> tuple[Said, Said]:
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
def test_a_declared_address_that_something_of_another_host_has(there: Said, seen: str) -> None:
    conflict = only((declared(nic(mac=A)), H1), (NOTHING, there))
    assert (conflict.kind, places(conflict)) == ("mac", [f"hv1 web1 {A} declared", seen])


def test_an_address_of_a_nic_and_of_a_link_on_one_host() -> None:
    conflict = only((declared(nic(mac=A), links=[{"name": "spare0", "mac": A}]), H1))
    assert places(conflict) == [f"hv1 web1 {A} declared", "hv1 spare0 declared"]


def test_a_link_made_for_a_guest_that_has_another_address_than_the_guest() -> None:
    there = found(web("web1", U1, Iface(A, "ethernet", {"target": "mt0"})))
    conflict = only((declared(links=[{"name": "mt0", "mac": B}]), there), (declared(nic("web2", mac=B)), H2))
    assert places(conflict) == ["hv1 mt0 declared", f"hv2 web2 {B} declared"]


@pytest.mark.parametrize("parent", ["0000:01:00.0", "01:00.0", "lan0", "02:00:00:00:00:01"])
def test_a_parents_own_address_however_the_parent_is_said(parent: str) -> None:
    there = found(uplink(1, pci="0000:01:00.0", altnames=frozenset({"lan0"})))
    own = declared(nic("web2", mac=uplink(1).mac))
    conflict = only((declared(links=[{"name": "x0", "parent": parent}]), there), (own, H2))
    assert places(conflict) == ["hv1 eth0 parent", "hv2 web2 02:00:00:00:00:01 declared"]


@pytest.mark.parametrize("said", [declared(nic(mac=A, state="absent")), declared(nic(mac=B), domains_purge=True)])
def test_a_running_guest_keeps_what_is_to_go_where_nothing_may_change_in_it(said: Said) -> None:
    there = found(web("web1", U1, iface(A), live=[iface(A, target="macvtap0")]), macvtap("macvtap0", A))
    other = (declared(nic("web2", mac=A)), H2)
    assert conflicts((said, there), other) == []
    conflict = only(({**said, "macvtap_domains_live": "none"}, there), other)
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
    ("said", "there"),
    [
        # Found where it is declared: stored, running with its link, or a link.
        (declared(nic(mac=A)), found(web("web1", U1, iface(A)))),
        (
            declared(nic(mac=A)),
            found(web("web1", U1, iface(A), live=[iface(A, target="macvtap0")]), macvtap("macvtap0", A)),
        ),
        (declared(links=[{"name": "spare0", "mac": A}]), found(macvtap("spare0", A))),
        # What is declared takes the place of what is there.
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
        # A guest's link, where libvirt cannot be asked whose it is.
        (declared(nic(mac=A)), found(macvtap("macvtap0", A), version=None)),
        (NOTHING, found(macvtap("macvtap0", A), Link("mv0", 11, "macvlan", "eth0", 2, "bridge", A), version=None)),
        # A link that is made for a guest which does not make its own.
        (declared(links=[{"name": "mt0", "mac": A}]), found(web("web1", U1, Iface(A, "ethernet", {"target": "mt0"})))),
        (
            declared(links=[{"name": "mt0", "mac": A}]),
            found(
                web("web1", U1, live=[Iface(A, "ethernet", {"target": "mt0"})]),
                macvtap("mt0", A),
            ),
        ),
        (NOTHING, found(web("web1", U1, Iface(A, "ethernet", {"target": "mt0"})), macvtap("mt0", A))),
        # What only the guest's own network has.
        (declared(nic(mac=A)), found(web("web2", U2, Iface(A, "user")))),
        (declared(nic(mac=A)), found(web("web2", U2, Iface(A, "null")))),
        # A pair for failover.
        (NOTHING, found(web("web1", U1, iface(A), Iface(A, "hostdev")))),
        (NOTHING, found(web("web1", U1, Iface(A, "hostdev"), iface(A), live=[Iface(A, "hostdev"), iface(A)]))),
    ],
)
def test_what_is_one_thing_is_no_conflict(said: Said, there: Said) -> None:
    assert conflicts((said, there)) == []


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
    made = select(desired, domain, Host("", {"web1": domain})).mac
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


# -- parents -----------------------------------------------------------------------------------------------------------


def test_a_parent_that_is_missing_is_one_conflict_for_all_that_want_it() -> None:
    conflict = only((declared(nic(mac=A, source="eth9"), nic(mac=B, source="eth9")), H1))
    assert conflict.kind == "parent"
    assert "there is no link eth9 on this host; did you mean eth0?" in conflict.message
    assert places(conflict) == [f"hv1 web1 {A} declared", f"hv1 web1 {B} declared"]


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (uplink(3, "port0", kind="veth", master="br0"), "port0 is a port of the bridge br0"),
        (Link("lo", 1, mac="00:00:00:00:00:00", mtu=65536, hardware=772, loopback=True), "lo is the loopback link"),
        (uplink(3, "wlan0", wireless=True), "wlan0 is a wireless link"),
        (macvtap("mt0", mac(9)), "mt0 is itself a macvtap link"),
    ],
)
@pytest.mark.parametrize("role", ["links", "domains"])
def test_a_parent_that_is_unfit(role: str, parent: Link, message: str) -> None:
    there = found(parent, uplink(4, "br0", kind="bridge"))
    link = [{"name": "x0", "parent": parent.name}] if role == "links" else []
    said = declared(*([] if link else [nic(mac=A, source=parent.name)]), links=link)
    conflict = only((said, there))
    assert conflict.kind == "parent"
    assert message in conflict.message


def test_a_parent_by_its_other_names() -> None:
    there = found(uplink(3, "eth1", altnames=frozenset({"lan0"}), pci="0000:01:00.0"))
    links = [{"name": f"x{n}", "parent": p} for n, p in enumerate(("lan0", "01:00.0", "02:00:00:00:00:03"))]
    assert conflicts((declared(nic(mac=A, source="lan0"), links=links), there)) == []
    # libvirt takes none but names.
    assert only((declared(nic(mac=A, source="01:00.0"), links=links), there)).kind in {"declaration", "parent"}


def test_vlan_links_that_are_still_to_be_made_are_parents() -> None:
    def said(*vlans: Said, **variables: t.Any) -> Said:
        links = [{"name": "x0", "parent": "dmz0"}]
        return declared(nic(mac=A, source="eth0.20"), links=links, links_vlans=list(vlans), **variables)

    lan, dmz = {"parent": "eth0", "id": "20"}, {"parent": "eth0", "id": 30, "name": "dmz0", "mtu": 1400}
    assert conflicts((said(lan, dmz), H1)) == []
    assert only((said(lan, dmz, links_mtu=1500), H1)).message == "mtu 1500 exceeds that of the parent dmz0 (1400)"
    assert places(only((said(lan), H1))) == ["hv1 x0 declared"]
    assert only((said(lan, {**dmz, "mtu": 9000}), H1)).kind == "mtu"
    got = conflicts((said(lan, {**dmz, "parent": "eth7"}), H1))
    assert [(one.kind, places(one)) for one in got] == [
        ("parent", ["hv1 x0 declared"]),
        ("parent", ["hv1 dmz0 declared"]),
    ]
    assert only((declared(links_vlans=[{"parent": "eth0", "id": 4095}]), H1)).kind == "declaration"


def running(*live: Iface, **more: t.Any) -> Domain:
    return Domain("web1", U1, True, stored=live, live=live, **more)


@pytest.mark.parametrize(
    ("said", "there", "where"),
    [
        (
            declared(links=[{"name": "p0", "mode": "passthru"}, {"name": "x0"}]),
            [],
            ["hv1 p0 declared", "hv1 x0 declared"],
        ),
        (declared(links=[{"name": "x0"}]), [macvtap("p0", B, "passthru")], ["hv1 p0 found", "hv1 x0 declared"]),
        (declared(links=[{"name": "p0", "mode": "passthru"}]), [macvtap("x0", B)], ["hv1 x0 found", "hv1 p0 declared"]),
        (
            declared(links=[{"name": "p0", "mode": "passthru"}]),
            [running(iface(A, target="macvtap0")), macvtap("macvtap0", A)],
            ["hv1 p0 declared", f"hv1 web1 {A} stored, live"],
        ),
        (
            declared(nic(mac=A), links=[{"name": "p0", "mode": "passthru"}]),
            [running()],
            ["hv1 p0 declared", f"hv1 web1 {A} declared"],
        ),
    ],
)
def test_passthru_and_something_else_on_one_parent(said: Said, there: list[t.Any], where: list[str]) -> None:
    conflict = only((said, found(*there)))
    assert (conflict.kind, places(conflict)) == ("parent", where)
    assert conflict.message == ("a link in mode passthru must be the only one on its parent, and eth0 is to have 2")


@pytest.mark.parametrize(
    ("said", "there"),
    [
        (declared(links=[{"name": "p0", "mode": "passthru"}]), []),
        (declared(links=[{"name": "p0", "mode": "passthru"}, {"name": "x0", "state": "absent"}]), [macvtap("x0", B)]),
        (declared(links=[{"name": "p0"}, {"name": "x0"}]), [macvtap("p0", B, "passthru")]),
        (declared(links=[{"name": "p0", "mode": "passthru"}, {"name": "x0", "parent": "eth1"}]), [uplink(3, "eth1")]),
        # One of two guests at a time, and one that is to leave.
        (declared(nic("a", mac=A, mode="passthrough"), nic("b", mac=B)), []),
        (
            declared(nic(mac=A, state="absent"), links=[{"name": "p0", "mode": "passthru"}]),
            [running(iface(A, target="macvtap0")), macvtap("macvtap0", A)],
        ),
        # Nothing that is to be, is on it.
        (declared(), [macvtap("p0", B, "passthru"), running(iface(A))]),
    ],
)
def test_passthru_with_nothing_else_on_its_parent(said: Said, there: list[t.Any]) -> None:
    assert conflicts((said, found(*there))) == []


OURS = {"alias": "linuxvirt.macvtap"}
LAN10: Said = {"parent": "eth0", "id": 10}


@pytest.mark.parametrize(
    ("vlans", "there", "mtu"),
    [
        # The MTU rises in the same run, or falls, or is not ours to change.
        ([{**LAN10, "mtu": 9000}], [vlan(10, **OURS)], 9000),
        ([{**LAN10, "mtu": 1400}], [vlan(10, mtu=9000, **OURS)], 1400),
        ([{**LAN10, "mtu": 9000}], [vlan(10)], 1500),
        ([LAN10], [vlan(10, mtu=1400, **OURS)], 1400),
        ([LAN10], [], 9000),
    ],
)
def test_the_mtu_of_a_vlan_link_is_that_which_it_will_have(vlans: list[Said], there: list[Link], mtu: int) -> None:
    for wanted in (mtu, mtu + 1 if mtu < 9000 else 0):
        links = [{"name": "x0", "parent": "eth0.10", "mtu": wanted or None}]
        got = conflicts((declared(links=links, links_vlans=vlans), found(uplink(1, mtu=9000), *there)))
        assert [one.kind for one in got] == (["mtu"] if wanted > mtu else [])


@pytest.mark.parametrize(
    ("vlans", "there", "kind", "message"),
    [
        ([{**LAN10, "state": "absent"}], [vlan(10, **OURS)], "parent", "there is no link eth0.10 on this host"),
        ([LAN10], [vlan(10, name="lan10", **OURS)], "declaration", "VLAN 10 of eth0 is lan10 already"),
        ([LAN10], [Link("eth0.10", 30, "dummy", mtu=1500)], "declaration", "eth0.10 exists and is no VLAN link"),
        ([LAN10, {**LAN10, "name": "b0"}], [], "declaration", "VLAN 10 of eth0 is declared twice, here and in"),
        (
            [LAN10, {"parent": "eth0.10", "id": 5}],
            [],
            "declaration",
            "eth0.10 is still to be made, by macvtap_links_vlans",
        ),
        ([LAN10], [uplink(1, up=False)], "declaration", "its parent eth0 is down, and the kernel sets no VLAN up then"),
    ],
)
def test_a_vlan_link_that_cannot_be(vlans: list[Said], there: list[Link], kind: str, message: str) -> None:
    said = declared(links=[{"name": "x0", "parent": "eth0.10"}], links_vlans=vlans)
    conflict = only((said, found(*there)))
    assert conflict.kind == kind
    assert message in conflict.message


def test_a_vlan_link_that_something_else_has_made_by_another_name_is_used() -> None:
    there = found(vlan(10, name="lan10"))
    assert conflicts((declared(nic(mac=A, source="lan10"), links_vlans=[LAN10]), there)) == []
    conflict = only((declared(nic(mac=A, source="eth0.10"), links_vlans=[LAN10]), there))
    assert conflict.message.startswith("there is no link eth0.10 on this host")


def test_a_vlan_link_with_an_address_of_its_own_is_a_parent_by_that() -> None:
    there = found(vlan(10, own=B), vlan(20))
    links: list[Said] = [{"name": "x0", "parent": B}, {"name": "x1", "parent": uplink(1).mac}]
    assert conflicts((declared(links=links), there)) == []


def test_a_vlan_link_may_be_on_a_macvlan_link_and_not_on_a_macvtap_link() -> None:
    there = found(Link("mv0", 10, "macvlan", "eth0", 2, "bridge", B, 1500, up=True), macvtap("mt0", mac(9), up=True))
    assert conflicts((declared(links_vlans=[{"parent": "mv0", "id": 5}]), there)) == []
    conflict = only((declared(links_vlans=[{"parent": "mt0", "id": 5}]), there))
    assert (conflict.kind, places(conflict)) == ("parent", ["hv1 mt0.5 declared"])
    assert conflict.message.startswith("mt0 is a macvtap link, whose frames go to the process")
    assert only((declared(links=[{"name": "x0", "parent": "mv0"}]), there)).kind == "parent"


def test_an_mtu_above_the_parents() -> None:
    conflict = only((declared(links=[{"name": "x0", "mtu": "9000"}], links_mtu=1500), H1))
    assert (conflict.kind, conflict.message) == ("mtu", "mtu 9000 exceeds that of the parent eth0 (1500)")
    assert only((declared(links=[{"name": "x0"}], links_mtu=9000), H1)).kind == "mtu"
    # libvirt takes none at all.
    assert only((declared(nic(mac=A, mtu=1400)), H1)).kind == "declaration"
    assert conflicts((declared(links=[{"name": "x0", "mtu": 1500}]), H1)) == []


def test_a_running_guests_mtu_above_that_of_the_source_that_it_is_to_move_to() -> None:
    there = found(
        uplink(3, "eth1", mtu=9000),
        Link("macvtap0", 10, "macvtap", "eth1", 3, "bridge", A, 9000),
        web("web1", U1, iface(A, "eth1"), live=[iface(A, "eth1", target="macvtap0")]),
    )
    assert only((declared(nic(mac=A, source="eth0")), there)).kind == "mtu"
    assert conflicts((declared(nic(mac=A, source="eth1")), there)) == []


@pytest.mark.parametrize(("relay", "kinds"), [(False, ["vepa"]), (True, []), (None, [])])
def test_vepa_needs_a_switch_that_reflects(relay: bool | None, kinds: list[str]) -> None:
    there = found(relay={} if relay is None else {"eth0": relay})
    said = declared(
        nic(mac=A), nic(mac=B, mode="private"), links=[{"name": "x0"}], domains_mode="vepa", links_mode="vepa"
    )
    got = conflicts((said, there))
    assert [one.kind for one in got] == kinds
    assert [places(one) for one in got] == [["hv1 x0 declared", f"hv1 web1 {A} declared"]] * len(kinds)
    assert conflicts((declared(nic(mac=A), links=[{"name": "x0"}]), there)) == []


# -- hosts -------------------------------------------------------------------------------------------------------------


def test_a_kernel_without_macvtap() -> None:
    there = {**H1, "kernel": {"supported": False, "reason": "it has none", "remedy": "Rebuild it"}}
    conflict = only((NOTHING, there))
    assert (conflict.kind, conflict.message, conflict.remedy) == ("kernel", "it has none", "Rebuild it")
    assert places(conflict) == ["hv1"]
    assert conflicts((declared(kernel_required=False), there)) == []
    assert only((declared(nic(mac=A), kernel_required="no"), there)).kind == "kernel"


@pytest.mark.parametrize(
    ("version", "options", "message"),
    [
        ("8.2.0", {"driver": {"rss": True}}, "libvirt 8.2.0 has no driver.rss, which came with 8.3.0"),
        ("8.3.0", {"driver": {"rss": True}}, None),
        ("8.2.0", {"driver": {"queues": 2}}, None),
        ("7.2.0", {"acpi_index": 5}, "libvirt 7.2.0 has no acpi_index, which came with 7.3.0"),
        ("7.3.0", {"acpi_index": 5}, None),
        ("7.2.0", {"acpi_index": 0}, None),
        (None, {"driver": {"rss": True}}, None),
    ],
)
def test_a_libvirt_too_old_for_what_is_declared(version: str | None, options: Said, message: str | None) -> None:
    got = conflicts((declared(nic(mac=A, **options)), found(version=version)))
    assert [one.message for one in got] == ([message] if message else [])


def test_what_a_running_guest_cannot_take_waits_for_its_restart_and_is_no_conflict() -> None:
    card = iface(A, model="virtio")
    there = found(web("web1", U1, card, live=[iface(A, trust_guest_rx_filters="no")]), version="9.0.0")
    assert conflicts((declared(nic(mac=A, trust_guest_rx_filters=True)), there)) == []


TRUSTED = {"model": "virtio", "trust_guest_rx_filters": "yes"}


@pytest.mark.parametrize(
    ("options", "variables", "stored", "message"),
    [
        ({"allmulticast": True, "trust_guest_rx_filters": True}, {}, None, "and takes allmulticast off again"),
        ({"trust_guest_rx_filters": True}, {"domains_allmulticast": True}, None, "and takes allmulticast off again"),
        ({"allmulticast": True}, {"domains_trust_guest_rx_filters": True}, None, "and takes allmulticast off again"),
        ({"allmulticast": True}, {}, TRUSTED, "trust_guest_rx_filters is what it has already"),
        ({"allmulticast": True, "trust_guest_rx_filters": False}, {}, TRUSTED, None),
        ({"model": "e1000e"}, {}, TRUSTED, "model: QEMU does not tell how the filters of a card of model e1000e"),
        ({"trust_guest_rx_filters": True}, {"domains_model": "e1000e"}, None, "trust_guest_rx_filters: QEMU does not"),
        ({"trust_guest_rx_filters": True}, {}, {"model": "e1000e"}, "trust_guest_rx_filters: QEMU does not tell"),
        ({"trust_guest_rx_filters": True}, {}, None, None),
        ({"allmulticast": True, "mode": "passthrough"}, {}, None, "allmulticast: in mode passthrough"),
        ({"allmulticast": True, "state": "absent"}, {"domains_trust_guest_rx_filters": True}, TRUSTED, None),
        ({}, {}, {**TRUSTED, "allmulticast": "yes"}, None),
    ],
)
def test_ways_to_hear_multicast_that_the_module_would_refuse(
    options: Said, variables: Said, stored: t.Mapping[str, str] | None, message: str | None
) -> None:
    there = found(web("web1", U1, *(() if stored is None else (iface(A, **stored),))))
    got = conflicts((declared(nic(mac=A, **options), **variables), there))
    if message is None:
        assert got == []
    else:
        (one,) = got
        assert (one.kind, places(one)) == ("declaration", [f"hv1 web1 {A} declared"])
        assert message in one.message


# -- migration ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        (declared(nic(mac=A, mode="private")), H2),
        (declared(nic(mac=A), domains_source="eth1"), found(uplink(3, "eth1"), number=2)),
        (NOTHING, found(web("web1", U1, iface(A, mode="vepa")), number=2)),
        (NOTHING, found(web("web1", U1, Iface(A, "bridge", origin="br0")), number=2)),
    ],
)
def test_a_domain_that_could_not_migrate(other: tuple[Said, Said]) -> None:
    conflict = only((declared(nic(mac=A)), H1), other)
    assert conflict.kind == "migration"
    assert f"web1 could not migrate: {A} is on eth0 in mode bridge on hv1; " in conflict.message
    assert [place.host for place in conflict.where] == ["hv1", "hv2"]


def two(one: Said, other: Said) -> list[tuple[Said, Said]]:
    """Return two hosts with eth0 and eth1 and with web1, which has no NIC yet, and what they declare of it."""
    return [(said, found(web("web1", U1), uplink(n + 2, "eth1"), number=n)) for n, said in ((1, one), (2, other))]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        # The addresses are made of the sources, and so are not the same.
        (
            nic(),
            nic(source="eth1"),
            "an interface that is not declared by its address is on eth0 in mode bridge on hv1",
        ),
        (nic(alias="ua-lan"), nic(alias="ua-lan", source="eth1"), "ua-lan is on eth0 in mode bridge on hv1; on eth1"),
        (
            nic(alias="ua-a", target="web0"),
            nic(target="web0", source="eth1"),
            "web0 is on eth0 in mode bridge on hv1; ",
        ),
        (nic(mac=A), nic(source="eth1"), "an interface that is not declared by its address is on eth0 in mode bridge"),
    ],
)
def test_a_domain_that_could_not_migrate_whose_addresses_are_not_declared(one: Said, other: Said, message: str) -> None:
    for swapped, hosts in enumerate((two(declared(one), declared(other)), two(declared(other), declared(one)))):
        conflict = only(*hosts)
        assert conflict.kind == "migration"
        assert swapped or f"web1 could not migrate: {message}" in conflict.message
        assert [place.host for place in conflict.where] == ["hv1", "hv2"]


def test_a_domain_that_could_not_migrate_and_whose_uuid_nobody_knows() -> None:
    hosts = [(declared(nic(mode=mode)), found(number=n, version=None)) for n, mode in ((1, "bridge"), (2, "vepa"))]
    assert "is on eth0 in mode bridge on hv1; on eth0 in mode vepa on hv2" in only(*hosts).message


def test_a_nic_that_is_declared_on_one_host_and_missing_on_another() -> None:
    conflict = only(*two(declared(nic(mac=A), nic(mac=B)), declared(nic(mac=A))))
    assert conflict.message == f"web1 could not migrate: {B} is on eth0 in mode bridge on hv1; missing on hv2"
    assert places(conflict) == [f"hv1 web1 {B} declared", "hv2 web1"]


@pytest.mark.parametrize(
    "hosts",
    [
        # Another order, and another way of saying which.
        two(declared(nic(), nic(source="eth1")), declared(nic(source="eth1"), nic())),
        two(declared(nic(mac=A), nic(source="eth1")), declared(nic(source="eth1"), nic(mac=A))),
        two(declared(nic(mac=A)), declared(nic())),
        # What is there without having been declared.
        [
            (declared(nic(mac=A), nic(mac=B)), found(web("web1", U1))),
            (declared(nic(mac=A)), found(web("web1", U1, iface(B)), number=2)),
        ],
        # Each host has made an address of its own.
        [
            (declared(nic()), found(web("web1", U1, iface(A)))),
            (declared(nic()), found(web("web1", U1, iface(B)), number=2)),
        ],
        # Where nobody knows what else the domain has, or nobody declares what it is to have.
        [
            (declared(nic(mac=A), nic(mac=B)), found(web("web1", U1))),
            (declared(nic(mac=A)), found(number=2, version=None)),
        ],
        [(declared(nic(mac=A)), found(web("web1", U1))), (NOTHING, found(web("web1", U1), number=2))],
        [(declared(nic(mac=A)), H1), (declared(nic(mac=A)), {"unreachable": True})],
        [
            (declared(nic(mac=A)), found(web("web1", U1, iface(A), iface(B)))),
            (declared(nic(mac=A)), found(web("web1", U1, iface(A)), number=2)),
        ],
    ],
)
def test_a_domain_that_could_migrate(hosts: list[tuple[Said, Said]]) -> None:
    assert conflicts(*hosts) == []
    assert conflicts(*reversed(hosts)) == []


def test_what_is_the_same_on_several_hosts_of_a_segment_is_one_conflict() -> None:
    bad, dmz = (declared(nic(f"w{n}", mac=mac(n), source="eth9"), segment=s) for n, s in ((1, "lan"), (2, "dmz")))
    other = declared(nic("w3", mac=mac(3), source="eth9"), segment="lan")
    got = conflicts((bad, H1), (dmz, H2), (other, found(number=3)))
    assert [(one.segment, [place.host for place in one.where]) for one in got] == [
        ("lan", ["hv1", "hv3"]),
        ("dmz", ["hv2"]),
    ]


def test_what_is_declared_counts_for_a_migration_and_not_what_is_stored_so_far() -> None:
    there = found(web("web1", U1, iface(A, mode="vepa")), number=2)
    assert (
        conflicts((declared(nic(mac=A, mode="passthru")), H1), (declared(nic(mac=A, mode="passthrough")), there)) == []
    )


def test_a_mode_that_the_switch_decides_is_not_known_yet() -> None:
    auto, there = (declared(nic(mac=A, mode="auto")), H1), found(web("web1", U1, iface(A, mode="vepa")), number=2)
    assert conflicts(auto, (NOTHING, there)) == []
    assert conflicts(auto, (declared(nic(mac=A, mode="auto")), there)) == []
    elsewhere = declared(nic(mac=A, source="eth1"))
    assert only(auto, (elsewhere, found(uplink(3, "eth1"), number=2))).kind == "migration"


def test_a_mode_that_auto_leaves_as_it_is_counts() -> None:
    auto = declared(nic(mac=A, mode="auto"))
    vepa, bridge = found(web("web1", U1, iface(A, mode="vepa"))), found(web("web1", U1, iface(A)), number=2)
    assert only((auto, vepa), (auto, bridge)).kind == "migration"
    # Where the switch decides of all, they may well come to be the same.
    follow = declared(nic(mac=A, mode="auto"), domains_auto="always")
    assert conflicts((follow, vepa), (follow, bridge)) == []
    private = found(web("web1", U1, iface(A, mode="private")), number=2)
    assert only((follow, vepa), (follow, private)).kind == "migration"


@pytest.mark.parametrize("follow", ["new", "always"])
def test_a_mode_that_auto_leaves_as_it_is_needs_a_switch_that_reflects(follow: str) -> None:
    links = [{"name": "x0", "mode": "auto"}]
    said = declared(nic(mac=A, mode="auto"), links=links, domains_auto=follow, links_auto=follow)
    there = found(
        web("web1", U1, iface(A, mode="vepa")), macvtap("x0", B, "vepa"), uplink(3, "eth1"), relay={"eth0": False}
    )
    got = conflicts((said, there))
    assert [one.kind for one in got] == (["vepa"] if follow == "new" else [])
    assert [places(one) for one in got] == [["hv1 x0 declared", f"hv1 web1 {A} declared, stored"]] * len(got)
    # On another parent it is another switch that decides.
    assert conflicts(({**said, "macvtap_domains_source": "eth1", "macvtap_links_parent": "eth1"}, there)) == []


def test_a_passthru_link_that_auto_leaves_as_it_is_has_its_parents_address() -> None:
    own = uplink(1).mac or ""
    for follow in ("new", "always"):
        nics = declared(nic(mac=own, mode="auto"), domains_auto=follow)
        assert conflicts((nics, found(web("web1", U1, iface(own, mode="passthrough"))))) == []
        links = declared(links=[{"name": "x0", "mode": "auto"}], links_auto=follow)
        assert conflicts((links, found(macvtap("x0", own, "passthru")))) == []


def test_interfaces_that_are_no_direct_ones_are_not_ours_to_judge() -> None:
    hosts = [(NOTHING, found(web("web1", U1, Iface(A, "bridge", origin=f"br{n}")), number=n)) for n in (1, 2)]
    assert conflicts(*hosts) == []


# -- declarations and gaps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (declared(nic(mac="52:54:00")), r"macvtap_domains_interfaces[0].mac: '52:54:00' is not a MAC address"),
        (declared(nic(mac=3 * 60 + 5)), "YAML has read it as a number"),
        (declared({"mac": A}), "macvtap_domains_interfaces[0].domain"),
        (declared("web1"), "macvtap_domains_interfaces[0]: a dictionary is needed, and found is 'web1'"),  # type: ignore[arg-type]
        (declared(domains_interfaces="web1"), "macvtap_domains_interfaces: a list is needed, and found is 'web1'"),
        (declared(links=[{"mac": A}]), "macvtap_links_links[0].name: say it"),
        (declared(links=[{"name": "x0", "mtu": "many"}]), "macvtap_links_links[0].mtu: 'many' is no number"),
        (declared(links=[{"name": "x0", "mtu": True}]), "macvtap_links_links[0].mtu: True is no number"),
        (declared(links=[{"name": "x0", "mac": "01:00:00:00:00:01"}]), "macvtap_links_links[0].mac: "),
        (declared(links=[{"name": "x0", "mtu": 9}]), "macvtap_links_links[0].mtu: 9 is not between 68 and 65535"),
        (declared(links=[{"name": "x0", "mode": "brige"}]), "macvtap_links_links[0].mode: 'brige' is none of vepa, "),
        (declared(links=[{"name": "x0", "lower": "eth0"}]), "macvtap_links_links[0].lower: there is no such option"),
        (declared(links=[{"name": "x0", "source_macs": {"a": 1}}]), "[0].source_macs: a list is needed, and found is"),
        (declared(nic(mac=B, driver="vhost")), "[0].driver: a dictionary is needed, and found is 'vhost'"),
        (declared(nic(mac=B, driver={"queue": 2})), "[0].driver.queue: there is no such option; did you mean queues?"),
        (declared(nic(mac=B, driver={"queues": "two"})), "[0].driver.queues: 'two' is no number"),
        (declared(nic(mac=B, convert="maybe")), "[0].convert: 'maybe' is neither true nor false"),
        (declared(nic(mac=B, source=["eth0"])), "[0].source: a text is needed, and found is ['eth0']"),
        (declared(nic(mac=B, state="gone")), "[0].state: 'gone' is none of present, absent"),
        (declared(nic(mac=B, acpi_index=99999)), "[0].acpi_index: 99999 is not between 0 and 16383"),
        (declared(nic(mac=B), nic(mac=B, mode="private")), "[1].mac: 52:54:00:00:00:02 is declared twice: "),
        (declared(links=[{"name": "x0"}, {"name": "x0"}]), "[1].name: x0 is declared twice, here and in "),
        (
            declared(
                host_access_companions=2 * [{"name": "h0", "addresses": ["192.0.2.9"]}], host_access_parent="eth0"
            ),
            "macvtap_host_access_companions[1].name: h0 is declared twice, here and in ",
        ),
        (declared(links_vlans=[{"parent": "eth0", "id": 9, "protocol": "x"}]), "[0].protocol: 'x' is none of 802.1Q, "),
        (declared(domains_mode="brige"), "macvtap_domains_mode: 'brige' is none of vepa, "),
        (declared(links_purge="banana"), "macvtap_links_purge: 'banana' is neither true nor false"),
        (declared(links_mtu="big"), "macvtap_links_mtu: 'big' is no number"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_named_and_the_others_are_compared(said: Said, message: str) -> None:
    other = declared(nic("a", mac=A), nic("b", mac=A))
    got = conflicts((said, H1), (other, H2))
    assert {one.kind for one in got} >= {"declaration", "mac"}
    (told,) = [one for one in got if one.kind == "declaration"]
    assert message in told.message


def test_values_are_read_as_ansible_reads_options() -> None:
    there = found(version="8.2.0")
    conflict = only((declared(nic(mac=A, driver="name=vhost,rss=yes", trust_guest_rx_filters="no")), there))
    assert conflict.message == "libvirt 8.2.0 has no driver.rss, which came with 8.3.0"
    assert conflicts((declared(nic(mac=A), links=[{"name": "x0", "mtu": "1500", "altnames": "a,b"}]), H1)) == []


def test_an_entry_with_an_option_that_there_is_not_is_compared_all_the_same() -> None:
    got = conflicts((declared(nic(mac=A, comment="x")), H1), (declared(nic("db1", mac=A)), H2))
    assert [one.kind for one in got] == ["declaration", "mac"]


@pytest.mark.parametrize(
    ("said", "there", "message"),
    [
        (nic("wbe1", mac=A), web("web1"), "[0].domain: no domain 'wbe1' on qemu:///system (known: web1)"),
        (nic("web1", mac=A), Domain("web1", U1, True, persistent=False), "[0].domain: domain 'web1' is transient"),
        (nic(mac=A, source=None), web(), f"[0].source: domain 'web1' has no interface {A} yet: adding it needs"),
        (nic(mac=A), web("web1", U1, Iface(A, "bridge")), f"[0].mac: domain 'web1' has {A} as an interface of type"),
        (nic(mac=A, state="absent"), web("web1", U1, Iface(A, "bridge")), "[0].mac: domain 'web1' has"),
    ],
)
def test_what_libvirt_direct_iface_would_refuse_of_a_domain(said: Said, there: Domain, message: str) -> None:
    whole = declared(said, domains_source=said.pop("source", "eth0"))
    told = {"hv1": {"declared": whole, "found": found(there)}}
    (conflict,) = compare.conflicts(told)
    assert conflict.kind == "declaration"
    assert message in conflict.message
    assert ("define the domain" in conflict.remedy) == ("no domain" in message)
    assert places(conflict) == [f"hv1 {said['domain']} {A} declared"]
    # What nobody has seen may be there.
    assert compare.conflicts({"hv1": {"declared": whole, "found": found(version=None)}}) == []


def test_what_libvirt_direct_iface_takes_of_a_domain() -> None:
    absent = {"declared": declared(nic("gone", mac=A, state="absent")), "found": H1}
    assert compare.conflicts({"hv1": absent}) == []
    for live in ([], [Iface(A, "bridge", {"target": "vnet0"}, "br0")]):
        there = found(web("web1", U1, Iface(A, "bridge", origin="br0"), live=live))
        assert conflicts((declared(nic(mac=A, convert=True)), there)) == []
        assert conflicts((declared(nic(mac=A, convert=True, mode="auto", allmulticast=True)), there)) == []


def test_a_nic_that_is_declared_twice_by_different_things() -> None:
    conflict = only((declared(nic(mac=A), nic()), found(web("web1", U1, iface(A)))))
    assert "[1].source: this is the same interface (web1 52:54:00:00:00:01) as" in conflict.message


def test_a_link_that_is_still_to_be_made_needs_a_parent() -> None:
    orphan = declared(links=[{"name": "x0"}], links_parent=None)
    conflict = only((orphan, H1))
    assert conflict.message.startswith("macvtap_links_links[0].parent: there is no such link yet, and to make it")
    assert places(conflict) == ["hv1 x0 declared"]
    assert conflicts((orphan, found(macvtap("x0", A)))) == []
    assert conflicts((orphan, {"unreachable": True})) == []


def test_several_interfaces_that_are_meant() -> None:
    there = found(web("web1", U1, iface(A), iface(B)))
    assert "Say which one by its MAC address" in only((declared(nic()), there)).message


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ({"unreachable": True, "msg": "Failed to connect\nmore"}, "cannot be reached: Failed to connect"),
        ({"failed": True, "msg": "Task failed: no Python"}, "could not be looked at: no Python"),
        ({}, "could not be looked at"),
    ],
)
def test_of_a_host_that_was_not_seen_the_declarations_are_compared_and_it_is_named(there: Said, reason: str) -> None:
    hosts = ((declared(nic(mac=A, source="eth9")), there), (declared(nic("db1", mac=A)), H2))
    assert only(*hosts).kind == "mac"
    assert compare.gaps(fleet(*hosts)) == [{"host": "hv1", "what": "host", "reason": reason}]


def test_a_host_whose_libvirt_does_not_answer_is_named() -> None:
    hosts = ((declared(nic()), found(version=None)), (NOTHING, H2))
    assert conflicts(*hosts) == []
    assert compare.gaps(fleet(*hosts)) == [{"host": "hv1", "what": "libvirt", "reason": "no daemon"}]


@pytest.mark.parametrize(
    "message",
    [
        "'nowhere' is undefined",
        "Task failed: Finalization of task args for 'ansible.builtin.set_fact' failed: Error while resolving value for "
        "'macvtap_preflight_host': 'nowhere' is undefined\nmore",
    ],
)
def test_a_host_whose_variables_cannot_be_read_is_a_conflict_and_what_was_found_of_it_is_compared(message: str) -> None:
    hosts = fleet((declared(nic(mac=A)), H1))
    hosts["hv2"] = {"found": found(web("db1", U2, iface(A)), number=2), "unreadable": message}
    hosts["hv3"] = {"found": {}, "unreadable": message}
    got = compare.conflicts(hosts)
    assert [(one.kind, [place.host for place in one.where]) for one in got] == [
        ("declaration", ["hv2", "hv3"]),
        ("mac", ["hv1", "hv2"]),
    ]
    assert got[0].message == "a variable cannot be read: 'nowhere' is undefined"
    assert compare.gaps(hosts) == []


def test_an_empty_fleet() -> None:
    assert compare.conflicts({}) == []
    assert compare.gaps({}) == []


# -- all together ------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_roles() -> None:
    roles: dict[str, t.Any] = {}
    for role in ("kernel", "links", "domains", "host_access"):
        roles |= yaml.safe_load((ROOT / f"roles/macvtap_{role}/defaults/main.yml").read_text())
    assert {name: roles[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_variable_that_is_left_out_is_at_its_default(nothing: str | None) -> None:
    said = dict.fromkeys((*DEFAULTS, "macvtap_segment", "macvtap_host_access_addresses"), nothing)
    assert conflicts((said, H1), (declared(links=[{"name": "x0", "mac": A}], links_mode=nothing), H2)) == []


@pytest.mark.parametrize(
    ("role", "variable", "spec"),
    [
        ("links", "links", options.LINK),
        ("links", "vlans", options.VLAN),
        ("domains", "interfaces", options.INTERFACE),
        ("host_access", "companions", options.COMPANION),
    ],
)
def test_entries_are_read_by_what_the_role_takes(role: str, variable: str, spec: options.Spec) -> None:
    said = yaml.safe_load((ROOT / f"roles/macvtap_{role}/meta/argument_specs.yml").read_text())
    entry = said["argument_specs"]["main"]["options"][f"macvtap_{role}_{variable}"]["options"]
    assert shape(entry) == shape(spec)


def test_variables_are_read_by_what_the_roles_take() -> None:
    for name, option in options.VARIABLES.items():
        role = next(
            role for role in ("kernel", "links", "domains", "host_access") if name.startswith(f"macvtap_{role}")
        )
        said = yaml.safe_load((ROOT / f"roles/macvtap_{role}/meta/argument_specs.yml").read_text())
        assert shape({name: said["argument_specs"]["main"]["options"][name]}) == shape({name: option})


def shape(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what decides which values are taken."""
    return {
        name: (
            option["type"].replace("raw", "str"),
            sorted(map(str, option.get("choices", ()))),
            shape(option.get("options") or {}),
        )
        for name, option in spec.items()
    }


def test_every_variable_that_is_read_is_handed_over_by_the_playbook() -> None:
    tasks = yaml.safe_load((ROOT / "playbooks/preflight.yml").read_text())[0]["tasks"][0]["block"]
    handed = next(task["vars"] for task in tasks if "ansible.builtin.set_fact" in task)
    variables = set(handed["macvtap_preflight_both"]["declared"])
    assert variables == {*DEFAULTS, "macvtap_segment"} | {
        f"macvtap_{name}"
        for name in (
            "links_parent",
            "links_mtu",
            "links_group",
            "domains_source",
            "domains_model",
            "domains_allmulticast",
            "domains_trust_guest_rx_filters",
            "host_access_parent",
            "host_access_mtu",
            "host_access_addresses",
        )
    }


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
    # In whatever order the hosts come.
    backwards = compare.conflicts(dict(reversed(spoilt.items())))
    assert sorted(conflict.message for conflict in backwards) == sorted(conflict.message for conflict in got)
