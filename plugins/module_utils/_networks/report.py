# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the modules return of networks, of the NICs on them, and of what waits for a restart. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import comparable, plain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import (
    GENERATED,
    IMPLIED,
    INHERITED,
    NETWORK,
    PORTGROUP,
    SETTINGS,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network, User
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.planner import fields_of, shown


def network(one: Network) -> dict[str, t.Any]:
    """Return a network with the options' names and values."""
    return {
        "name": one.name,
        "uuid": one.uuid or None,
        **_definition(one),
        "active": one.active,
        "persistent": one.persistent,
        "autostart": one.autostart,
    }


def live(one: Network) -> dict[str, t.Any] | None:
    """Return what the active network has, None if it is not active."""
    return _definition(one.live) if one.live is not None else None


def _definition(one: Definition) -> dict[str, t.Any]:
    return {
        "mode": one.mode,
        "interfaces": list(one.interfaces),
        "pf": one.pf,
        **{name: NETWORK.nested(one.values).get(name) for name in ("virtualport", *INHERITED)},
        "portgroups": [
            {"name": group.name, "default": group.default, **PORTGROUP.nested(group.values)} for group in one.portgroups
        ],
    }


def user(one: User) -> dict[str, t.Any]:
    """Return a NIC on a network."""
    return {
        "network": one.network,
        "domain": one.domain,
        "mac": one.mac,
        "stored": one.stored,
        "live": one.live,
        "saved": one.saved,
        "portgroup": one.portgroup,
        "uplink": one.uplink or None,
    }


def remembered(users: t.Iterable[User], first: t.Iterable[User]) -> list[User]:
    """Return ``users`` with what a restart of their network has made libvirt forget of them, from before the run.

    That is what only their ports had, which are gone. The guests keep it.
    """
    known = {(one.network, one.domain, one.mac, one.uplink): one for one in first if one.live}
    found = []
    for one in users:
        before = known.get((one.network, one.domain, one.mac, one.uplink)) if one.live else None
        forgotten = one.own - before.own if before is not None else frozenset()
        values = {name: text for name, text in before.values.items() if name in forgotten} if before is not None else {}
        found.append(replace(one, values={**one.values, **values}, own=one.own - forgotten))
    return found


def due(after: Network, users: t.Iterable[User]) -> list[dict[str, t.Any]]:
    """Return what differs from the stored network until it, or a guest on it, is stopped and started.

    ``users`` are the NICs on it. ``after`` has what is stored and live at the end.
    """
    found = []
    if after.live is not None and after.active:
        old, new = (fields_of(comparable(one)) for one in (after.live, plain(after)))
        fields = [shown(path) for path in dict.fromkeys((*old, *new)) if old.get(path) != new.get(path)]
        if fields:
            found.append({"network": after.name, "domain": None, "mac": None, "fields": fields})
    for one in users:
        fields = differing(one, after) if one.live else []
        if fields:
            found.append({"network": after.name, "domain": one.domain, "mac": one.mac, "fields": fields})
    return found


def differing(one: User, after: Definition) -> list[str]:
    """Return the fields in which a running guest's NIC differs from what it would get at its next start."""
    fields = ["mode"] if one.mode and one.mode != after.mode else []
    if after.pf is None and one.uplink and one.uplink not in after.interfaces:
        fields.append("interfaces")
    portgroup = after.portgroup(one.portgroup)
    given = {**after.values, **(portgroup.values if portgroup is not None else {})}
    for name in SETTINGS:
        # A portgroup of a direct network has no bandwidth, so that is the NIC's own.
        if name in one.own or name.startswith("bandwidth.") or (name == GENERATED and name not in given):
            continue
        if one.values.get(name, IMPLIED.get(name)) != given.get(name, IMPLIED.get(name)):
            fields.append(name)
    return fields
