# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Observes a run's calls: lets others act before and after each, and records what the run does."""

from __future__ import annotations

import collections
import contextlib
import functools
import signal
import typing as t
from dataclasses import dataclass, field

from torture import actions, intent
from torture.actions import Action
from torture.nics import Document, Nic
from torture.world import OPERATION_FAILED, OPERATION_TIMEOUT, Guest, RefusedError, World

# More calls than any finite run needs.
_ENDLESS = 5000
# Stands for the signals that end a run, which must still end the torture itself.
SIGNAL = signal.SIGUSR1
_SECONDS_A_CALL = 0.001
# The calls right before a domain is stored: its stored XML, whether it is persistent, and its job.
_LOOKS = 3
_SECONDS_UNTIL_A_JOB_IS_IN_THE_WAY = 30


class Killed(BaseException):
    """The run's process was killed. The rest of it that runs in this process can change nothing."""


class ViolationError(AssertionError):
    """A violated invariant. ``kind`` is its name."""

    def __init__(self, kind: str, message: str, trace: t.Sequence[str]) -> None:
        super().__init__("\n".join([f"{kind}: {message}", *trace]))
        self.kind = kind


@functools.lru_cache(None)
def _class_of(kind: str) -> type[ViolationError]:
    """Return a class for each kind, so that shrinking keeps the kind."""
    return type(kind, (ViolationError,), {})


def _edited(before: World, after: World) -> set[tuple[str, str]]:
    """Return the NICs (UUID, MAC address) whose stored values differ in ``after``, of the domains in it."""
    found: set[tuple[str, str]] = set()
    for uuid, now in after.guests.items():
        was = before.guests.get(uuid)
        macs = {nic.mac for nic in (*(now.stored or ()), *((was and was.stored) or ()))}
        found |= {(uuid, mac) for mac in macs if was is None or was.stored_nic(mac) != now.stored_nic(mac)}
    return found


class Event(t.NamedTuple):
    """An action of others at the ``nth`` call (from 0) of this name ("any": of all), before or after it.

    "keeper" are the calls of the keeper, from the run's beginning on, or from when something was done between runs.
    """

    call: str
    nth: int
    side: str
    action: Action


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


class Stage:
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
                self.found = _class_of(kind)(kind, message, self.trace)
                self.first(self.found)
            if not self.runs:
                raise self.found
            # The module would handle it as its own error, and continue.
            for run in self.runs:
                run.dead = True
            raise Killed
        self.note(f"({kind}: {message})")

    # Actions of others.

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
        edited = _edited(before, self.world), _edited(meant, self.shadow)
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
            run.others_nics |= _edited(before, self.world)

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
                one.others_nics |= _edited(before, self.world)
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

    # Actions of a run.

    def call(self, name: str, about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        """Carry out one call of the run, with actions of others before and after it."""
        run = self.run
        if run.dead:
            raise Killed
        nth = run.counts.get(name, 0)
        run.counts[name] = nth + 1
        number = run.calls
        run.calls += 1
        if number > _ENDLESS:
            del self.trace[200:]
            self.violate("endless", "the run does not end")
        self._point(run, name, nth, number, "before")
        self.now += _SECONDS_A_CALL
        self._tick()
        try:
            result = effect()
        except Exception as exc:
            self.note(f"{name} {about}: {exc}")
            raise
        if name not in {"sleep", "read", "state"}:
            self.note(f"{name} {about}".rstrip())
        self._point(run, name, nth, number, "after")
        return result

    def _point(self, run: Run, name: str, nth: int, number: int, side: str) -> None:
        due = [e for e in run.events if e.side == side and (e.call, e.nth) in {(name, nth), ("any", number)}]
        for event in due:
            run.events.remove(event)
            self.act(event.action)

    def sleep(self, seconds: float) -> None:
        def slept() -> None:
            self.now += seconds
            self.keeper()
            self.run.window = [self.world.copy()]

        self.call("sleep", "", slept)

    def looks(self, guest: Guest, what: str) -> None:
        if not self.runs:
            return
        self._moment += 1
        self.run.looked_at[what, guest.uuid] = self.run.calls, self._moment

    def _begin(self, what: str, uuid: str, mac: str, *, live: bool) -> None:
        """Record that the run is about to change something."""
        run = self.run
        run.tried += 1
        if run.check:
            self.violate("check-mode", f"{what} {mac} in check mode")
        if live and run.params.get("live") == "none" and not self._is_owed(what, uuid, mac):
            self.violate("live-none", f"{what} {mac} with live: none")
        if run.refuse:
            run.refuse -= 1
            run.refused.append((what, uuid, mac))
            raise RefusedError(OPERATION_FAILED, f"internal error: libvirt refuses to {what}")

    def _is_owed(self, what: str, uuid: str, mac: str) -> bool:
        """Whether the run attaches, as the keeper would, what the guest has released for an earlier run."""
        gone = self.world.departures
        return what == "attach" and any(
            (one.uuid, one.mac) == (uuid, mac) and one.by != self.run.number for one in gone
        )

    def _do(self, what: str, uuid: str, mac: str, effect: t.Callable[[], t.Any]) -> None:
        try:
            effect()
        except RefusedError as exc:
            self.run.refused.append((what, uuid, mac))
            if exc.code == OPERATION_TIMEOUT:
                self.now += _SECONDS_UNTIL_A_JOB_IS_IN_THE_WAY
                # No client can know whether it was carried out.
                self.interrupted = True
            raise
        self.run.done.append((what, uuid, mac))
        self.run.window = [self.world.copy()]

    def _unseen(self, what: str, uuid: str, *, within: int = 1) -> bool:
        """Whether others have changed a domain since the run read this property, at most so many calls ago."""
        call, moment = self.run.looked_at.get((what, uuid), (-_ENDLESS, 0))
        return call >= self.run.calls - within and self.run.others_at.get(uuid, -1) > moment

    def defines(self, document: Document) -> None:
        uuid = document.uuid
        self._begin("define", uuid, "", live=False)
        guest = self.world.guests.get(uuid)
        run = self.run
        # Nothing can be read between two consecutive calls, and each call shows one of three properties.
        excused = self._unseen("stored", uuid)
        unseen = {what: self._unseen(what, uuid, within=_LOOKS) for what in ("persistent", "job")}
        gone = guest is None or guest.stored is None
        if excused or (gone and unseen["persistent"]):
            run.excused.add(uuid)
            self.diverged.add(document.name)
        if guest is None or guest.stored is None:
            if not (excused or unseen["persistent"]):
                self.violate("resurrected", f"{document.name} was undefined, and is defined again")
        elif not excused:
            self._check_edit(guest, document)
        if guest is not None and guest.job and not unseen["job"]:
            self.violate("job", f"{document.name} is stored while a job (migration, say) is under way")
        self._do("define", uuid, "", lambda: self.world.define(document))

    def _check_edit(self, guest: Guest, document: Document) -> None:
        """Compare what the run stores with the current stored state. Only what the run selects may differ."""
        if document.memory != guest.memory:
            self.violate("lost-update", f"{guest.name}: memory {guest.memory} becomes {document.memory} again")
        was, new = {nic.mac: nic for nic in guest.stored or ()}, {nic.mac: nic for nic in document.nics}
        for mac in {*was, *new}:
            if was.get(mac) != new.get(mac) and not self.run.scope.means(guest.uuid, mac):
                kind = "lost-update" if (guest.uuid, mac) in self.run.others_nics else "not-meant"
                self.violate(kind, f"{guest.name} {mac}: {was.get(mac)} becomes {new.get(mac)}, which nobody declared")

    def asks(self, guest: Guest, alias: str) -> None:
        run = self.run
        found = next((one for one in guest.live or () if one.nic.alias == alias), None)
        mac = found.nic.mac if found else ""
        self._begin("detach", guest.uuid, mac, live=True)
        allowed = run.scope.may_go(guest.uuid, mac) or (found is not None and found.by == run.number)
        if found is not None and not allowed and not self._unseen("live", guest.uuid):
            kind = "unasked-detach" if run.scope.means(guest.uuid, mac) else "not-meant"
            self.violate(kind, f"{guest.name} is asked for {mac}, which nobody declared to go")
        self._do("detach", guest.uuid, mac, lambda: self.world.ask(guest, alias, run.number))

    def attaches(self, guest: Guest, nic: Nic) -> None:
        self._begin("attach", guest.uuid, nic.mac, live=True)
        self._do("attach", guest.uuid, nic.mac, lambda: self.world.attach(guest, nic, self.run.number))

    def updates(self, guest: Guest, nic: Nic) -> None:
        self._begin("update", guest.uuid, nic.mac, live=True)
        self._do("update", guest.uuid, nic.mac, lambda: self.world.update(guest, nic))

    def saves(self, guest: Guest) -> None:
        self._begin("save", guest.uuid, "", live=True)
        self._do("save", guest.uuid, "", lambda: self.world.managed_save(guest))

    def restores(self, guest: Guest) -> None:
        # It is looked for right before.
        if not guest.running and not (guest.saved_by_run and guest.saved is not None) and not self._unsaved:
            self.violate("booted", f"{guest.name} was not saved by a run, and is started")
        self._do("restore", guest.uuid, "", lambda: self.world.restore(guest))

    def discards(self, guest: Guest) -> None:
        if not guest.running:
            self.violate("lost", f"the image of {guest.name} is removed, and it does not run")
        guest.saved = None

    def sets_mode(self, name: str, index: int, mac: str, mode: str) -> bool:
        """Set the mode of a link; return whether there is one."""
        self._begin("link", "", mac, live=True)
        found = self.world.set_link_mode(name, index, mode)
        if found:
            self.run.done.append(("link", "", mac))
            self.run.window = [self.world.copy()]
        return found
