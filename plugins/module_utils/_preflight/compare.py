# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A whole fleet's declarations and findings held against each other. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import addresses, checks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.declared import Said
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.fleet import gaps, hosts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import KINDS, Conflict, Host, Nic

__all__ = ["conflicts", "gaps"]

_Connected = t.Tuple[str, t.Optional[str], t.Optional[str]]


def conflicts(fleet: t.Mapping[str, Said]) -> list[Conflict]:
    """Return what is wrong with ``fleet``, by kind and then by host.

    ``fleet`` has of each host, by its name, what is ``declared`` (the roles' variables) and what was ``found`` (the
    result of macvtap_host_info, or of the attempt).
    """
    read = hosts(fleet)
    found = [conflict for host in read for conflict in checks.conflicts(host)]
    found += [*_migrations(read), *addresses.conflicts(read)]
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.where[0].host, one.message))


def _migrations(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    """Find domains that can live on several hosts, and whose NICs are connected otherwise there."""
    there: dict[tuple[str, str, int], list[tuple[Host, Nic]]] = {}
    for host in fleet:
        for nic in host.nics:
            if nic.mac:
                there.setdefault((nic.identity, nic.mac, nic.number), []).append((host, nic))
    for pairs in there.values():
        ways: dict[_Connected, list[str]] = {}
        for host, nic in pairs:
            ways.setdefault(_connected(nic), []).append(host.name)
        # What the switch decides later may well be what another host has.
        told_later = [way for way in ways if way[2] == "auto" and any(way[:2] == one[:2] for one in ways if one != way)]
        ways = {way: names for way, names in ways.items() if way not in told_later}
        if len(ways) < 2 or not any(kind == "direct" for kind, _where, _mode in ways):
            continue
        told = "; ".join(f"{_said(way)} on {_some(names)}" for way, names in ways.items())
        yield Conflict(
            "migration",
            f"{pairs[0][1].domain} could not migrate: {pairs[0][1].mac} is {told}",
            "Declare the same source and mode on each of them; an alternative name can make links' names the same",
            tuple(nic.place(host.name) for host, nic in pairs),
            pairs[0][0].segment,
        )


def _connected(nic: Nic) -> _Connected:
    if nic.type == "direct":
        return "direct", nic.final("source"), nic.final("mode")
    return nic.type, nic.found.origin if nic.found else None, None


def _said(way: _Connected) -> str:
    kind, where, mode = way
    return f"on {where} in mode {mode}" if kind == "direct" else f"of type {kind} ({where})"


def _some(names: t.Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
