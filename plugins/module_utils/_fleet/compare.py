# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Comparison of a whole fleet's declarations and current states. Pure."""

from __future__ import annotations

import contextlib
import gc
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import (
    addresses,
    allowed,
    checks,
    guards,
    migration,
    network_parity,
    reached,
    trust,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import fleet as fleets
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.fleet import hosts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    DEFECT,
    KINDS,
    Conflict,
    Host,
    Place,
    defect,
)

__all__ = ["conflicts", "gaps"]


def conflicts(fleet: t.Any) -> list[Conflict]:
    """Return the conflicts of ``fleet``, by kind and then by host.

    ``fleet`` has for each host name what is ``declared`` (the roles' variables) and what was ``found`` (the result of
    macvtap_host_info, or its failure), as a dictionary or as JSON text.
    """
    with _without_collector():
        return _conflicts(fleet)


def _conflicts(fleet: t.Any) -> list[Conflict]:
    all_hosts = hosts(fleet)
    result = _of_each(host for host in all_hosts if not host.outside)
    result += [*network_parity.conflicts(all_hosts), *migration.conflicts(all_hosts), *addresses.conflicts(all_hosts)]
    result += guards.conflicts(all_hosts)
    # A conflict that concerns only hosts outside of --limit must not stop the others.
    outside = {host.name for host in all_hosts if host.outside}
    result = [one for one in result if any(place.host not in outside for place in one.where)]
    return sorted(
        allowed.mark(result, all_hosts), key=lambda one: (KINDS.index(one.kind), one.where[0].host, one.message)
    )


@contextlib.contextmanager
def _without_collector() -> t.Iterator[None]:
    """Do not look for cycles meanwhile: there are none, and looking at all objects again and again takes a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def gaps(fleet: t.Any) -> list[dict[str, str]]:
    """Return what could not be checked in ``fleet``, and notes that are no conflicts."""
    result = fleets.gaps(fleet)
    shims = fleets.declaring(fleet, "macvtap_host_access_shims")
    for host in hosts(shims) if shims else ():
        result += [{"host": host.name, "what": "domain", "reason": reason} for reason in reached.unreached(host)]
    trusting = {name: data for name, data in fleets.plain(fleet).items() if _mentions_trust(data)}
    for host in hosts(trusting):
        for reason in trust.notes(host) if not host.outside else ():
            result.append({"host": host.name, "what": "domain", "reason": reason})
    return result


def _mentions_trust(data: t.Mapping[str, t.Any]) -> bool:
    # A result of an unexpected form is reported as a conflict.
    with contextlib.suppress(*fleets.MALFORMED):
        return trust.mentioned(data)
    return False


def _of(host: Host) -> t.Iterable[Conflict]:
    try:
        return list(checks.conflicts(host))
    except Exception as exc:  # pylint: disable=broad-except  # it must not prevent comparing the other hosts
        return [Conflict("declaration", defect(exc), DEFECT, (Place(host.name),), host.segment)]


def _of_each(inside: t.Iterable[Host]) -> list[Conflict]:
    """Return the conflicts within single hosts. The same one on several hosts, by a group variable, is merged."""
    merged: dict[tuple[str, ...], Conflict] = {}
    for host in inside:
        for one in _of(host):
            key = (one.kind, one.message, one.remedy, one.segment)
            first = merged.get(key)
            merged[key] = one if first is None else replace(first, where=first.where + one.where)
    return list(merged.values())
