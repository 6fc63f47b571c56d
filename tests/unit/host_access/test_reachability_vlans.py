# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a VLAN link takes from the host: frames of the same VLAN, and itself when it goes."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan

from .reach import BR0, ETH0, OTHER, PEER, VLAN, with_address

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
