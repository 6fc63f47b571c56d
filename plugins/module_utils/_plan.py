# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to change, and what that costs: the one Plan behind changed, diff and check mode.

Pure: no I/O, no Ansible, no netlink, no libvirt. Planners make Plans, adapters carry out their
steps, and :func:`converge` is the way that every module which changes something goes.
"""

from __future__ import annotations

import contextlib
import enum
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted, defer, resume

ThingT = t.TypeVar("ThingT")
HostT = t.TypeVar("HostT")
AnswersT = t.TypeVar("AnswersT")

UNCHANGED = "The host is as it was before"
KEPT = "What could be done has been kept, as asked for"


class Impact(str, enum.Enum):
    """What a change costs whoever uses the thing that changes."""

    NONE = "none"
    # links
    IN_PLACE = "in_place"
    RECREATE = "recreate"
    # domains
    CONFIG = "config"
    LIVE = "live"
    REPLUG = "replug"
    RESTART = "restart"


@dataclass(frozen=True)
class Change:
    """One field of one target: plain values before and after, None where there was or will be nothing."""

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
    """The changes of one target, done together.

    ``before`` and ``after`` are the whole thing, None where it does not exist: what an adapter needs to
    do the step, and to put back what was there. The views are what a diff shows of them: a mapping of
    fields, or a text (an XML element).
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
    """Steps in the order in which they are done; a step with no changes is none."""

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
        """Return ``changed``, ``changes`` and, if asked for, ``diff`` as a module returns them."""
        result: dict[str, t.Any] = {"changed": self.changed, "changes": [c.as_dict() for c in self.changes]}
        if diff:
            result["diff"] = [_diff_of(step) for step in self.steps]
        return result


@dataclass(frozen=True)
class Entry(t.Generic[ThingT]):
    """One thing that was begun: the step that it belongs to, and the adapter's word for it ("" is the whole step)."""

    step: Step[ThingT]
    action: str = ""


class Journal(t.Generic[ThingT]):
    """What a run has begun so far, in order. Undo goes by it alone: what it does not have, others have done.

    An adapter records each thing right before it asks for it, since a request that fails, or is cut short by a
    signal, may have been carried out all the same. Several threads may record at once.
    """

    def __init__(self) -> None:
        self._entries: list[Entry[ThingT]] = []

    def record(self, step: Step[ThingT], action: str = "") -> None:
        self._entries.append(Entry(step, action))

    @property
    def entries(self) -> tuple[Entry[ThingT], ...]:
        return tuple(self._entries)

    @property
    def steps(self) -> tuple[Step[ThingT], ...]:
        """Each step of which anything was begun, once, in the order of the first."""
        return tuple({id(entry.step): entry.step for entry in self._entries}.values())

    def has(self, step: Step[ThingT], action: str = "") -> bool:
        """Whether ``action`` of this very step was begun."""
        return any(entry.step is step and entry.action == action for entry in self._entries)


@dataclass(frozen=True)
class Outcome(t.Generic[ThingT, HostT]):
    """What a run planned, and the host as it was last seen (in check mode: unchanged)."""

    plan: Plan[ThingT]
    host: HostT = field(repr=False)


_carried_out: list[list[Plan[t.Any]]] = []


@contextlib.contextmanager
def recording() -> t.Iterator[list[Plan[t.Any]]]:
    """Collect what :func:`converge` has carried out whole, for whatever ends the run after that."""
    plans: list[Plan[t.Any]] = []
    _carried_out.append(plans)
    try:
        yield plans
    finally:
        _carried_out.pop()


def converge(  # noqa: PLR0913  # each is one stage of the way
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
    """Make the host as planned, all or nothing (or, without ``roll_back``, as far as it goes).

    ``inquire`` asks the outside (a switch, who holds a tap, a validator), once and before anything is planned;
    ``plan`` is pure and is given the answers. ``apply`` records in the journal what it begins, and may fail at any
    step. Then the host is observed anew and ``undo(journal, host)`` plans the inverse of what was begun, and of
    nothing else, against what is there now; ``revert`` carries that out, and goes on where one thing cannot be put
    back. ``verify`` says what is left to do once all is done, by the identity that was planned for; left out, it is
    the plan made again. No signal interrupts the putting back.

    :raises MacvtapError: the host is not as planned. The message ends with whether what this run changed has been put
        back.
    :raises Interrupted: a signal asked to stop, and what this run changed has been put back as far as its ``state``
        says.

    No signal interrupts what comes after it either, which is to say how the run went, unless that is another run.
    """
    resume()
    before = observe()
    answers = t.cast("AnswersT", inquire(before) if inquire else None)
    planned = plan(before, answers)
    if check_mode or not planned.changed:
        return Outcome(planned, before)
    journal: Journal[ThingT] = Journal()
    record: list[Plan[t.Any]] = _carried_out[-1] if _carried_out else []
    try:
        apply(planned.steps, journal)
        after = observe()
        left = verify(planned, after, answers) if verify else plan(after, answers)
        if left.changed:
            raise MacvtapError(f"done, but reading back shows otherwise: {describe(left.changes)}")
        # What comes later finds all done, and what comes earlier puts it back.
        defer()
        record.append(planned)
    except BaseException as exc:
        # Not only MacvtapError: an interrupt in the middle must not leave half of a batch behind.
        record[:] = [one for one in record if one is not planned]

        def settle() -> str:
            defer()
            if not journal.entries:
                return UNCHANGED
            if not roll_back:
                return KEPT
            return _put_back(observe, undo, revert or (lambda steps: apply(steps, Journal())), journal)

        try:
            state = settle()
        except Interrupted:
            # Right before signals were deferred. They raise once only.
            state = settle()
        _tell(exc, state)
        raise
    return Outcome(planned, after)


def _tell(exc: BaseException, state: str) -> None:
    """Have ``exc`` say what has become of the host.

    :raises RuntimeError: ``exc`` is a defect of ours; whoever meets it is to know that all the same.
    """
    if isinstance(exc, MissingLibraryError):
        # Found out before anything was begun: its text is Ansible's, and says how to mend it.
        return
    if isinstance(exc, (MacvtapError, Interrupted)):
        exc.state = state
    elif isinstance(exc, Exception):
        raise RuntimeError(f"{type(exc).__name__}: {exc}. {state}") from exc


def _put_back(
    observe: t.Callable[[], HostT],
    undo: t.Callable[[Journal[ThingT], HostT], Plan[ThingT]],
    revert: t.Callable[[t.Sequence[Step[ThingT]]], None],
    journal: Journal[ThingT],
) -> str:
    failed = ""
    try:
        try:
            revert(undo(journal, observe()).steps)
        except MacvtapError as exc:
            failed = str(exc)
        left = undo(journal, observe())
    except Exception as exc:  # pylint: disable=broad-except  # what it came from is not to be lost over it
        failed = failed or (str(exc) if isinstance(exc, MacvtapError) else f"{type(exc).__name__}: {exc}")
        return f"Putting back what was there failed as well: {failed}"
    if not left.changes and not left.warnings:
        # Whatever went wrong on the way: a connection may be lost right after the request was carried out.
        return UNCHANGED
    said = [f"Putting back what was there failed as well: {failed}"] if failed else []
    if left.changes:
        said.append(f"Not everything could be put back: {describe(left.changes)}")
    elif left.warnings and not failed:
        said.append("All has been put back as far as possible")
    return ". ".join([*said, *left.warnings])


def describe(changes: t.Sequence[Change]) -> str:
    """Say ``changes`` in a line: ``mt0 mode: vepa → bridge, …``, the first five of them."""
    said = [f"{c.target} {c.field}: {_plain(c.before)} → {_plain(c.after)}" for c in changes[:5]]
    if len(changes) > 5:
        said.append(f"and {len(changes) - 5} more")
    return ", ".join(said)


def _plain(value: t.Any) -> str:
    return "none" if value is None else str(value)


def _diff_of(step: Step[t.Any]) -> dict[str, t.Any]:
    summary = ", ".join(f"{c.field}: {_plain(c.before)} → {_plain(c.after)} ({c.impact.value})" for c in step.changes)
    return {
        "before_header": step.target,
        "after_header": f"{step.target} {summary}",
        "before": _view_text(step.before_view),
        "after": _view_text(step.after_view),
    }


def _view_text(view: t.Mapping[str, t.Any] | str) -> str:
    if isinstance(view, str):
        return view if not view or view.endswith("\n") else view + "\n"
    return "".join(f"{name}: {_plain(value)}\n" for name, value in view.items())
