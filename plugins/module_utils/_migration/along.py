# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What goes with a guest's NICs and is kept by a host, not by libvirt: guards, and who receives all multicast. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import RULES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Along

_ALL = "allmulticast"


def of(domain: Domain, guards: t.Iterable[t.Mapping[str, t.Any]]) -> tuple[Along, ...]:
    """Return what a host keeps for the NICs of a domain, by its ``guards`` as modules return them."""
    by_mac = {guard["mac"]: guard for guard in guards}
    ifaces: dict[str, list[Iface]] = {}
    for iface in (*domain.stored, *domain.live):
        ifaces.setdefault(iface.mac, []).append(iface)
    found = [
        Along(mac, any(_receives_all(iface) for iface in same), options(by_mac.get(mac)))
        for mac, same in sorted(ifaces.items())
    ]
    return tuple(one for one in found if one.exists)


def left(domain: Domain, guards: t.Iterable[t.Mapping[str, t.Any]], ruled: t.Container[str]) -> tuple[Along, ...]:
    """Return what a host still keeps for the NICs of a domain that is on another host.

    ``ruled`` are the MAC addresses whose links receive all multicast by a rule of the host.
    """
    # One that was edited by hand is no longer what this collection has put there.
    by_mac = {guard["mac"]: guard for guard in guards if guard.get("rules") != "modified"}
    macs = sorted({iface.mac for iface in (*domain.stored, *domain.live)})
    found = [Along(mac, mac in ruled, options(by_mac.get(mac))) for mac in macs]
    return tuple(one for one in found if one.exists)


def merged(gone: t.Iterable[Along], kept: t.Iterable[Along]) -> tuple[Along, ...]:
    """Return what a guest took along, with what has changed since of that which is still ``kept`` where it was."""
    found = {one.mac: one for one in gone}
    for one in kept:
        was = found.get(one.mac, one)
        guard = was.guard if one.guard is None else one.guard
        found[one.mac] = Along(one.mac, was.allmulticast or one.allmulticast, guard)
    return tuple(found[mac] for mac in sorted(found))


def differing(given: t.Iterable[t.Mapping[str, t.Any]], kept: t.Iterable[Along]) -> list[str]:
    """Return the MAC addresses for which a host keeps something else than was ``given``, as modules return it."""
    one = {rule["mac"]: rule for rule in given}
    other = {rule["mac"]: rule for rule in map(report, kept)}
    return sorted(mac for mac in {*one, *other} if one.get(mac) != other.get(mac))


def report(one: Along) -> dict[str, t.Any]:
    """Return what a module returns, and libvirt_guest_rules accepts."""
    return {"mac": one.mac, _ALL: one.allmulticast, "guard": dict(one.guard) if one.guard is not None else None}


def _receives_all(iface: Iface) -> bool:
    # libvirt sets it for a trusted guest, and in mode passthrough it must not be set.
    trusted = iface.get("trust_guest_rx_filters") == "yes"
    return iface.get(_ALL) == "yes" and not trusted and iface.get("mode") != "passthrough"


def options(guard: t.Mapping[str, t.Any] | None) -> dict[str, t.Any] | None:
    """Return the options of a guard as modules return it."""
    if guard is None:
        return None
    # What is not limited has no value.
    return {name: guard[name] for name in RULES if guard.get(name) not in (None, "", [])}
