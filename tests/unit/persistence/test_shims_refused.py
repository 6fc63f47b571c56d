# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Shims that are not written: names, parents, and those that would disconnect the host."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    Address,
    Connection,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner

from .planned_shims import HOST, LINKS, MAC, REACHED, after, link, refused, shim, vlan


def test_names_of_unmanaged_links_are_refused() -> None:
    refused("shims[0].name", "a name of eth3, a physical", HOST, shim(name="eth3"))
    for kind, alias in (("macvlan", None), ("macvlan", "mine"), ("macvtap", OWNER_ALIAS)):
        theirs = Link("host0", 9, kind, "eth0", 2, mode="bridge", alias=alias)
        host = replace(HOST, links={**LINKS, "host0": theirs})
        refused("shims[0].name", f"a name of host0, a {kind} link that is not managed", host, shim())


def test_a_link_and_a_shim_cannot_share_a_name() -> None:
    refused("shims[0].name", "mt0 is configured as a link", after(HOST, link()), shim(name="mt0"))
    refused("links[0].name", "host0 is configured as a shim", after(HOST, shim()), link("host0"))
    refused("vlans[0].name", "host0 is configured as a shim", after(HOST, shim()), vlan(name="host0"))
    refused("shims[0].name", "declared twice, here and in links", HOST, link("host0"), shim())


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        (
            {"addresses": ("192.0.2.1",), "guests": ()},
            "addresses[0]",
            "192.0.2.1 is already an address of the host, on eth0",
        ),
        ({"guests": ("192.0.2.96/29",)}, "guests[0]", "contains 192.0.2.99, which Ansible connects from"),
        ({"guests": ("192.0.2.240/28",)}, "guests[0]", "contains a router"),
        ({"guests": ("2001:db8::/125",)}, "guests[0]", "contains an address of the host itself"),
        ({"guests": ("10.0.0.0/8",)}, "guests[0]", "there already is a route to 10.0.0.0/8 over eth1"),
    ],
)
@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_shims_that_would_disconnect_the_host_are_refused(
    parent: str, fields: dict[str, t.Any], path: str, why: str
) -> None:
    refused(f"shims[0].{path}", why, replace(HOST, access=REACHED), shim(parent, **fields))
    assert planner.plan([shim(parent)], replace(HOST, access=REACHED)).changed


def test_a_shim_that_carries_ansibles_connection_stays() -> None:
    there = Link("host0", 9, "macvlan", "eth0", 2, mode="bridge", mac=MAC, alias=OWNER_ALIAS)
    access = replace(
        REACHED,
        links={**LINKS, "host0": there},
        addresses=(*REACHED.addresses, Address("192.0.2.250", 32, index=9)),
        routes=(*REACHED.routes, Route("192.0.2.77/32", 9, source="192.0.2.250")),
        connections=(Connection("192.0.2.250", "192.0.2.77"),),
    )
    host = replace(after(HOST, shim()), links=access.links, access=access)
    refused("shims[0]", "removing it would cut it off", host, shim(state="absent"))
    refused("shims[0].guests", "192.0.2.77.*would cut it off", host, shim(guests=()))
    refused("shims[0].addresses", "removing 192.0.2.250", host, shim(addresses=("192.0.2.251",)))
    assert not planner.plan([shim()], host).changed


@pytest.mark.parametrize(
    ("parent", "why"), [("mt9", "is a macvtap link"), ("lo", "loopback"), ("eth7", "there is no link eth7")]
)
def test_a_parent_that_can_carry_no_shim_is_refused(parent: str, why: str) -> None:
    links = {**LINKS, "lo": LO, "mt9": Link("mt9", 9, "macvtap", "eth0", 2)}
    refused("shims[0].parent", why, replace(HOST, links=links), shim(parent))


def test_a_parent_must_be_known() -> None:
    refused("shims[0].parent", "is required, since the link", HOST, shim(parent=None))
    gone = vlan(name="lan20", state="absent")
    made = Link("lan20", 9, "vlan", "eth0", 2, vlan_id=20, vlan_protocol="802.1Q", alias="linuxvirt.macvtap")
    host = replace(HOST, links={**LINKS, "lan20": made})
    refused("shims[0].parent", "absent in vlans", host, gone, shim("lan20"))
