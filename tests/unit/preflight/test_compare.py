# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Each conflict that a fleet can have, and what looks like one and is none."""

from __future__ import annotations

import copy
import json
import typing as t

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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import compare
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.declared import DEFAULTS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Conflict

A, B = mac(1), mac(2)
U1, U2 = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def fleet(*hosts: tuple[Said, Said]) -> dict[str, Said]:
    return {f"hv{n}": {"declared": said, "found": there} for n, (said, there) in enumerate(hosts, 1)}


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
    both = declared(host_access_companions=[{"name": "host0"}], host_access_addresses=["192.0.2.9"])
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
        # What only the guest's own network has.
        (declared(nic(mac=A)), found(web("web2", U2, Iface(A, "user")))),
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


def test_an_mtu_above_the_parents() -> None:
    conflict = only((declared(links=[{"name": "x0", "mtu": "9000"}], links_mtu=1500), H1))
    assert (conflict.kind, conflict.message) == ("mtu", "mtu 9000 exceeds that of the parent eth0 (1500)")
    assert only((declared(links=[{"name": "x0"}], links_mtu=9000), H1)).kind == "mtu"
    assert only((declared(nic(mac=A, mtu=9000)), H1)).kind == "mtu"
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
        (None, {"driver": {"rss": True}}, None),
    ],
)
def test_a_libvirt_too_old_for_what_is_declared(version: str | None, options: Said, message: str | None) -> None:
    got = conflicts((declared(nic(mac=A, **options)), found(version=version)))
    assert [one.message for one in got] == ([message] if message else [])


@pytest.mark.parametrize(
    ("version", "value", "live", "level", "kinds"),
    [
        ("9.0.0", True, "no", "update", ["libvirt"]),
        ("9.0.0", "yes", "no", None, ["libvirt"]),
        ("9.0.0", True, "yes", "update", []),
        ("9.0.0", False, None, "update", []),
        ("9.0.0", True, "no", "replug", []),
        ("9.0.0", True, "no", "none", []),
        ("10.0.0", True, "no", "update", ["libvirt"]),
        ("10.1.0", True, "no", "update", []),
    ],
)
def test_a_libvirt_too_old_to_change_a_running_guest(
    version: str, value: t.Any, live: str | None, level: str | None, kinds: list[str]
) -> None:
    has = iface(A, **({"trust_guest_rx_filters": live} if live else {}))
    there = found(web("web1", U1, iface(A), live=[has]), version=version)
    said = declared(nic(mac=A, trust_guest_rx_filters=value), domains_live=level)
    assert [one.kind for one in conflicts((said, there))] == kinds


def test_a_guest_that_does_not_run_takes_what_is_stored() -> None:
    there = found(web("web1", U1, iface(A)))
    assert conflicts((declared(nic(mac=A, trust_guest_rx_filters=True)), there)) == []


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
    ],
)
def test_a_declaration_that_cannot_be_read_is_named_and_the_others_are_compared(said: Said, message: str) -> None:
    other = declared(nic("a", mac=A), nic("b", mac=A))
    got = conflicts((said, H1), (other, H2))
    assert [one.kind for one in got] == ["declaration", "mac"]
    assert message in got[0].message


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


def test_an_empty_fleet() -> None:
    assert compare.conflicts({}) == []
    assert compare.gaps({}) == []


# -- all together ------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_roles() -> None:
    roles: dict[str, t.Any] = {}
    for role in ("kernel", "links", "domains", "host_access"):
        roles |= yaml.safe_load((ROOT / f"roles/macvtap_{role}/defaults/main.yml").read_text())
    assert {name: roles[name] for name in DEFAULTS} == DEFAULTS


def test_an_empty_text_is_a_variable_that_is_left_out() -> None:
    empty = dict.fromkeys(DEFAULTS, "")
    assert conflicts((empty, found()), (NOTHING, H2)) == []


def test_every_variable_that_is_read_is_handed_over_by_the_playbook() -> None:
    tasks = yaml.safe_load((ROOT / "playbooks/preflight.yml").read_text())[0]["tasks"]
    handed = next(task["ansible.builtin.set_fact"] for task in tasks if "ansible.builtin.set_fact" in task)
    variables = set(handed["macvtap_preflight_host"]["declared"])
    assert variables == {*DEFAULTS, "macvtap_segment"} | {
        f"macvtap_{name}"
        for name in (
            "links_parent",
            "links_mtu",
            "links_group",
            "domains_source",
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
    got = compare.conflicts(spoilt)
    assert [conflict.kind for conflict in got] == ["mac"] * len(taken)
    assert {conflict.where[0].nic for conflict in got} == {
        whole[host]["declared"]["macvtap_domains_interfaces"][index]["mac"] for host, index in taken
    }
    # In whatever order the hosts come.
    backwards = compare.conflicts(dict(reversed(spoilt.items())))
    assert sorted(conflict.message for conflict in backwards) == sorted(conflict.message for conflict in got)
