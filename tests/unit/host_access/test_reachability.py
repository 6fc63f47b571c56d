# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What would cut off the host is refused, whatever does it, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import disruptions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    UNICAST,
    Address,
    Connection,
    Reach,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS, DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

KERNEL, RA = 2, 9
ETH0 = Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True)
VLAN = Link(
    "eth0.20", 3, "vlan", "eth0", 2, None, "02:00:00:00:00:02", 1500, up=True, alias=OWNER_ALIAS,
    vlan_id=20, vlan_protocol="802.1Q",
)  # fmt: skip
ON_IT = Link("host0", 4, "macvlan", "eth0.20", 3, "bridge", "02:00:00:00:00:04", 1500, up=True)
TAP = Link(
    "mt0", 5, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:05", 1500, up=True, arp=True, accept_ra=True,
    addrgenmode="eui64",
)  # fmt: skip
BR0 = Link("br0", 6, "bridge", mtu=1500, up=True)
OTHER = Link("eth1", 7, mtu=1500, up=True)
ALL = {link.name: link for link in (ETH0, VLAN, ON_IT, TAP, BR0, OTHER)}
PEER = Connection("192.0.2.1", "192.0.2.9")
# What takes all of a link's frames, or the link itself.
WHOLE = [loss for loss in Loss if loss not in (Loss.SOURCE, Loss.VLAN, Loss.RA)]


def refused(disruption: Disruption, reach: Reach, *changed: Link) -> str:
    links = {**ALL, **{link.name: link for link in changed}}
    with pytest.raises(MacvtapError) as caught:
        reachability.check([disruption], reach, links)
    assert str(caught.value).endswith(", or set allow_host_disconnect: true")
    # And told, when it is done all the same.
    (warning,) = reachability.check([disruption], reach, links, allowed=True)
    assert str(caught.value).partition(". ")[0].rpartition(": ")[2] in warning
    return str(caught.value)


def passes(disruption: Disruption, reach: Reach, *changed: Link) -> None:
    assert reachability.check([disruption], reach, {**ALL, **{link.name: link for link in changed}}) == ()


def with_address(index: int, address: str = "192.0.2.1", **how: t.Any) -> Reach:
    return Reach((Address(address, 64 if ":" in address else 24, index=index, **how),))


@pytest.mark.parametrize("loss", WHOLE)
@pytest.mark.parametrize(
    ("reach", "text"),
    [
        (with_address(2), "eth0 has addresses of the host (192.0.2.1/24), and"),
        (with_address(2, "2001:db8::1", advertised=True), "eth0 has addresses of the host (2001:db8::1/64), and"),
        (Reach(routes=(Route("203.0.113.0/24", 2),)), "eth0 has routes to 203.0.113.0/24, and"),
        # By a table that a rule leads to.
        (Reach(routes=(Route("203.0.113.0/24", 2, table=100),)), "eth0 has routes to 203.0.113.0/24, and"),
        (
            Reach(connections=(replace(PEER, index=2),)),
            "Ansible's connection from 192.0.2.9 to 192.0.2.1 goes over eth0, and",
        ),
    ],
)
def test_what_the_host_is_reached_by_stays(loss: Loss, reach: Reach, text: str) -> None:
    mtu = 1400 if loss is Loss.MTU else None
    assert refused(Disruption("eth0", loss, "links[3]", mtu), reach).startswith(f"links[3]: {text} {loss.value[0]} ")


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize(
    "reach",
    [
        Reach(),
        with_address(7),
        with_address(2, "fe80::2", link_local=True),
        # The kernel's own, which come and go with addresses.
        Reach(routes=(Route("192.0.2.0/24", 2, protocol=KERNEL), Route("fe80::/64", 2, protocol=KERNEL))),
        Reach(routes=(Route("203.0.113.0/24", 2, kind=UNICAST + 5),)),
        Reach(connections=(replace(PEER, index=7),)),
    ],
)
def test_what_it_is_not_reached_by_is_nothing(loss: Loss, reach: Reach) -> None:
    passes(Disruption("eth0", loss), reach)


def test_a_connection_needs_the_link_of_its_address_too() -> None:
    """What is answered over another link than it came over."""
    reach = replace(with_address(2), connections=(replace(PEER, index=7),))
    assert "goes over eth0, and removing it would cut it off" in refused(Disruption("eth0", Loss.REMOVED), reach)
    assert "goes over eth1, and setting it down would cut it off" in refused(Disruption("eth1", Loss.DOWN), reach)


def test_a_guests_link_has_advertised_addresses_by_accident() -> None:
    advertised = Reach(
        (Address("2001:db8::5", 64, index=5, advertised=True),), (Route("::/0", 5, "fe80::1", protocol=RA),)
    )
    passes(Disruption("mt0", Loss.REMOVED), advertised)
    # Unless Ansible runs over it.
    reach = replace(advertised, connections=(Connection("2001:db8::5", "2001:db8::9"),))
    assert "goes over mt0" in refused(Disruption("mt0", Loss.REMOVED), reach)


@pytest.mark.parametrize("loss", [Loss.REMOVED, Loss.RECREATED, Loss.DOWN])
def test_what_needs_the_link_goes_with_it(loss: Loss) -> None:
    words = loss.value[0]
    text = refused(Disruption("eth0", loss), with_address(4))
    assert text.startswith(f"host0 has addresses of the host (192.0.2.1/24), which depends on eth0, and {words}")
    assert "goes over eth0.20, which depends on eth0, and" in refused(
        Disruption("eth0", loss), Reach(connections=(replace(PEER, index=3),))
    )
    # As the only port of a bridge, or one of several: by which of them it is reached nobody knows.
    ports = replace(VLAN, master="br0"), replace(OTHER, master="br0")
    assert "br0 has addresses" in refused(Disruption("eth0", loss), with_address(6), *ports)


def test_a_bond_needs_one_of_its_ports() -> None:
    bond = Link("bond0", 6, "bond", up=True)
    first, second = replace(ETH0, master="bond0"), replace(OTHER, master="bond0")
    passes(Disruption("eth0", Loss.DOWN), with_address(6), bond, first, second)
    text = refused(Disruption("eth0", Loss.DOWN), with_address(6), bond, first, replace(second, up=False))
    assert text.startswith("bond0 has addresses")


@pytest.mark.parametrize("loss", [Loss.REMOVED, Loss.DOWN])
def test_a_tunnel_goes_with_the_link_that_it_is_bound_to(loss: Loss) -> None:
    """Which IFLA_LINK does not say."""
    tunnel = Link("vxlan5", 6, "vxlan", under=3, up=True)
    text = refused(Disruption("eth0.20", loss), with_address(6), tunnel)
    assert text.startswith("vxlan5 has addresses of the host (192.0.2.1/24), which depends on eth0.20, and")


def test_addresses_of_a_vrf_need_one_of_its_ports() -> None:
    vrf = Link("mgmt", 6, "vrf", up=True)
    assert refused(Disruption("eth0.20", Loss.REMOVED), with_address(6), vrf, replace(VLAN, master="mgmt")).startswith(
        "mgmt has addresses"
    )


def test_on_the_way_back_what_the_host_has_got_since_then_counts() -> None:
    """With what it had in the beginning it was well, as things were."""
    (down,) = planner.plan([DesiredLink("mt0", "links[1]", state="down")], {"mt0": TAP}).steps
    first = Reach((Address("192.0.2.1", 24, index=5, tentative=True),), (Route("203.0.113.0/24", 5),))
    now = replace(first, addresses=(Address("192.0.2.1", 24, index=5),), connections=(replace(PEER, index=5),))
    assert set(reachability.cuts([down], now, ALL)) == {"mt0"}
    assert reachability.cuts([down], now, ALL, since=first) == {}
    more = replace(now, addresses=(*now.addresses, Address("192.0.2.7", 24, index=5)))
    text = str(reachability.cuts([down], more, ALL, since=first)["mt0"])
    assert text.startswith("links[1]: mt0 has addresses of the host (192.0.2.7/24), and setting it down")
    routed = replace(now, routes=(*now.routes, Route("198.51.100.0/24", 5)))
    assert "mt0 has routes to 198.51.100.0/24" in str(reachability.cuts([down], routed, ALL, since=first)["mt0"])


ROUTER, ROUTER_MAC = "192.0.2.254", "02:00:00:00:00:fe"
SWALLOWING: dict[str, t.Any] = {"mode": "source", "nodst": True, "source_macs": frozenset({ROUTER_MAC})}
IN_SOURCE = replace(TAP, **SWALLOWING)
BY_ROUTER = Reach(routes=(Route("0.0.0.0/0", 2, ROUTER),), neighbours={ROUTER: ROUTER_MAC, "fe80::fe": ROUTER_MAC})


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (DesiredLink("mt0", parent="eth0", **SWALLOWING), {}),
        (DesiredLink("mt0", parent="eth0", netns="pod", **SWALLOWING), {}),
        (DesiredLink("mt0", mode="source", source_macs=SWALLOWING["source_macs"]), {"mt0": replace(TAP, nodst=True)}),
        (DesiredLink("mt0", nodst=True), {"mt0": replace(IN_SOURCE, nodst=False)}),
        (DesiredLink("mt0"), {"mt0": replace(IN_SOURCE, up=False)}),
        (DesiredLink("mt0", source_macs=frozenset({ROUTER_MAC})), {"mt0": replace(IN_SOURCE, source_macs=frozenset())}),
        (DesiredLink("mt0", parent="eth0"), {"mt0": replace(IN_SOURCE, parent="eth1", parent_index=7)}),
    ],
)
def test_a_link_that_takes_what_the_host_needs_to_hear(wanted: DesiredLink, there: dict[str, Link]) -> None:
    """All frames from its addresses, be they to it or to the host itself."""
    text = cut_off(wanted, BY_ROUTER, **there)
    assert text.startswith("eth0 has routes to 0.0.0.0/0 through a router there, and a link in mode source on it")
    assert text.endswith("source_macs, set nodst: false, or set allow_host_disconnect: true")
    connected = replace(BY_ROUTER, routes=(), connections=(replace(PEER, index=2, gateway=ROUTER),))
    assert cut_off(wanted, connected, **there).startswith("Ansible's connection from 192.0.2.9 to 192.0.2.1")
    direct = replace(connected, connections=(replace(PEER, index=2),), neighbours={PEER.peer: ROUTER_MAC})
    assert cut_off(wanted, direct, **there).startswith("Ansible's connection from 192.0.2.9 to 192.0.2.1")


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (DesiredLink("mt0", parent="eth0", **{**SWALLOWING, "nodst": False}), {}),
        (DesiredLink("mt0", parent="eth0", **{**SWALLOWING, "source_macs": frozenset({"02:00:00:00:00:77"})}), {}),
        (DesiredLink("mt0", parent="eth0", state="down", **SWALLOWING), {}),
        (DesiredLink("mt0", parent="eth1", **SWALLOWING), {}),
        # As it is already, or has been.
        (DesiredLink("mt0", mtu=1400), {"mt0": IN_SOURCE}),
        (DesiredLink("mt0", source_macs=frozenset()), {"mt0": IN_SOURCE}),
    ],
)
def test_a_link_that_takes_nothing_that_the_host_needs(wanted: DesiredLink, there: dict[str, Link]) -> None:
    assert not cut_off(wanted, BY_ROUTER, **there)


IN_BRIDGE = Link("br0.20", 8, "vlan", "br0", 6, up=True, vlan_id=20, vlan_protocol="802.1Q")


def vlan_cut_off(wanted: DesiredVlan, reach: Reach, *links: Link) -> str:
    present = {link.name: link for link in (ETH0, OTHER, *links)}
    try:
        reachability.checked(vlans.plan([wanted], present), reach, present, allowed=False)
    except MacvtapError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("state", ["up", "down"])
def test_a_vlan_link_that_takes_the_frames_of_one_on_a_bridge(state: str) -> None:
    """A port's own VLAN links get tagged frames before its bridge does."""
    port, wanted = replace(ETH0, master="br0"), DesiredVlan("eth0", 20, state=state, path="vlans[0]")
    text = "vlans[0]: br0.20 has addresses of the host (192.0.2.1/24), which depends on eth0, and a VLAN link with this"
    assert vlan_cut_off(wanted, with_address(8), port, BR0, IN_BRIDGE).startswith(text)
    # What is on it, in a VLAN of its own or not.
    above = Link("c0", 9, "macvlan", "br0.20", 8, up=True)
    assert "c0 has addresses" in vlan_cut_off(wanted, with_address(9), port, BR0, IN_BRIDGE, above)
    connected = Reach(connections=(replace(PEER, index=8),))
    assert "goes over br0.20, which depends on eth0" in vlan_cut_off(wanted, connected, port, BR0, IN_BRIDGE)


def test_a_vlan_link_that_takes_the_frames_of_one_on_a_macvlan_link() -> None:
    shim = Link("host0", 4, "macvlan", "eth0", 2, "bridge", up=True)
    on_it = replace(IN_BRIDGE, name="host0.20", parent="host0", parent_index=4)
    assert vlan_cut_off(DesiredVlan("eth0", 20), with_address(8), shim, on_it).startswith("host0.20 has addresses")
    assert not vlan_cut_off(DesiredVlan("eth0", 20), with_address(4), shim, on_it)


def test_a_vlan_link_that_takes_what_a_bridge_has_untagged() -> None:
    port = replace(ETH0, master="br0")
    filtering = replace(BR0, bridge_vlans=frozenset({20, 30}), bridge_pvid=20)
    assert vlan_cut_off(DesiredVlan("eth0", 20), with_address(6), port, filtering).startswith("br0 has addresses")
    assert not vlan_cut_off(DesiredVlan("eth0", 30), with_address(6), port, filtering)


@pytest.mark.parametrize(
    ("wanted", "port", "vlan"),
    [
        # Of another VLAN, as another protocol has it, on another link, and on one that passes nothing on.
        (DesiredVlan("eth0", 21), replace(ETH0, master="br0"), IN_BRIDGE),
        (DesiredVlan("eth0", 20, protocol="802.1ad"), replace(ETH0, master="br0"), IN_BRIDGE),
        (DesiredVlan("eth1", 20), replace(ETH0, master="br0"), IN_BRIDGE),
        (DesiredVlan("br0", 21), replace(ETH0, master="br0"), IN_BRIDGE),
        (DesiredVlan("eth0", 20), ETH0, IN_BRIDGE),
    ],
)
def test_a_vlan_link_that_takes_no_frames_of_the_host(wanted: DesiredVlan, port: Link, vlan: Link) -> None:
    assert not vlan_cut_off(wanted, with_address(8), port, BR0, vlan)


@pytest.mark.parametrize("loss", [Loss.MAC, Loss.PASSTHRU, Loss.MTU])
def test_what_is_on_it_works_on(loss: Loss) -> None:
    passes(Disruption("eth0", loss, mtu=1400 if loss is Loss.MTU else None), with_address(4))


def test_an_mtu_that_ipv6_cannot_live_with_takes_it_from_what_is_on_it() -> None:
    passes(Disruption("eth0", Loss.MTU, mtu=1000), with_address(4))
    text = refused(Disruption("eth0", Loss.MTU, mtu=1000), with_address(4, "2001:db8::1"))
    assert text.startswith(
        "host0 has addresses of the host (2001:db8::1/64), which depends on eth0, and changing its MTU"
    )


def test_what_is_declared_along_with_the_link_may_go() -> None:
    passes(Disruption("host0", Loss.REMOVED, declared=True), with_address(4))
    reach = replace(with_address(4), connections=(PEER,))
    assert "goes over host0, and removing it" in refused(Disruption("host0", Loss.REMOVED, declared=True), reach)
    assert refused(Disruption("eth0.20", Loss.REMOVED, declared=True), with_address(4)).startswith("host0 has")


@pytest.mark.parametrize(
    ("before", "after", "sources"),
    [
        (None, ("eth0", "passthrough", False), {"eth0"}),
        (None, ("eth0", "bridge", True), set()),
        (("eth0", "bridge", True), ("eth0", "passthrough", True), {"eth0"}),
        (("eth1", "passthrough", True), ("eth0", "passthrough", True), {"eth0"}),
        (("eth0", "passthrough", True), ("eth0", "passthrough", True), set()),
        (("eth0", "passthrough", True), None, set()),
        # It is stored already, and taken now that it is plugged in.
        (("eth0", "passthrough", False), ("eth0", "passthrough", True), {"eth0"}),
        # By an alternative name.
        (None, ("lan0", "passthrough", False), {"eth0"}),
        (("lan0", "passthrough", True), ("eth0", "passthrough", True), set()),
        (None, ("eth9", "passthrough", True), set()),
    ],
)
def test_what_interfaces_in_mode_passthrough_take(before: t.Any, after: t.Any, sources: set[str]) -> None:
    def nic(text: t.Any) -> Nic | None:
        if text is None:
            return None
        iface = Iface("52:54:00:00:00:01", "direct", {"source": text[0], "mode": text[1]})
        return Nic("web1", "52:54:00:00:00:01", iface, iface if text[2] else None)

    change = Change("web1", "mode", None, None, Impact.CONFIG)
    links = {"eth0": replace(ETH0, altnames=frozenset({"lan0"})), "eth1": Link("eth1", 9)}
    found = disruptions.of_steps(
        [Step("web1", nic(before), nic(after), (change,), path="interfaces[1]")], Host("", {}, links=links)
    )
    assert {one.link for one in found} == sources
    assert {(one.loss, one.path) for one in found} <= {(Loss.PASSTHRU, "interfaces[1]")}
    for disruption in found:
        assert refused(disruption, with_address(2)).startswith("interfaces[1]: eth0 has addresses of the host")


ADDRESSED = with_address(2)
PASSTHRU = replace(TAP, mode="passthru", mac=ETH0.mac)


def cut_off(wanted: DesiredLink, reach: Reach, **links: Link) -> str:
    present = {**{link.name: link for link in (ETH0, OTHER)}, **links}
    try:
        reachability.checked(planner.plan([wanted], present), reach, present, allowed=False)
    except MacvtapError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (DesiredLink("mt0", parent="eth0", mode="passthru"), {}),
        (DesiredLink("mt0", parent="eth0", mode="passthru", state="down"), {}),
        (DesiredLink("mt0", parent="eth0", mode="passthru", netns="pod"), {}),
        (DesiredLink("mt0", mode="passthru"), {"mt0": TAP}),
        (DesiredLink("mt0", parent="eth0"), {"mt0": replace(PASSTHRU, parent="eth1", parent_index=7, mac=None)}),
    ],
)
def test_passthru_on_a_parent_that_the_host_has_addresses_on(wanted: DesiredLink, there: dict[str, Link]) -> None:
    text = "eth0 has addresses of the host (192.0.2.1/24), and a link in mode passthru on it, which receives all its"
    message = cut_off(wanted, ADDRESSED, **there)
    assert message.startswith(text)
    # Removing the host's own addresses is no help.
    assert message.endswith(". Use another uplink, or set allow_host_disconnect: true")
    assert not cut_off(wanted, with_address(7), **there)


def test_passthru_that_is_there_already_takes_nothing_more() -> None:
    for wanted in (DesiredLink("mt0", mtu=1400), DesiredLink("mt0", tx_queues=2), DesiredLink("mt0", state="absent")):
        assert not cut_off(wanted, ADDRESSED, mt0=PASSTHRU)


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"state": "absent"}, "removing it would remove them"),
        ({"parent": "eth1"}, "recreating it would remove them"),
        ({"tx_queues": 2}, "recreating it would remove them"),
        ({"mode": "passthru", "parent": "eth1"}, "recreating it would remove them"),
        ({"state": "down"}, "setting it down would cut them off"),
        ({"mac": "02:00:00:00:00:55"}, "changing its MAC address would cut them off"),
        ({"mtu": 1400}, "changing its MTU could cut them off"),
        ({"arp": False}, "setting arp: false on it would cut them off"),
    ],
)
def test_a_macvtap_link_with_addresses(change: dict[str, t.Any], action: str) -> None:
    text = cut_off(DesiredLink("mt0", "links[1]", **change), with_address(5), mt0=TAP)
    assert text.startswith(f"links[1]: mt0 has addresses of the host (192.0.2.1/24), and {action}")
    assert not cut_off(DesiredLink("mt0", "links[1]", **change), Reach(), mt0=TAP)


def test_what_cuts_nothing_off_is_done() -> None:
    changes: list[dict[str, t.Any]] = [{}, {"mode": "private"}, {"alias": "a guest's"}, {"arp": True}]
    for change in (*changes, {"accept_ra": False}):
        assert not cut_off(DesiredLink("mt0", **change), with_address(5), mt0=TAP)
    # As it is now.
    assert not cut_off(DesiredLink("mt0", arp=False), with_address(5), mt0=replace(TAP, arp=False))


def test_a_connection_that_router_advertisements_keep_up() -> None:
    """Its address or its route would expire some time after the run."""
    ours, peer = "2001:db8::1", "2001:db8:9::9"
    own = with_address(5, ours, advertised=True).addresses
    fixed, router = with_address(5, ours).addresses, Route("::/0", 5, "fe80::9", protocol=RA)
    over = Connection(ours, peer, 5, "fe80::9")
    for reach in (Reach(own, (), (over,)), Reach(fixed, (router,), (over,))):
        text = cut_off(DesiredLink("mt0", "links[1]", accept_ra=False), reach, mt0=TAP)
        assert text.startswith(f"links[1]: Ansible's connection from {peer} to {ours} goes over mt0, and setting")
        assert "accept_ra: false on it could cut it off. Connect to another address of the host, set accept_ra" in text
    for reach in (Reach(fixed, (), (over,)), Reach(fixed, (router,), (replace(over, gateway=None),)), Reach(own)):
        assert not cut_off(DesiredLink("mt0", accept_ra=False), reach, mt0=TAP)


def test_a_purge_and_a_link_of_another_namespace() -> None:
    links = {"eth0": ETH0, "mt0": replace(TAP, group=7), "pod/mt0": replace(TAP, netns="pod", parent="eth0")}
    planned = planner.plan([], links, purge_group=7)
    with pytest.raises(MacvtapError, match=r"^purge: mt0 has addresses of the host"):
        reachability.checked(planned, with_address(5), links, allowed=False)
    # Its index is one of that namespace.
    gone = planner.plan([DesiredLink("mt0", state="absent", netns="pod")], links)
    assert gone.changed
    assert not reachability.checked(gone, with_address(5), links, allowed=False).warnings


@pytest.mark.parametrize(
    "change", [{"state": "absent"}, {"state": "down"}, {"mac": "02:00:00:00:00:55"}, {"mtu": 1400}, {"id": 21}]
)
@pytest.mark.parametrize("force", [False, True])
def test_a_vlan_link_with_addresses_or_under_ssh(change: dict[str, t.Any], force: bool) -> None:
    """Whether it is in use by other links is another matter, and force is about that."""
    links = {"eth0": ETH0, "eth0.20": VLAN}
    wanted = DesiredVlan("eth0", **{"id": 20, "name": "eth0.20", **change})
    for reached in (with_address(3), Reach(connections=(replace(PEER, index=3),))):
        planned = vlans.plan([wanted], links, force=force)
        with pytest.raises(MacvtapError, match=r"(^|over )eth0\.20\b.*or set allow_host_disconnect: true$"):
            reachability.checked(planned, reached, links, allowed=False)
        assert reachability.checked(planned, reached, links, allowed=True).warnings


@pytest.mark.parametrize(("mode", "parent", "taken"), [("passthru", "eth0", {"eth0"}), ("bridge", "eth0", set())])
def test_what_links_take_at_the_next_boot(mode: str, parent: str, taken: set[str]) -> None:
    desired = Desired(DesiredLink("mt0", "links[2]", mode=mode, arp=True), Link(parent), parent)
    assert {(one.link, one.path) for one in validate.disruptions([desired], ALL)} == {
        (one, "links[2]") for one in taken
    }
    # As it is now.
    there = {**ALL, "mt0": replace(TAP, mode=mode)}
    assert not list(validate.disruptions([desired], there))


@pytest.mark.parametrize(("arp", "taken"), [(None, True), (False, True), (True, False)])
def test_a_link_that_is_quiet_only_from_the_next_boot_on(arp: bool | None, taken: bool) -> None:
    desired = Desired(DesiredLink("mt0", "links[2]", mode="bridge", arp=arp), ETH0, "eth0")
    found = list(validate.disruptions([desired], ALL))
    assert found == ([Disruption("mt0", Loss.ARP, "links[2]")] if taken else [])
    assert not list(validate.disruptions([desired], {**ALL, "mt0": replace(TAP, arp=False)}))
    assert not list(validate.disruptions([desired], {"eth0": ETH0}))
