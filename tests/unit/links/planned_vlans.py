# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host with VLAN links, and what their planner makes of a declared one."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS, DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

ETH0 = Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True, altnames=frozenset({"trunk"}))
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1400, up=True)
BOND = Link("bond0", 4, "bond", mac="02:00:00:00:00:04", mtu=1500, up=True)
PORT = Link("port0", 5, mac="02:00:00:00:00:04", mtu=1500, up=True, master="bond0")
DOWN = Link("eth2", 6, mac="02:00:00:00:00:06", mtu=1500)
OURS = Link("eth0.20", 10, "vlan", "eth0", 2, mac=ETH0.mac, mtu=1500, up=True, alias=OWNER_ALIAS, vlan_id=20)
OURS = replace(OURS, vlan_protocol="802.1Q")
THEIRS = replace(OURS, name="mgmt", index=11, vlan_id=15, alias="")
ON_IT = Link("mt0", 20, "macvtap", "eth0.20", 10, "bridge", "02:00:00:00:00:20", 1500, up=True)


def host(*more: Link) -> Links:
    return {link.name: link for link in (LO, ETH0, ETH1, BOND, PORT, DOWN, *more)}


def vlan(**fields: t.Any) -> DesiredVlan:
    return DesiredVlan(**{"parent": "eth0", "id": 20, "path": "vlans[3]", **fields})


def plan(wanted: DesiredVlan | t.Sequence[DesiredVlan], *more: Link, **how: t.Any) -> Plan[Link]:
    return vlans.plan([wanted] if isinstance(wanted, DesiredVlan) else wanted, host(*more), **how)


def changes(wanted: DesiredVlan | t.Sequence[DesiredVlan], *more: Link, **how: t.Any) -> list[t.Any]:
    return [(c.target, c.field, c.before, c.after, c.impact) for c in plan(wanted, *more, **how).changes]


def refused(wanted: DesiredVlan | t.Sequence[DesiredVlan], *more: Link, **how: t.Any) -> str:
    with pytest.raises(MacvtapError) as caught:
        plan(wanted, *more, **how)
    return str(caught.value)
