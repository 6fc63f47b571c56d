# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The IPv4 addresses that managers get for companions, and what managers are told for that. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

RELOAD = ("networkctl", "reload")

Command = t.Tuple[str, ...]


@dataclass(frozen=True)
class Lease:
    """What a companion is to have from its manager: ``address``, None while it has none, by what the manager is told.

    ``index`` is the companion's, None while there is none. ``unread`` are the files for which networkd is not told, and
    ``disturbed`` the links that it would configure anew; ``asked`` says that the manager is at it, or will be.
    """

    name: str
    manager: str
    path: str = ""
    index: int | None = None
    address: str | None = None
    commands: tuple[Command, ...] = ()
    unread: tuple[str, ...] = ()
    disturbed: tuple[str, ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class Leases:
    """The companions' leases, and what goes with their files: what is done ``before`` they go, and ``after``.

    ``first`` are the files that are written before networkd is told, and all others after. ``warnings`` are of clients
    that nobody ends.
    """

    leases: tuple[Lease, ...] = ()
    before: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()
    first: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def addresses(self) -> dict[str, str | None]:
        return {lease.name: lease.address for lease in self.leases}

    @property
    def plan(self) -> Plan[Lease]:
        steps = (_step(lease) for lease in self.leases if lease.commands)
        return Plan(tuple(steps), (*(_warning(lease) for lease in self.leases if lease.unread), *self.warnings))


def _step(lease: Lease) -> Step[Lease]:
    change = Change(lease.name, "address", None, "by DHCP", Impact.IN_PLACE)
    return Step(lease.name, lease, lease, (change,), {"address": None}, {"address": "by DHCP"}, lease.path)


def _warning(lease: Lease) -> str:
    why = why_not_told(lease.unread, lease.disturbed)
    return (
        f"{lease.name} has no IPv4 address yet: {why}. The address comes with the next boot, or when you run "
        "networkctl reload"
    )


def why_not_told(unread: t.Sequence[str], disturbed: t.Sequence[str]) -> str:
    whose = f" (of {refusals.some(disturbed)}, and what else they are for)" if disturbed else ""
    return (
        "networkd can only be told to read all its files again, and then takes away for a moment the addresses of each "
        f"link whose files have changed, which may be so since it started: {refusals.some(unread)}{whose}"
    )
