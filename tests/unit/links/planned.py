# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host with links, and what their planner makes of a declared one."""

from __future__ import annotations

import typing as t

from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links, Tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal

ETH0 = Link("eth0", 2, "veth", mac="02:00:00:00:00:02", mtu=1500, up=True)
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=9000, up=True)
BR0 = Link("br0", 4, "bridge", mac="02:00:00:00:00:04", mtu=1500)
PORT = Link("port0", 5, "veth", mac="02:00:00:00:00:05", mtu=1500, master="br0")
TUN = Link("tun0", 6, "tun", mtu=1500, hardware=65534)
TAP = Tap("/dev/tap10", (245, 1), (245, 1), "root", "root", 0o600)
MT0 = Link("mt0", 10, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:10", 1500, up=True, group=7, alias="web", tap=TAP)
PASS = Link("pt0", 11, "macvtap", "eth1", 3, "passthru", ETH1.mac, 9000, up=True)


def host(*more: Link) -> Links:
    return {link.name: link for link in (LO, ETH0, ETH1, BR0, PORT, TUN, *more)}


def new(**fields: t.Any) -> DesiredLink:
    return DesiredLink(**{"name": "new0", "path": "links[3]", "parent": "eth0", "mode": "bridge", **fields})


def mt0(**fields: t.Any) -> DesiredLink:
    return DesiredLink("mt0", "links[3]", **fields)


def changes(wanted: DesiredLink, *more: Link) -> list[tuple[str, t.Any, t.Any, Impact]]:
    return [(c.field, c.before, c.after, c.impact) for c in planner.plan([wanted], host(*more)).changes]


MAC = "02:00:00:00:00:77"
NEW0 = Link("new0", 0, "macvtap", "eth0", 2, "bridge", MAC, 1500, up=True)


def recorded(*entries: tuple[t.Any, str]) -> Journal[Link]:
    journal: Journal[Link] = Journal()
    for step, action in entries:
        journal.record(step, action)
    return journal


PHYSICAL = Link("enp1s0", 20, mac="02:00:00:00:00:20", mtu=1500, pci="0000:01:00.0", altnames=frozenset({"lan", "wan"}))
