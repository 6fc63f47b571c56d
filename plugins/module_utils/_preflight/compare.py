# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A whole fleet's declarations and findings held against each other. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import (
    addresses,
    allowed,
    checks,
    migration,
    reached,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import fleet as fleets
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.fleet import hosts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import (
    DEFECT,
    KINDS,
    Conflict,
    Host,
    Place,
    defect,
)

__all__ = ["conflicts", "gaps"]


def conflicts(fleet: t.Any) -> list[Conflict]:
    """Return what is wrong with ``fleet``, by kind and then by host.

    ``fleet`` has of each host, by its name, what is ``declared`` (the roles' variables) and what was ``found`` (the
    result of macvtap_host_info, or of the attempt), as a dictionary or as JSON text.
    """
    read = hosts(fleet)
    found = [*_of_each(one for one in read if not one.outside), *migration.conflicts(read), *addresses.conflicts(read)]
    # What concerns hosts outside of --limit alone keeps nothing from being done on the others.
    outside = {host.name for host in read if host.outside}
    found = [one for one in found if any(place.host not in outside for place in one.where)]
    return sorted(allowed.marked(found, read), key=lambda one: (KINDS.index(one.kind), one.where[0].host, one.message))


def gaps(fleet: t.Any) -> list[dict[str, str]]:
    """Return what is not known of ``fleet``, or should be known although nothing is wrong with it."""
    found = fleets.gaps(fleet)
    companions = fleets.declaring(fleet, "macvtap_host_access_companions")
    for host in hosts(companions) if companions else ():
        found += [{"host": host.name, "what": "domain", "reason": reason} for reason in reached.unreached(host)]
    return found


def _of(host: Host) -> t.Iterable[Conflict]:
    try:
        return list(checks.conflicts(host))
    except Exception as exc:  # pylint: disable=broad-except  # it is to keep no other host from being compared
        return [Conflict("declaration", defect(exc), DEFECT, (Place(host.name),), host.segment)]


def _of_each(read: t.Iterable[Host]) -> list[Conflict]:
    """Return what cannot be on hosts by themselves; what is the same on several, by a group's variable, is one."""
    found: dict[tuple[str, ...], Conflict] = {}
    for host in read:
        for one in _of(host):
            key = (one.kind, one.message, one.remedy, one.segment)
            there = found.get(key)
            found[key] = one if there is None else replace(there, where=there.where + one.where)
    return list(found.values())
