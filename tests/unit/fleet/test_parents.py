# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Missing or unsuitable parents, MTUs, and modes that the switch or other links do not allow."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, U1, A, B, conflicts, macvtap, nic, only, places, web
from fleet import Values, declared, found, iface, mac, uplink
from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link


def test_a_missing_parent_is_one_conflict_for_all_its_links() -> None:
    conflict = only((declared(nic(mac=A, source="eth9"), nic(mac=B, source="eth9")), H1))
    assert conflict.kind == "parent"
    assert "there is no link eth9 on this host; did you mean eth0?" in conflict.message
    assert places(conflict) == [f"hv1 web1 {A} declared", f"hv1 web1 {B} declared"]


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (uplink(3, "port0", kind="veth", master="br0"), "port0 is a port of the bridge br0"),
        (LO, "lo is the loopback link"),
        (uplink(3, "wlan0", wireless=True), "wlan0 is a wireless link"),
        (macvtap("mt0", mac(9)), "mt0 is a macvtap link"),
    ],
)
@pytest.mark.parametrize("role", ["links", "domains"])
def test_a_parent_that_is_unfit(role: str, parent: Link, message: str) -> None:
    there = found(parent, uplink(4, "br0", kind="bridge"))
    link = [{"name": "x0", "parent": parent.name}] if role == "links" else []
    variables = declared(*([] if link else [nic(mac=A, source=parent.name)]), links=link)
    conflict = only((variables, there))
    assert conflict.kind == "parent"
    assert message in conflict.message


def test_a_parent_by_its_other_names() -> None:
    there = found(uplink(3, "eth1", altnames=frozenset({"lan0"}), pci="0000:01:00.0"))
    links = [{"name": f"x{n}", "parent": p} for n, p in enumerate(("lan0", "01:00.0", "02:00:00:00:00:03"))]
    for source in ("lan0", "01:00.0", "02-00-00-00-00-03"):
        assert conflicts((declared(nic(mac=A, source=source), links=links), there)) == []
    conflict = only((declared(nic(mac=A, source="02:00.0"), links=links), there))
    known = "(known: eth1 0000:01:00.0)"
    assert (conflict.kind, conflict.message) == ("parent", f"no link with the PCI address 02:00.0 on this host {known}")


def test_an_interface_to_remove_from_a_missing_uplink() -> None:
    there = found(web("web1", U1, iface(A)))
    conflict = only((declared({"domain": "web1", "source": "02:00.0", "state": "absent"}), there))
    assert conflict.message.endswith("source: no link with the PCI address 02:00.0 on this host")


def test_the_links_of_another_host_are_not_looked_up() -> None:
    there = found(uplink(3, "eth1"), web("web1", U1))
    remote = {**there, "libvirt": {**there["libvirt"], "uri": "qemu+ssh://hv9/system"}}
    by_address = declared(nic(mac=A, source="02:00:00:00:00:03"))
    assert conflicts((by_address, there)) == []
    assert "is not a name that libvirt can use, and uri qemu+ssh://hv9/system" in only((by_address, remote)).message
    assert conflicts((declared(nic(mac=A, source="eth1")), remote)) == []


def running(*live: Iface, **more: t.Any) -> Domain:
    return Domain("web1", U1, True, stored=live, live=live, **more)


@pytest.mark.parametrize(
    ("variables", "there", "where"),
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
def test_passthru_and_something_else_on_one_parent(variables: Values, there: list[t.Any], where: list[str]) -> None:
    conflict = only((variables, found(*there)))
    assert (conflict.kind, places(conflict)) == ("parent", where)
    assert conflict.message == (
        "a link in mode passthru must be the only one on its parent, but eth0 would have 2 links"
    )


def test_passthru_and_another_nic_of_a_domain_that_does_not_run() -> None:
    there = found(web("web1", U1, iface(B)))
    conflict = only((declared(nic(mac=A, mode="passthrough")), there))
    assert sorted(places(conflict)) == [f"hv1 web1 {A} declared", f"hv1 web1 {B} stored"]
    assert conflict.message == "a link in mode passthru must be the only one on its parent, but eth0 would have 2 links"


def test_passthru_where_a_nic_of_a_libvirt_network_has_its_link() -> None:
    running = Domain(
        "web2",
        running=True,
        stored=(Iface(B, "network", origin="mv"),),
        live=(Iface(B, "network", {"target": "macvtap7"}, origin="mv"),),
    )
    there = found(macvtap("macvtap7", B), running, Domain("web1", running=True))
    conflict = only((declared(nic(mac=A, mode="passthrough")), there))
    assert places(conflict) == [f"hv1 web2 {B} stored, live", f"hv1 web1 {A} declared"]


@pytest.mark.parametrize(
    ("variables", "there"),
    [
        (declared(links=[{"name": "p0", "mode": "passthru"}]), []),
        (declared(links=[{"name": "p0", "mode": "passthru"}, {"name": "x0", "state": "absent"}]), [macvtap("x0", B)]),
        (declared(links=[{"name": "p0"}, {"name": "x0"}], links_mode="bridge"), [macvtap("p0", B, "passthru")]),
        (declared(links=[{"name": "p0", "mode": "passthru"}, {"name": "x0", "parent": "eth1"}]), [uplink(3, "eth1")]),
        # One of two guests at a time, and one that is to leave.
        (declared(nic("a", mac=A, mode="passthrough"), nic("b", mac=B)), []),
        (
            declared(nic(mac=A, state="absent"), links=[{"name": "p0", "mode": "passthru"}]),
            [running(iface(A, target="macvtap0")), macvtap("macvtap0", A)],
        ),
        # Nothing that is declared is on it.
        (declared(), [macvtap("p0", B, "passthru"), running(iface(A))]),
    ],
)
def test_passthru_with_nothing_else_on_its_parent(variables: Values, there: list[t.Any]) -> None:
    assert conflicts((variables, found(*there))) == []


def test_an_mtu_above_the_parents() -> None:
    conflict = only((declared(links=[{"name": "x0", "mtu": "9000"}], links_mtu=1500), H1))
    assert (conflict.kind, conflict.message) == ("mtu", "mtu 9000 exceeds that of the parent eth0 (1500)")
    assert only((declared(links=[{"name": "x0"}], links_mtu=9000), H1)).kind == "mtu"
    # libvirt accepts none at all.
    assert only((declared(nic(mac=A, mtu=1400)), H1)).kind == "declaration"
    assert conflicts((declared(links=[{"name": "x0", "mtu": 1500}]), H1)) == []


def test_a_running_guests_mtu_above_that_of_its_new_source() -> None:
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
    variables = declared(
        nic(mac=A), nic(mac=B, mode="private"), links=[{"name": "x0"}], domains_mode="vepa", links_mode="vepa"
    )
    got = conflicts((variables, there))
    assert [one.kind for one in got] == kinds
    assert [places(one) for one in got] == [["hv1 x0 declared", f"hv1 web1 {A} declared"]] * len(kinds)
    assert conflicts((declared(nic(mac=A), links=[{"name": "x0"}]), there)) == []


def test_without_a_mode_what_exists_keeps_its_own_and_what_is_new_is_in_mode_bridge() -> None:
    there = found(running(iface(A, mode="vepa", target="macvtap0")), macvtap("x0", B, "vepa"), relay={"eth0": False})
    (conflict,) = conflicts(
        (declared(nic(mac=A), nic("new", mac=mac(3)), links=[{"name": "x0"}, {"name": "n0"}]), there)
    )
    assert conflict.kind == "vepa"
    assert [place.split()[1] for place in places(conflict)] == ["x0", "web1"]


def test_the_uplink_is_the_default_of_each_parent_and_source() -> None:
    own = declared(
        nic(mac=A),
        links=[{"name": "x0"}],
        uplink="gone",
        links_vlans=[{"id": 20}],
        host_access_shims=[{"name": "s0"}],
    )
    for default in ("macvtap_domains_source", "macvtap_links_parent"):
        del own[default]
    got = conflicts((own, H1))
    assert {one.kind for one in got} == {"parent"}
    assert sorted(place.split()[1] for one in got for place in places(one)) == ["gone.20", "s0", "web1", "x0"]
    # Each role can have another one, and so can each entry.
    others = {"macvtap_domains_source": "eth0", "macvtap_links_parent": "eth0", "macvtap_host_access_parent": "eth0"}
    vlans = {"macvtap_links_vlans": [{"id": 20, "parent": "eth0"}]}
    assert conflicts(({**own, **others, **vlans}, H1)) == []


def test_links_of_one_name_in_several_namespaces() -> None:
    """Preflight does not inspect these namespaces."""
    pod = {"name": "p0", "netns": "pod1"}
    # It may be there already, with its parent.
    assert conflicts((declared(links=[pod], links_parent=None), H1)) == []
    both = [{**pod, "mode": "passthru"}, {**pod, "netns": "pod2"}]
    conflict = only((declared(links=both), H1))
    assert conflict.message == "a link in mode passthru must be the only one on its parent, but eth0 would have 2 links"
    assert places(conflict) == ["hv1 pod1/p0 declared", "hv1 pod2/p0 declared"]
    # The host's own link is a different one.
    there = found(macvtap("p0", mac(9), parent="eth0"))
    assert conflicts((declared(links=[{**pod, "mtu": 1400}, {"name": "p0"}]), there)) == []
    assert only((declared(links=[pod, pod]), H1)).kind == "declaration"
