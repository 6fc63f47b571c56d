# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of networks share: the network lan as libvirt shows it, guests on it, and plans."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import (
    declare,
    edit,
    planner,
    reader,
    sources,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    Definition,
    Host,
    Network,
    Portgroup,
    User,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

UUID = "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c"


def lan(stored: Definition | None, live: Definition | None, **more: t.Any) -> Network:
    """Return the network, persistent and active as far as it has these definitions."""
    texts = [edit.new("lan", UUID, one) if one is not None else "" for one in (stored, live)]
    return replace(reader.network_of("lan", UUID, texts[0], texts[1], autostart=stored is not None), **more)


LINKS = {
    name: Link(
        name=name,
        index=index,
        parent=None,
        kind="dummy",
        mac=f"52:54:00:00:01:0{index}",
        altnames=frozenset({f"lan{index}"}),
    )
    for index, name in enumerate(("eth0", "eth1", "eth2"), 1)
}
WEB, DB = Portgroup("web"), Portgroup("db", default=True)
LAN = Definition("bridge", ("eth0", "eth1"), portgroups=(WEB, DB))
RUNNING = User("lan", "web1", "52:54:00:00:00:0a", True, True, portgroup="web", uplink="eth0", mode="bridge")
STOPPED = replace(RUNNING, live=False, uplink="", mode="")
SAVED = replace(STOPPED, stored=False, saved=True)


def network(stored: Definition = LAN, current: Definition | None = LAN, **more: t.Any) -> Network:
    return lan(stored, current, **more)


def host(one: Network | None = None, *users: User, **more: t.Any) -> Host:
    there = {"lan": one} if one is not None else {}
    return Host("qemu:///system", there, {"lan": users} if users else {}, links=LINKS, **more)


def plan(where: Host, *, force: bool = False, **options: t.Any) -> Plan[Network]:
    declared = sources.named(declare.declare([("", {"name": "lan", "state": "active", **options})]), where)
    return planner.plan_of(resolve(declared, where, {"lan": UUID}, force=force), where, force=force)


def impacts(planned: Plan[Network]) -> dict[str, str]:
    return {change.field: change.impact.value for change in planned.changes}
