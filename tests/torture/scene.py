# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The host of a run, and what others do to it meanwhile."""

from __future__ import annotations

import collections
import contextlib
import signal
import typing as t
from dataclasses import dataclass, field

from torture import actions, intent
from torture.actions import Action, Event
from torture.guests import Guest
from torture.nics import Nic
from torture.violations import ViolationError, class_of
from torture.world import World

# Stands for the signals that end a run, which must still end the torture itself.
SIGNAL = signal.SIGUSR1


class Killed(BaseException):
    """The run's process was killed. The rest of it that runs in this process can change nothing."""


def edited_nics(before: World, after: World) -> set[tuple[str, str]]:
    """Return the NICs (UUID, MAC address) whose stored values differ in ``after``, of the domains in it."""
    found: set[tuple[str, str]] = set()
    for uuid, now in after.guests.items():
        was = before.guests.get(uuid)
        macs = {nic.mac for nic in (*(now.stored or ()), *((was and was.stored) or ()))}
        found |= {(uuid, mac) for mac in macs if was is None or was.stored_nic(mac) != now.stored_nic(mac)}
    return found


@dataclass
class Run:
    """One run of the module: its intent, and what it has done so far."""

    number: int
    params: t.Mapping[str, t.Any]
    check: bool
    events: list[Event]
    scope: intent.Scope
    counts: dict[str, int] = field(default_factory=dict)
    # NICs that earlier runs have asked guests to release, which may happen at any time: (UUID, MAC address).
    outstanding: frozenset[tuple[str, str]] = frozenset()
    # The number of each guest's start when this run began.
    boots: t.Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    dead: bool = False
    refuse: int = 0
    restarts: int = 0
    # Its changes, refused requests and attempts: (what, UUID, MAC address).
    done: list[tuple[str, str, str]] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    tried: int = 0
    # When it last looked at something of a domain by its UUID (the call, the moment): at what is "stored", what it has
    # "live", whether it is "persistent", and its "job"; and when others last changed it.
    looked_at: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    others_at: dict[str, int] = field(default_factory=dict)
    # Stored NICs changed by others: (UUID, MAC address).
    others_nics: set[tuple[str, str]] = field(default_factory=set)
    # Domains that others have changed undetectably before this run stored them.
    excused: set[str] = field(default_factory=set)
    # States of the host since this run last changed something or waited.
    window: list[World] = field(default_factory=list)


class Scene:
    """The host, and everything that acts on it. ``shadow`` is the host as it would be without any run.

    ``counts`` says which kinds of violations end it; others are only noted.
    """

    def __init__(
        self, world: World, counts: t.Callable[[str], bool] = lambda _kind: True, *, reports: bool = False
    ) -> None:
        self.world = world
        self.shadow = world.copy()
        self._counts = counts
        self.now = 0.0
        # Whether libvirt reports events, and how often it has defined each domain, by UUID.
        self.reports = reports
        self.defined: collections.Counter[str] = collections.Counter()
        self.locks: set[str] = set()
        self.trace: list[str] = []
        # Domains in which the shadow is no longer reliable.
        self.diverged: set[str] = set()
        self.runs: list[Run] = []
        self.number = 0
        # Whether a run was ended by a signal, or lost its connection, so that it may not know what was carried out.
        self.interrupted = False
        self.found: ViolationError | None = None
        self.first: t.Callable[[ViolationError], None] = lambda _found: None
        self._restarts = 0
        self._moment = 0
        # Events during the keeper's calls, and their number.
        self.keeper_events: list[Event] = []
        # Whether others have removed an image of a run's, which it may not have noticed.
        self._unsaved = False
        self._keeper_calls = 0
        self.kill_keeper: t.Callable[[str], None] = lambda _which: None
        # Released NICs that nothing attaches again before the next run: (UUID, MAC address).
        self.owed: frozenset[tuple[str, str]] = frozenset()
        # Lets the keeper check the host; set by torture.sequence.
        self.keeper: t.Callable[[], None] = lambda: None
        self.seams: t.Callable[[], t.ContextManager[None]] = contextlib.nullcontext
        # Runs the module within a run, as another user of the host; set by torture.drive.
        self.nested: t.Callable[[t.Mapping[str, t.Any]], None] = lambda _params: None

    @property
    def run(self) -> Run:
        return self.runs[-1]

    def restarted(self) -> int:
        return self._restarts

    def note(self, text: str) -> None:
        self.trace.append(("  " * len(self.runs)) + text)

    def violate(self, kind: str, message: str) -> None:
        if self._counts(kind):
            if self.found is None:
                self.found = class_of(kind)(kind, message, self.trace)
                self.first(self.found)
            if not self.runs:
                raise self.found
            # The module would handle it as its own error, and continue.
            for run in self.runs:
                run.dead = True
            raise Killed
        self.note(f"({kind}: {message})")

    def act(self, action: Action) -> None:
        """Carry out an action of others."""
        self.note(f"-> {action.name} {action.domain} {action.value}".rstrip())
        if action.name in actions.OF_THE_HOST:
            self._befall(action)
            return
        if action.name in actions.OF_A_RUN:
            if self.runs:
                self._disturb(action)
            return
        guest = self.world.named(action.domain)
        if guest is not None and guest.saved is not None and guest.saved_by_run:
            self._unsaved |= action.name == "discard_save"
            # A run has it saved for a moment, and it runs without the run.
            self.diverged.add(action.domain)
        before, meant = self.world.copy(), self.shadow.copy()
        came = actions.apply(self.world, action), actions.apply(self.shadow, action)
        edited = edited_nics(before, self.world), edited_nics(meant, self.shadow)
        # For example, another editor finds nothing to edit, because a run has just removed it.
        if came[0] != came[1] or edited[0] != edited[1]:
            self.diverged.add(action.domain)
        for run in self.runs:
            run.others_nics |= edited[1]
        self.world.tick()
        self.shadow.tick()
        self._changed(before)

    def _changed(self, before: World) -> None:
        """Record the changes by others since ``before``, for the current runs."""
        self._moment += 1
        given = intent.addresses(self.world) - intent.addresses(before)
        for run in self.runs:
            run.scope.widen(self.world, given)
            run.window.append(self.world.copy())
            for uuid in {*before.guests, *self.world.guests}:
                was, now = before.guests.get(uuid), self.world.guests.get(uuid)
                if was != now:
                    run.others_at[uuid] = self._moment
            run.others_nics |= edited_nics(before, self.world)

    def _befall(self, action: Action) -> None:
        if action.name == "restart_libvirtd":
            self._restarts += 1
            self.interrupted |= bool(self.runs)
            for run in self.runs:
                run.restarts += 1
        elif action.name == "keeper":
            self.keeper()
        else:
            self.kill_keeper(action.value)

    def _disturb(self, action: Action) -> None:
        run = self.run
        self.interrupted |= action.name in {"kill", "sigterm"}
        if action.name == "kill":
            run.dead = True
            raise Killed
        if action.name == "sigterm":
            if signal.getsignal(SIGNAL) == signal.SIG_DFL:
                run.dead = True
                raise Killed
            signal.raise_signal(SIGNAL)
        elif action.name == "refuse":
            run.refuse += 1
        elif action.name == "run":
            before = self.world.copy()
            self.nested(action.value)
            given = intent.addresses(self.world) - intent.addresses(before)
            for one in self.runs:
                one.scope.widen(self.world, given)
                one.window.append(self.world.copy())
                one.others_nics |= edited_nics(before, self.world)
            intent.transfer(before, self.world, self.shadow)

    def _tick(self) -> None:
        departed = len(self.world.departures)
        self.world.tick()
        self.shadow.tick()
        if len(self.world.departures) > departed:
            for gone in self.world.departures[departed:]:
                self.note(f"   {self.world.guests[gone.uuid].name} has released {gone.mac}")
            for run in self.runs:
                run.window.append(self.world.copy())

    def expect(self, events: t.Iterable[Event]) -> None:
        """Let these events happen during the keeper's calls from now on."""
        self.keeper_events = [event for event in events if event.call == "keeper"]
        self._keeper_calls = 0

    def keeper_call(self, effect: t.Callable[[], t.Any]) -> t.Any:
        """Carry out one call of the keeper, with actions of others before and after it."""
        number = self._keeper_calls
        self._keeper_calls += 1
        self._keeper_point(number, "before")
        self._tick()
        result = effect()
        self._keeper_point(number, "after")
        return result

    def _keeper_point(self, number: int, side: str) -> None:
        for event in [one for one in self.keeper_events if (one.nth, one.side) == (number, side)]:
            self.keeper_events.remove(event)
            self.act(event.action)

    def kept(self, guest: Guest, nic: Nic) -> None:
        """Record what the keeper has attached."""
        self.note(f"   the keeper attaches {nic.mac} to {guest.name}")
        for run in self.runs:
            run.window.append(self.world.copy())
