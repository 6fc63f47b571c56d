# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a macvtap link takes from the host: its parent's frames, and what it has itself when it goes."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import disruptions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Connection, Reach, Route
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

from .reach import ETH0, PEER, RA, TAP, cut_off, refused, with_address

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
