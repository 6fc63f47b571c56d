# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to change, and what that costs: the one Plan behind changed, diff and check mode.

Pure: no I/O, no Ansible, no netlink, no libvirt. Planners make Plans, adapters carry out their
steps, and :func:`converge` is the way that every module which changes something goes.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError

ThingT = t.TypeVar("ThingT")
HostT = t.TypeVar("HostT")


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
class Outcome(t.Generic[ThingT, HostT]):
    """What a run planned, and the host as it was last seen (in check mode: unchanged)."""

    plan: Plan[ThingT]
    host: HostT = field(repr=False)


def converge(  # noqa: PLR0913  # each is one stage of the way
    observe: t.Callable[[], HostT],
    plan: t.Callable[[HostT], Plan[ThingT]],
    apply: t.Callable[[t.Sequence[Step[ThingT]]], None],
    undo: t.Callable[[t.Sequence[Step[ThingT]], HostT], Plan[ThingT]],
    *,
    check_mode: bool,
    roll_back: bool = True,
) -> Outcome[ThingT, HostT]:
    """Make the host as planned, all or nothing (or, without ``roll_back``, as far as it goes).

    ``apply`` may fail at any step. Then the host is observed anew and ``undo(steps, host)`` plans the
    way back from what is really there to what the steps started from, so that a step that was half
    done is put back too.

    :raises MacvtapError: the host is not as planned. The message ends with whether what was there
        before has been put back.
    """
    before = observe()
    planned = plan(before)
    if check_mode or not planned.changed:
        return Outcome(planned, before)
    try:
        apply(planned.steps)
        after = observe()
        left = plan(after)
        if left.changed:
            raise MacvtapError(f"done, but reading back shows otherwise: {describe(left.changes)}")
    except MissingLibraryError:
        # An adapter loads what it needs before it does anything.
        raise
    except BaseException as exc:
        # Not only MacvtapError: an interrupt in the middle must not leave half of a batch behind.
        state = (
            _put_back(observe, apply, undo, planned.steps)
            if roll_back
            else "What could be done has been kept, as asked for"
        )
        if isinstance(exc, MacvtapError):
            # Of the same class: whoever called tells by it what can be tried again.
            raise type(exc)(f"{exc.message}. {state}", path=exc.path, **exc.details) from exc
        if isinstance(exc, Exception):
            # A defect of ours; whoever meets it is to know what has become of the host all the same.
            raise RuntimeError(f"{type(exc).__name__}: {exc}. {state}") from exc
        raise
    return Outcome(planned, after)


def _put_back(
    observe: t.Callable[[], HostT],
    apply: t.Callable[[t.Sequence[Step[ThingT]]], None],
    undo: t.Callable[[t.Sequence[Step[ThingT]], HostT], Plan[ThingT]],
    steps: t.Sequence[Step[ThingT]],
) -> str:
    try:
        apply(undo(steps, observe()).steps)
        left = undo(steps, observe()).changes
    except MacvtapError as exc:
        return f"Putting back what was there failed as well: {exc}"
    except Exception as exc:  # pylint: disable=broad-except  # what it came from is not to be lost over it
        return f"Putting back what was there failed as well: {type(exc).__name__}: {exc}"
    if left:
        return f"Not everything could be put back: {describe(left)}"
    return "The host is as it was before"


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
