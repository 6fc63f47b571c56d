# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_migrate: the stages of a run, and its result."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader, reading
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import along, planner, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.adapter import Migration
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    Along,
    Both,
    Desired,
    Guest,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step, converge

# What libvirt's statistics of a migration are called here; times are in milliseconds there.
_MEASURED = (("seconds", "time_elapsed", 1000), ("downtime_seconds", "downtime", 1000), ("bytes", "data_processed", 1))


def run(migration: Migration, desired: Desired, *, check_mode: bool, diff: bool) -> dict[str, t.Any]:
    """Move a guest, and return the module's result.

    :raises MacvtapError: as :func:`converge`.
    """
    validate.options(desired)
    first: list[Both] = []

    def observe() -> Both:
        both = migration.observe(desired.domain)
        first.append(both)
        return both

    def apply(steps: t.Sequence[Step[Guest]], journal: Journal[Guest]) -> None:
        migration.apply(steps, journal, desired)

    def inquire(both: Both) -> tuple[Along, ...]:
        here = both.source.domain
        # What the host keeps is known only of this one.
        return along.of(here, _guards()) if here is not None and migration.is_local else ()

    def verify(planned: Plan[Guest], both: Both, found: tuple[Along, ...]) -> Plan[Guest]:
        if not planner.is_complete(both):
            return planner.plan(desired, both, found)
        for step in planned.steps:
            wrong = planner.misconnected(t.cast("Guest", step.after), both)
            if wrong:
                raise MacvtapError(f"domain {desired.domain!r} has moved, but {wrong}", path="interfaces")
        return Plan()

    outcome = converge(
        observe,
        lambda both, found: planner.plan(desired, both, found),
        apply,
        lambda _journal, both: _undo(first[0], both),
        inquire=inquire,
        check_mode=check_mode,
        verify=verify,
    )
    return {
        **outcome.plan.result(diff=diff),
        "domain": desired.domain,
        "source": first[0].source.name,
        "destination": first[0].destination.name,
        "forecast_seconds": _forecast(desired, first[0]) if outcome.plan.changed else None,
        "measured": _measured(migration.measured),
        "interfaces": planner.interfaces(outcome.plan),
        "rules": [along.report(one) for one in outcome.answers],
        "warnings": [*outcome.plan.warnings, *migration.warnings],
    }


def _guards() -> list[dict[str, t.Any]]:
    """Return the guards of this host.

    :raises MacvtapError: they cannot be read.
    """
    try:
        return reading.guards()
    except MissingLibraryError:
        # Of this interpreter. The program that puts stored guards on links has its own.
        if _is_any_stored():
            raise
        return []


def _is_any_stored() -> bool:
    try:
        return bool(loader.stored())
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _undo(before: Both, now: Both) -> Plan[Guest]:
    """Return what the rollback does: nothing. A guest that has moved stays, and is not moved once more."""
    where = planner.whereabouts(before, now)
    return Plan(warnings=(where,) if where else ())


def _forecast(desired: Desired, both: Both) -> float | None:
    """Return how many seconds the memory that is in use takes with the declared bandwidth, None without one."""
    if not desired.bandwidth or both.used is None:
        return None
    return round(both.used / (desired.bandwidth << 20), 1)


def _measured(statistics: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    found = {name: statistics[key] for name, key, _unit in _MEASURED if key in statistics}
    units = {name: unit for name, _key, unit in _MEASURED}
    return {name: value if units[name] == 1 else value / units[name] for name, value in found.items()} or None
