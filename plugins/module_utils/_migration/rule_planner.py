# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the udev rules for NICs of guests that come to a host, or have left it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

_FIELD = "allmulticast"


@dataclass(frozen=True)
class DesiredRule:
    """Whether the link of the NIC with this MAC address is to receive all multicast at each start of its guest."""

    path: str
    mac: str
    receives_all: bool


@dataclass(frozen=True)
class Rules:
    """The host: the MAC addresses with a rule, None where rules are not possible, and why; whose addresses are whose.

    ``macs`` has the addresses that domains of the host have, with the domains' names. ``modified`` are the addresses
    whose rule was edited by hand.
    """

    managed: frozenset[str] | None
    unsupported: str = ""
    macs: t.Mapping[str, tuple[str, ...]] | None = None
    modified: frozenset[str] = frozenset()


def staying(macs: t.Iterable[str], rules: Rules) -> dict[str, tuple[str, ...]]:
    """Return the addresses that domains of this host have, with the names of these: their rules are not removed."""
    return {mac: names for mac in macs if (names := (rules.macs or {}).get(mac, ()))}


def plan(desired: t.Sequence[DesiredRule], rules: Rules) -> Plan[DesiredRule]:
    """Return the rules to write or to remove. One that was edited by hand is no longer this collection's."""
    if rules.managed is None:
        asked = [one.mac for one in desired if one.receives_all]
        warning = f"links of {join_names(asked)} get no rule for all multicast: {rules.unsupported}"
        return Plan(warnings=(warning,) if asked else ())
    edited = [one.mac for one in desired if one.mac in rules.modified]
    warning = (
        f"the udev rules of {join_names(edited)} were edited by hand, and stay as they are. Whether these links "
        "receive all multicast is not known. Remove the rules to have them written again"
    )
    steps = tuple(_step(one, one.mac in rules.managed) for one in desired if one.mac not in rules.modified)
    return Plan(steps, (warning,) if edited else ())


def undo(journal: Journal[DesiredRule], rules: Rules) -> Plan[DesiredRule]:
    """Return what puts back the rules that this run has changed, and nobody else since."""
    managed = rules.managed or frozenset()
    begun = [t.cast("DesiredRule", step.after) for step in journal.steps]
    # Edited by hand since, it is another's.
    begun = [one for one in begun if one.mac not in rules.modified]
    changed = [one for one in begun if (one.mac in managed) == one.receives_all]
    return Plan(
        tuple(_step(DesiredRule(one.path, one.mac, not one.receives_all), one.mac in managed) for one in changed)
    )


def _step(one: DesiredRule, has: bool) -> Step[DesiredRule]:
    before = DesiredRule(one.path, one.mac, has)
    changes = () if has == one.receives_all else (Change(one.mac, _FIELD, has, one.receives_all, Impact.CONFIG),)
    return Step(one.mac, before, one, changes, {_FIELD: has}, {_FIELD: one.receives_all}, path=one.path)
