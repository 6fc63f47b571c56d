# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A tortured host: runs of libvirt_direct_iface, concurrent events between and within them, and invariants."""

from __future__ import annotations

import typing as t

from torture import checks, drive
from torture.actions import Action, Event
from torture.drive import Outcome
from torture.guests import OTHERS, Departure
from torture.owner import Owner
from torture.scene import Run
from torture.stage import Stage
from torture.world import World


def calls(world: World, params: t.Mapping[str, t.Any], *, reports: bool = False) -> dict[str, int]:
    """Return how often a run makes each call without concurrent events. The host is not changed."""
    tried = Sequence(world.copy(), lambda _kind: False, reports=reports)
    try:
        return drive.run(tried.stage, params)[0].counts
    finally:
        tried.close()


class Sequence:
    """Runs and actions of others on one host. ``counts`` returns which kinds of violations are errors.

    With ``reports`` libvirt reports events, as QEMU's driver does.
    """

    def __init__(
        self,
        world: World,
        counts: t.Callable[[str], bool] = lambda _kind: True,
        *,
        systemd: bool = False,
        reports: bool = False,
    ) -> None:
        self.stage = Stage(world, counts, reports=reports)
        self.stage.nested = self._nested
        self.finished: dict[int, tuple[Run, Outcome]] = {}
        # The keeper outlives runs. It does its work within a second.
        self.owner = Owner(self.stage, systemd=systemd)
        self.stage.keeper, self.stage.kill_keeper = self.owner, self.owner.kill
        self.stage.seams = self.owner.seams
        self._looked_at = 0
        # Releases, by index, of NICs that the next run's keeper must attach again.
        self._owed: list[int] = []

    def close(self) -> None:
        self.owner.close()

    @property
    def world(self) -> World:
        return self.stage.world

    def run(self, params: t.Mapping[str, t.Any], *, check: bool = False, events: t.Sequence[Event] = ()) -> Outcome:
        """Run the module, with concurrent ``events``.

        :raises ViolationError: an invariant does not hold.
        """
        self.stage.expect(events)
        run, outcome = drive.run(self.stage, params, check=check, events=events)
        self.finished[run.number] = run, outcome
        checks.after_run(self.stage, run, outcome)
        self._settle(run.number)
        if not events and not outcome.rc and not check and not outcome.result["pending"]:
            self._check_again(params)
        self._forget()
        return outcome

    def act(self, action: Action, *, events: t.Sequence[Event] = ()) -> None:
        """Carry out an action of others between runs, with ``events`` during the keeper's calls.

        :raises ViolationError: a guest loses a NIC by what an earlier run has asked for.
        """
        self.stage.expect(events)
        self.stage.act(action)
        self._settle()
        self._forget()

    def _nested(self, params: t.Mapping[str, t.Any]) -> None:
        run, outcome = drive.run(self.stage, params)
        self.finished[run.number] = run, outcome
        if "defect in the module" in outcome.message:
            self.stage.violate("defect", outcome.message + "\n" + str(outcome.result.get("exception", "")))

    def _check_again(self, params: t.Mapping[str, t.Any]) -> None:
        again = drive.run(self.stage, params, check=True)[1]
        if again.rc or again.result["changed"]:
            self.stage.violate("not-idempotent", f"the same run again: {again.message or again.result['changes']}")

    def _settle(self, ended: int = OTHERS) -> None:
        """Check every NIC that a guest has released for a run against the run's intent."""
        self.owner()
        # However often it was killed, eventually it is not killed for a second.
        self.stage.expect(())
        self.owner()
        if self.stage.found is not None:
            raise self.stage.found
        for guest in self.world.guests.values():
            if guest.saved is not None and guest.saved_by_run and not self.owner.gone:
                self.stage.violate("lost", f"{guest.name} is saved for a run that has ended, or has an image of it")
        departures = self.world.departures
        owed, self._owed = self._owed, []
        for number in (*owed, *range(self._looked_at, len(departures))):
            gone = departures[number]
            if gone.by == OTHERS or self._is_right(gone, departures[number + 1 :]):
                continue
            if self.owner.gone or self.world.guests[gone.uuid].job:
                # Under a job libvirt attaches nothing.
                self._owed.append(number)
                continue
            outcome = self.finished[gone.by][1]
            kind = "killed-cut" if outcome.rc is None else "cut" if gone.by == ended else "late-cut"
            self.stage.violate(
                kind, f"{self.world.guests[gone.uuid].name} is without {gone.mac}, released for run {gone.by}"
            )
        self._looked_at = len(departures)
        self.stage.owed = frozenset((departures[number].uuid, departures[number].mac) for number in self._owed)

    def _is_right(self, gone: Departure, later: t.Sequence[Departure]) -> bool:
        guest = self.world.guests.get(gone.uuid)
        if guest is None or not guest.running or guest.boot != gone.boot or guest.live_nic(gone.mac) is not None:
            return True
        if any(one.by == OTHERS and (one.uuid, one.mac) == (gone.uuid, gone.mac) for one in later):
            return True
        if gone.made_by == gone.by:
            # A run may detach what it has attached itself.
            return True
        return any(
            self._wanted_gone(number, gone) for number in self.finished if number >= gone.by
        ) or self._was_hindered(gone)

    def _wanted_gone(self, number: int, gone: Departure) -> bool:
        run, outcome = self.finished[number]
        succeeded = outcome.rc != 1 or run.params.get("on_error") == "keep"
        return succeeded and not run.check and not run.scope.returns(gone.uuid, gone.mac)

    def _was_hindered(self, gone: Departure) -> bool:
        run = self.finished[gone.by][0]
        return ("attach", gone.uuid, gone.mac) in run.refused or run.restarts > 1

    def _forget(self) -> None:
        """Make the current host the reference for others' state."""
        self.stage.shadow = self.world.copy()
        self.stage.diverged.clear()
