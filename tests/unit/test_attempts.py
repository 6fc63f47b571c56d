# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run starts over if another editor has changed meanwhile what it had read."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _attempts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import (
    KEPT,
    UNCHANGED,
    Change,
    Impact,
    Journal,
    Plan,
    Step,
)

CHANGE = Change("lan", "mode", "bridge", "vepa", Impact.CONFIG)
RESULT = Plan[str]((Step("lan", "old", "new", (CHANGE,)),)).result(diff=True)
NOTHING = Plan[str]().result(diff=True)


class Attempts:
    """Attempts that end as given, each with what it has begun. The next one takes over from the last."""

    def __init__(self, *ends: t.Any) -> None:
        self.ends = list(ends)
        self.journal: Journal[str] = Journal()

    def begin(self) -> Attempts:
        self.journal = Journal()
        return self

    def run(self) -> dict[str, t.Any]:
        end = self.ends.pop(0)
        if isinstance(end, dict):
            return end
        error, state, steps = end
        for step in steps:
            self.journal.record(step)
        error.state = state
        raise error


STEP = Step("lan", "old", "new", (CHANGE,))
STALE = (StaleError("changed"), UNCHANGED, ())


def test_it_starts_over_and_gives_up_after_three_attempts() -> None:
    assert _attempts.run(Attempts(STALE, STALE, RESULT).begin, keep=False, diff=True) == RESULT
    attempts = Attempts(STALE, STALE, STALE, RESULT)
    with pytest.raises(StaleError):
        _attempts.run(attempts.begin, keep=False, diff=True)
    assert attempts.ends == [RESULT]


@pytest.mark.parametrize(
    "end",
    [
        (MacvtapError("refused"), UNCHANGED, ()),
        # What is left of it would count as another editor's.
        (StaleError("changed"), "The rollback is incomplete", (STEP,)),
    ],
)
def test_other_failures_are_final(end: t.Any) -> None:
    attempts = Attempts(end, RESULT)
    with pytest.raises(MacvtapError) as failed:
        _attempts.run(attempts.begin, keep=False, diff=True)
    assert failed.value.state == end[1]
    assert attempts.ends == [RESULT]


def test_what_earlier_attempts_have_kept_is_returned_too() -> None:
    stale = (StaleError("changed"), KEPT, (STEP,))
    done = _attempts.run(Attempts(stale, NOTHING).begin, keep=True, diff=True)
    assert (done["changed"], len(done["changes"]), len(done["diff"])) == (True, 1, 1)
    with pytest.raises(MacvtapError) as failed:
        _attempts.run(Attempts(stale, (MacvtapError("refused"), UNCHANGED, ())).begin, keep=True, diff=True)
    assert failed.value.state == KEPT
