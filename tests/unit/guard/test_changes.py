# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a step changes of a guard, and that its diff shows the same."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import changes, options, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    UNKNOWN,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step

A = "52:54:00:00:0a:01"
GUARD = Guard(A)
GUARDED = State(A, GUARD, GUARD, ("macvtap0",))


def shown(step: Step[State]) -> list[tuple[str, t.Any, t.Any]]:
    """Return what differs in a diff of both states."""
    before, after = step.before_view, step.after_view
    assert not isinstance(before, str)
    assert not isinstance(after, str)
    fields = {one.field: None for one in step.changes} | dict.fromkeys(after)
    return [(one, before.get(one), after[one]) for one in fields if before.get(one) != after[one]]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (replace(GUARDED, links=()), [("links", [], ["macvtap0"])]),
        (replace(GUARDED, stored=None), [("persistent", False, True)]),
        (replace(GUARDED, active=None, links=()), [("rules", "missing", "loaded"), ("links", [], ["macvtap0"])]),
        (replace(GUARDED, active=None, modified=True), [("rules", "modified", "loaded")]),
        (replace(GUARDED, active=Guard(A, rate=5)), [("rate", 5, 0)]),
        (replace(GUARDED, stored=Guard(A, rate=5)), [("persistent", "outdated", True)]),
        (replace(GUARDED, stored=Guard(A, policy=UNKNOWN, entry="{}")), [("persistent", "outdated", True)]),
        (replace(GUARDED, unchecked=("macvtap0",)), [("links", [], ["macvtap0"])]),
        (replace(GUARDED, outdated=True), [("rules", "outdated", "loaded")]),
    ],
)
def test_only_what_differs_changes(state: State, expected: list[t.Any]) -> None:
    host = Host({A: state}, {"macvtap0": GuestLink("macvtap0", 7, A)})
    (step,) = planner.plan([options.desired("", {"mac": A})], host).steps
    assert [(one.field, one.before, one.after) for one in step.changes] == expected
    assert step.after == GUARDED
    assert shown(step) == expected


def test_a_link_that_lacks_its_program_is_a_change_as_well() -> None:
    both = replace(GUARDED, links=("macvtap0", "macvtap1"), unchecked=("macvtap1",))
    step = changes.step_between(both, GUARDED)
    assert shown(step) == [("links", ["macvtap0", "macvtap1"], ["macvtap0"])]
    assert [(one.field, one.before, one.after) for one in step.changes] == shown(step)


def test_the_diff_of_a_guard_that_the_next_boot_would_load_otherwise() -> None:
    step = changes.step_between(replace(GUARDED, stored=Guard(A, rate=5)), GUARDED)
    (found,) = Plan((step,)).result(diff=True)["diff"]
    assert "\npersistent: outdated\n" in found["before"]
    assert found["after"] == found["before"].replace("outdated", "True")
    # It is one of the two states alone.
    assert "persistent: True" in changes_of(GUARDED)
    assert "persistent: False" in changes_of(replace(GUARDED, stored=None))


def changes_of(state: State) -> str:
    (found,) = Plan((changes.step_between(State(A), state),)).result(diff=True)["diff"]
    return str(found["after"])
