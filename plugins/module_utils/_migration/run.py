# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_migrate: the stages of a run, and its result."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
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

_OUTDATED = "Run again when both hosts can be asked"
# What libvirt's statistics of a migration are called here; times are in milliseconds there.
_MEASURED = (("seconds", "time_elapsed", 1000), ("downtime_seconds", "downtime", 1000), ("bytes", "data_processed", 1))


def run(migration: Migration, desired: Desired, *, check_mode: bool, diff: bool) -> dict[str, t.Any]:
    """Move a guest, and return the module's result.

    :raises MacvtapError: as :func:`converge`.
    """
    validate.options(desired)
    stages = _Stages(migration, desired)
    outcome = converge(
        stages.observe,
        lambda both, found: planner.plan(desired, both, found),
        stages.apply,
        lambda _journal, both: _undo(stages.first, both),
        inquire=stages.inquire,
        # There is nothing to put back: see _undo.
        revert=lambda _steps: None,
        check_mode=check_mode,
        verify=stages.verify,
    )
    left = stages.left()
    return {
        **outcome.plan.result(diff=diff),
        "domain": desired.domain,
        "source": stages.first.source.name,
        "destination": stages.first.destination.name,
        "forecast_seconds": _forecast(desired, stages.first) if outcome.plan.changed else None,
        "measured": _measured(migration.measured),
        "interfaces": planner.interfaces(outcome.plan),
        "rules": [along.report(one) for one in along.merged(outcome.answers, left)],
        "left": [along.report(one) for one in left],
        "warnings": [*outcome.plan.warnings, *migration.warnings],
    }


class _Stages:
    """The stages of one run, and what it has seen first."""

    def __init__(self, migration: Migration, desired: Desired) -> None:
        self._migration = migration
        self._desired = desired
        self._first: Both | None = None
        self._last: Both | None = None
        self._asked: tuple[Along, ...] = ()
        self._has_moved = self._has_failed = False

    @property
    def first(self) -> Both:
        if self._first is None:  # pragma: no cover  # for type checkers
            raise RuntimeError("nothing was observed")
        return self._first

    @property
    def last(self) -> Both:
        return self._last or self.first

    def left(self) -> tuple[Along, ...]:
        """Return what this host still keeps for the guest, if that is on the destination.

        :raises MacvtapError: it cannot be read.
        """
        try:
            return _left(self._migration, self.last)
        except MacvtapError as exc:
            if self._has_moved:
                exc.message = self._moved_but(exc.message)
            raise

    def _moved_but(self, message: str) -> str:
        return f"domain {self._desired.domain!r} has moved to {self.first.destination.name}, but {message}"

    def observe(self) -> Both:
        try:
            both = self._migration.observe(self._desired.domain)
        except MacvtapError as exc:
            if self._first is not None and self._has_failed:
                # For the rollback, which does nothing. Where the guest is has been said.
                return replace(self._first, is_outdated=True)
            self._has_failed = True
            if self._has_moved:
                exc.message = self._moved_but(exc.message)
            raise
        self._first, self._last = self._first or both, both
        return both

    def inquire(self, both: Both) -> tuple[Along, ...]:
        self._asked = self._kept(both.source.domain)
        return self._asked

    def _kept(self, here: Domain | None) -> tuple[Along, ...]:
        # What the host keeps is known only of this one.
        return along.of(here, _guards()) if here is not None and self._migration.is_local else ()

    def _check(self) -> None:
        # A guard that is set after the look would not be on the destination when the guest runs there.
        now = self._kept(self._migration.here(self._desired.domain))
        validate.unchanged(self.first, self._desired, map(along.report, self._asked), now)

    def apply(self, steps: t.Sequence[Step[Guest]], journal: Journal[Guest]) -> None:
        self._has_failed = True
        self._migration.apply(steps, journal, self._desired, self._check)
        self._has_moved, self._has_failed = True, False

    def verify(self, planned: Plan[Guest], both: Both, found: tuple[Along, ...]) -> Plan[Guest]:
        if not planner.is_complete(both):
            return planner.plan(self._desired, both, found)
        for step in planned.steps:
            wrong = planner.misconnected(t.cast("Guest", step.after), both)
            if wrong:
                raise MacvtapError(f"domain {self._desired.domain!r} has moved, but {wrong}", path="interfaces")
        return Plan()


def _left(migration: Migration, both: Both) -> tuple[Along, ...]:
    """Return what this host keeps for a guest that is on the destination, and not here."""
    there = both.destination.domain
    if both.source.domain is not None or there is None or not migration.is_local:
        return ()
    return along.left(there, _guards(), migration.ruled())


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
    where = _OUTDATED if now.is_outdated else planner.whereabouts(before, now)
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
