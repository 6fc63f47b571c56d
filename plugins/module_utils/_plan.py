# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The Plan: what changes and what that costs. Return value ``changed``, diff and check mode all come from it.

Pure: no I/O, no Ansible, no netlink, no libvirt. Planners make Plans and adapters carry out their steps. Every module
that changes something runs :func:`converge`.
"""

from __future__ import annotations

import contextlib
import enum
import threading
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._diff import describe, diff_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted, defer, resume

ThingT = t.TypeVar("ThingT")
HostT = t.TypeVar("HostT")
AnswersT = t.TypeVar("AnswersT")

UNCHANGED = "The host is as it was before"
KEPT = "The changes made so far were kept, as requested"


class Impact(str, enum.Enum):
    """What a change costs the users of the link or domain that changes."""

    NONE = "none"
    # links and guards
    IN_PLACE = "in_place"
    RECREATE = "recreate"
    # domains
    CONFIG = "config"
    LIVE = "live"
    PAUSE = "pause"
    REPLUG = "replug"
    RESTART = "restart"
    # guests that move
    MIGRATE = "migrate"


@dataclass(frozen=True)
class Change:
    """One field of one target, with plain values before and after; None means absent."""

    target: str
    field: str
    before: t.Any
    after: t.Any
    impact: Impact

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "target": self.target,
            "field": self.field,
            "before": self.before,
            "after": self.after,
            "impact": self.impact.value,
        }


@dataclass(frozen=True)
class Step(t.Generic[ThingT]):
    """The changes of one target, carried out together.

    ``before`` and ``after`` are the complete objects, None where the target does not exist. An adapter needs them to
    carry out the step and to undo it. The views are what a diff shows: a mapping of fields, or a text (an XML element).
    """

    target: str
    before: ThingT | None
    after: ThingT | None
    changes: tuple[Change, ...]
    before_view: t.Mapping[str, t.Any] | str = ""
    after_view: t.Mapping[str, t.Any] | str = ""
    path: str = ""

    @property
    def recreates(self) -> bool:
        return any(change.impact is Impact.RECREATE for change in self.changes)

    @property
    def removes(self) -> bool:
        return self.before is not None and self.after is None


@dataclass(frozen=True)
class Plan(t.Generic[ThingT]):
    """Steps in the order of execution. Steps without changes are dropped."""

    steps: tuple[Step[ThingT], ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(step for step in self.steps if step.changes))

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(change for step in self.steps for change in step.changes)

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    def result(self, *, diff: bool) -> dict[str, t.Any]:
        """Return ``changed``, ``changes`` and, on request, ``diff`` as a module returns them."""
        result: dict[str, t.Any] = {"changed": self.changed, "changes": [c.as_dict() for c in self.changes]}
        if diff:
            result["diff"] = [diff_of(step) for step in self.steps]
        return result


@dataclass(frozen=True)
class Entry(t.Generic[ThingT]):
    """One action that was begun: its step, and the adapter's name for the action ("" means the whole step)."""

    step: Step[ThingT]
    action: str = ""


class Journal(t.Generic[ThingT]):
    """What a run has begun so far, in order. Undo reverts these actions only: anything else was done by others.

    An adapter records each action right before it sends the request. A request that fails, or is interrupted by a
    signal, may have been carried out nevertheless. Several threads may record at once.
    """

    def __init__(self) -> None:
        self._entries: list[Entry[ThingT]] = []
        self._lock = threading.Lock()

    def record(self, step: Step[ThingT], action: str = "") -> None:
        with self._lock:
            self._entries.append(Entry(step, action))

    def withdraw(self, step: Step[ThingT], action: str = "") -> None:
        """Forget the last record of an action, because it was certainly not carried out."""
        with self._lock:
            for place in reversed(range(len(self._entries))):
                if self._entries[place].step is step and self._entries[place].action == action:
                    del self._entries[place]
                    return

    @property
    def entries(self) -> tuple[Entry[ThingT], ...]:
        return tuple(self._entries)

    @property
    def steps(self) -> tuple[Step[ThingT], ...]:
        """Every step that was begun, once each, in the order in which they were begun."""
        return tuple({id(entry.step): entry.step for entry in self._entries}.values())

    def contains(self, step: Step[ThingT], action: str = "") -> bool:
        """Whether ``action`` of this very step was begun."""
        return any(entry.step is step and entry.action == action for entry in self._entries)


@dataclass(frozen=True)
class Outcome(t.Generic[ThingT, HostT]):
    """What a run planned, the host as last observed, and what of the plan was not carried out: all in check mode."""

    plan: Plan[ThingT]
    host: HostT = field(repr=False)
    remaining: Plan[ThingT] = field(default_factory=Plan, repr=False)
    # What ``inquire`` returned.
    answers: t.Any = field(default=None, repr=False)


_recorders: list[list[Plan[t.Any]]] = []


@contextlib.contextmanager
def recording() -> t.Iterator[list[Plan[t.Any]]]:
    """Collect the plans that :func:`converge` completes, so that a later failure of the run can report them."""
    completed: list[Plan[t.Any]] = []
    _recorders.append(completed)
    try:
        yield completed
    finally:
        _recorders.pop()


def converge(  # noqa: PLR0913  # each argument is one stage
    observe: t.Callable[[], HostT],
    plan: t.Callable[[HostT, AnswersT], Plan[ThingT]],
    apply: t.Callable[[t.Sequence[Step[ThingT]], Journal[ThingT]], None],
    undo: t.Callable[[Journal[ThingT], HostT], Plan[ThingT]],
    *,
    check_mode: bool,
    roll_back: bool = True,
    inquire: t.Callable[[HostT], AnswersT] | None = None,
    verify: t.Callable[[Plan[ThingT], HostT, AnswersT], Plan[ThingT]] | None = None,
    revert: t.Callable[[t.Sequence[Step[ThingT]]], None] | None = None,
) -> Outcome[ThingT, HostT]:
    """Bring the host to the planned state, all or nothing (or, without ``roll_back``, as far as possible).

    ``inquire`` asks outside parties (a switch, the holders of a tap, a validator) once, before anything is planned.
    ``plan`` is pure and receives the answers. ``apply`` records in the journal what it begins, and may fail at any
    step. After a failure the host is observed again. ``undo(journal, host)`` then plans the inverse of what was begun,
    and of nothing else, against the current state. ``revert`` carries that out and continues past what cannot be
    undone. ``verify`` returns what remains to be done afterwards, by the identity that was planned for. Its default
    is to plan again. No signal interrupts the rollback.

    :raises MacvtapError: the host is not as planned. The message ends with the result of the rollback.
    :raises Interrupted: a signal stopped the run. Its ``state`` is the result of the rollback.

    Signals stay deferred after the return, while the module reports its result. The next run resumes them.
    """
    resume()
    before = observe()
    answers = t.cast("AnswersT", inquire(before) if inquire else None)
    planned = plan(before, answers)
    if check_mode or not planned.changed:
        return Outcome(planned, before, planned, answers)
    journal: Journal[ThingT] = Journal()
    completed: list[Plan[t.Any]] = _recorders[-1] if _recorders else []
    try:
        apply(planned.steps, journal)
        after = observe()
        remaining = verify(planned, after, answers) if verify else plan(after, answers)
        if remaining.changed:
            raise MacvtapError(f"the change was made, but the host still differs: {describe(remaining.changes)}")
        # A signal before this point rolls back; one after it finds the run completed.
        defer()
        completed.append(planned)
    except BaseException as exc:
        # Not only MacvtapError: an interrupt must not leave half of a batch behind.
        completed[:] = [one for one in completed if one is not planned]

        def recover() -> str:
            defer()
            if not journal.entries:
                return UNCHANGED
            if not roll_back:
                return KEPT
            return _roll_back(observe, undo, revert or (lambda steps: apply(steps, Journal())), journal)

        try:
            state = recover()
        except Interrupted:
            # The signal came right before signals were deferred. They raise only once.
            state = recover()
        # An earlier part of the run stays, of which the module tells: so it is not as it was before.
        _add_state(exc, "" if state == UNCHANGED and completed else state)
        raise
    return Outcome(planned, after, answers=answers)


def _add_state(exc: BaseException, state: str) -> None:
    """Add to ``exc`` in which state the host is now.

    :raises RuntimeError: ``exc`` is a defect of this collection; its message has the state, too.
    """
    if isinstance(exc, MissingLibraryError):
        # Raised before anything was begun. Ansible's own text says how to fix it.
        return
    if isinstance(exc, (MacvtapError, Interrupted)):
        # A run within this one has said already what it has left.
        inner = [exc.state] if exc.state not in ("", UNCHANGED, state) else []
        exc.state = ". ".join([*inner, *([state] if state and (not inner or state != UNCHANGED) else [])])
    elif isinstance(exc, Exception):
        raise RuntimeError(". ".join(filter(None, [f"{type(exc).__name__}: {exc}", state]))) from exc


def _roll_back(
    observe: t.Callable[[], HostT],
    undo: t.Callable[[Journal[ThingT], HostT], Plan[ThingT]],
    revert: t.Callable[[t.Sequence[Step[ThingT]]], None],
    journal: Journal[ThingT],
) -> str:
    failed, tried = "", set[str]()
    try:
        steps = undo(journal, observe()).steps
        while True:
            try:
                revert(steps)
            except MacvtapError as exc:
                failed = failed or str(exc)
            tried = {*tried, *(step.target for step in steps)}
            remaining = undo(journal, observe())
            # What was still there when the host was observed may have gone right after that.
            steps = tuple(step for step in remaining.steps if step.target not in tried)
            if not steps:
                break
    except Exception as exc:  # pylint: disable=broad-except  # the first error must not be lost over it
        failed = failed or (str(exc) if isinstance(exc, MacvtapError) else f"{type(exc).__name__}: {exc}")
        return f"The rollback failed as well: {failed}"
    if not remaining.changes and not remaining.warnings:
        # Even if a step failed: a connection may be lost right after the request was carried out.
        return UNCHANGED
    sentences = [f"The rollback failed as well: {failed}"] if failed else []
    if remaining.changes:
        sentences.append(f"The rollback is incomplete: {describe(remaining.changes)}")
    elif remaining.warnings and not failed:
        sentences.append("The run was rolled back as far as possible")
    return ". ".join([*sentences, *remaining.warnings])
