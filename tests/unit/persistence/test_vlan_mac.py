# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The MAC address of a VLAN link that is not declared: its own stays over a reboot, and its parent's is not written."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Host

from .planned import HOST, LINKS, after, block, vlan

OWN = "52:54:00:00:00:99"
VLAN = Link("eth0.20", 20, "vlan", parent="eth0", parent_index=2, vlan_id=20, vlan_protocol="802.1Q", mtu=1500, up=True)


def having(*links: Link) -> Host:
    """Return the host with these links; VLAN links among them are managed."""
    marked = [replace(one, alias="linuxvirt.macvtap") if one.kind == "vlan" else one for one in links]
    return replace(HOST, links={**LINKS, **{one.name: one for one in marked}})


def address(host: Host, file: str = "eth0", **fields: t.Any) -> str | None:
    """Return the MAC address that is written for the VLAN."""
    words = block(after(host, vlan(fields.pop("parent", "eth0"), **fields)), "eth0.20", file).split()
    return words[words.index("address") + 1] if "address" in words else None


def test_a_vlan_keeps_the_address_that_it_has() -> None:
    declared = vlan("eth0")
    host = after(having(replace(VLAN, mac=OWN)), declared)
    assert f" address {OWN} " in block(host, "eth0.20").splitlines()[0] + " "
    assert not planner.plan([declared], host).changed
    # What is declared is stronger.
    assert address(host, mac="52:54:00:00:00:98") == "52:54:00:00:00:98"


def test_a_vlan_that_is_about_to_move_keeps_its_address() -> None:
    host = having(replace(VLAN, mac=OWN, parent="eth1", parent_index=3))
    assert address(host, name="eth0.20") == OWN


@pytest.mark.parametrize(
    "links",
    [
        (),
        (replace(VLAN, mac=LINKS["eth0"].mac),),
        # A guest has given its own address to the uplink.
        (
            replace(VLAN, mac=LINKS["eth0"].mac),
            replace(LINKS["eth0"], mac=OWN, permanent_mac=LINKS["eth0"].mac),
            Link("mt0", 21, "macvtap", parent="eth0", parent_index=2, mode="passthru", mac=OWN),
        ),
        (
            replace(VLAN, mac=OWN),
            replace(LINKS["eth0"], mac=OWN, permanent_mac=LINKS["eth0"].mac),
            Link("mt0", 21, "macvtap", parent="eth0", parent_index=2, mode="passthru", mac=OWN),
        ),
    ],
)
def test_a_vlan_with_its_parents_address_follows_the_parent(links: tuple[Link, ...]) -> None:
    assert address(having(*links)) is None
