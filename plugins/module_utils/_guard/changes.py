# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a step changes of a guard, field by field, and how a guard is shown. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step


def step_between(before: State, planned: State) -> Step[State]:
    """Return the step from one state of a guard to another."""
    changes = tuple(_changes(before, planned))
    former, later = view(before), view(planned)
    if isinstance(former, dict) and isinstance(later, dict):
        # A diff shows each change: whether the next boot would load something else is no field of a state.
        former.update({one.field: one.before for one in changes if one.field in former})
        later.update({one.field: one.after for one in changes if one.field in later})
    return Step(planned.mac, before, planned, changes, former, later)


def _changes(before: State, planned: State) -> t.Iterator[Change]:
    def change(field: str, old: t.Any, new: t.Any) -> Change:
        # The NIC has the address too, and stays when its guard goes.
        return Change(f"guard of {planned.mac}", field, old, new, Impact.IN_PLACE)

    current, wished = _options(before), _options(planned)
    if before.exists != planned.exists:
        yield change("state", *("present" if one.exists else "absent" for one in (before, planned)))
    elif planned.exists:
        yield from (change(key, current.get(key), wished[key]) for key in wished if current.get(key) != wished[key])
    if before.exists and planned.exists:
        if loaded(before) != loaded(planned):
            yield change("rules", loaded(before), loaded(planned))
        is_kept, is_to_be = (one.stored is not None for one in (before, planned))
        if is_kept != is_to_be:
            yield change("persistent", is_kept, is_to_be)
        elif before.stored != planned.stored and current == wished:
            # What differs is only what the next boot would load.
            yield change("persistent", "outdated", True)
        if before.guarded != planned.guarded:
            yield change("links", before.guarded, planned.guarded)
        elif before.links != planned.links:
            # They differ in links that lack something.
            yield change("links", list(before.links), list(planned.links))


def _options(state: State) -> dict[str, t.Any]:
    guard = state.active or state.stored
    return guard.options if guard is not None else {}


def loaded(state: State) -> str:
    """Return in a word what the kernel has of a guard's rules."""
    if state.modified or state.active is None:
        return "modified" if state.modified else "missing"
    return "outdated" if state.outdated else "loaded"


def view(state: State) -> dict[str, t.Any] | str:
    """Return a state as a diff shows it."""
    if not state.exists:
        return ""
    return {
        **_options(state),
        "links": state.guarded,
        "persistent": state.stored is not None,
        "rules": loaded(state),
    }
