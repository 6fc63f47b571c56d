# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How the changes of a plan are shown: in one line, and as a diff. Pure."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Step


def describe(changes: t.Sequence[Change]) -> str:
    """Return the first five ``changes`` in one line: ``mt0 mode: vepa → bridge, …``."""
    return describe_returned([change.as_dict() for change in changes[:5]], len(changes))


def describe_returned(changes: t.Sequence[t.Mapping[str, t.Any]], number: int | None = None) -> str:
    """As :func:`describe`, for changes as a module returns them; ``number`` is how many there are in all."""
    parts = [f"{c['target']} {c['field']}: {_plain(c['before'])} → {_plain(c['after'])}" for c in changes[:5]]
    more = (len(changes) if number is None else number) - len(parts)
    return ", ".join([*parts, *([f"and {more} more"] if more else [])])


def _plain(value: t.Any) -> str:
    return "none" if value is None else str(value)


def diff_of(step: Step[t.Any]) -> dict[str, t.Any]:
    """Return ``step`` as Ansible shows a difference."""
    summary = ", ".join(f"{c.field}: {_plain(c.before)} → {_plain(c.after)} ({c.impact.value})" for c in step.changes)
    # A step is named by what it is done to, and its changes by what a reader knows that as.
    targets = [change.target for change in step.changes]
    named = step.target if step.target in targets else targets[0]
    return {
        "before_header": named,
        "after_header": f"{named} {summary}",
        "before": _view_text(step.before_view),
        "after": _view_text(step.after_view),
    }


def _view_text(view: t.Mapping[str, t.Any] | str) -> str:
    if isinstance(view, str):
        return view if not view or view.endswith("\n") else view + "\n"
    return "".join(f"{name}: {_plain(value)}\n" for name, value in view.items())
