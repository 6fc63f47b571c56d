# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The undo of guards whose guests start and stop while the run fails."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    Binding,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
COUNT, DROP = Guard(A, policy="count"), Guard(A)
LINK, LATER = GuestLink("macvtap0", 7, A), GuestLink("macvtap1", 9, A)
# The same name and another link: libvirt takes the first that is free.
REUSED = GuestLink("macvtap0", 9, A)
BOTH = (planner.RULES, planner.STORE)


def host_with(state: State, *links: GuestLink, others: t.Sequence[State] = (), bindings: t.Any = ()) -> Host:
    return Host({one.mac: one for one in (state, *others)}, {one.name: one for one in links}, bindings)


def journal_of(before: Host, begun: t.Sequence[str] = BOTH, **entry: t.Any) -> Journal[State]:
    """Return the journal of a run for A's guard that has planned on ``before``, and has begun so much."""
    (step,) = planner.plan([options.desired("", {"mac": A, **entry})], before).steps
    journal: Journal[State] = Journal()
    for action in begun:
        journal.record(step, action)
    return journal


def undone(journal: Journal[State], now: Host, *, around: bool = False) -> State:
    """Return A's guard after the undo, which has no warnings, and leaves nothing to do."""
    undo = planner.undo_around if around else planner.undo
    how = {"completed": False} if around else {}
    planned = undo(journal, now, **how)
    assert planned.warnings == ()
    after = planner.predicted(planned, now).get(A, State(A))
    again = undo(journal, replace(now, guards={**now.guards, A: after}), **how)
    assert (again.changes, again.warnings) == ((), ())
    return after


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize(
    "links", [[LINK], [], [LATER], [REUSED], [LINK, LATER]], ids=["same", "stopped", "restarted", "reused", "second"]
)
def test_the_earlier_guard_comes_back_whatever_links_there_are(links: list[GuestLink], around: bool) -> None:
    before = State(A, COUNT, COUNT, ("macvtap0",))
    names = tuple(one.name for one in links)
    journal = journal_of(host_with(before, LINK))
    now = host_with(State(A, DROP, DROP, names), *links)
    assert undone(journal, now, around=around) == State(A, COUNT, COUNT, names)
    # The file could not be written.
    now = host_with(State(A, COUNT, DROP, names), *links)
    assert undone(journal, now, around=around) == State(A, COUNT, COUNT, names)


@pytest.mark.parametrize("around", [False, True])
def test_a_guest_that_starts_gets_the_guard_that_was_stored_before(around: bool) -> None:
    """Of its chain nothing was left before the run, as after a flush; what starts it loads the file's."""
    before = State(A, COUNT)
    journal = journal_of(host_with(before))
    assert undone(journal, host_with(State(A, DROP, DROP)), around=around) == before
    now = host_with(State(A, DROP, DROP, ("macvtap1",)), LATER)
    assert undone(journal, now, around=around) == State(A, COUNT, COUNT, ("macvtap1",))


@pytest.mark.parametrize("links", [[LINK], [], [LATER], [REUSED]], ids=["same", "stopped", "restarted", "reused"])
def test_a_first_guard_goes_as_a_whole(links: list[GuestLink]) -> None:
    journal = journal_of(host_with(State(A), LINK))
    now = host_with(State(A, DROP, DROP, tuple(one.name for one in links)), *links)
    assert undone(journal, now) == State(A)


@pytest.mark.parametrize("link", [LATER, REUSED])
def test_a_first_guard_stays_on_a_link_that_has_come_with_the_nic(link: GuestLink) -> None:
    journal = journal_of(host_with(State(A), LINK))
    planned = planner.undo_around(journal, host_with(State(A, DROP, DROP, (link.name,)), link), completed=False)
    assert planned.warnings == (f"the guard of {A} stays as it is now, because the NIC is still there",)
    assert not planned.changed


def test_a_closed_link_gets_the_earlier_guard() -> None:
    journal = journal_of(host_with(State(A, COUNT, COUNT)))
    closed = Binding("macvtap1", A, None, intact=False, closed=True)
    now = host_with(State(A, DROP, DROP), LATER, bindings=(closed,))
    assert undone(journal, now, around=True) == State(A, COUNT, COUNT)


@pytest.mark.parametrize(
    ("links", "others", "back"),
    [
        ([LINK], [], ("macvtap0",)),
        ([], [], ()),
        # Another guest has got the name, and it may have a guard of its own or not.
        ([replace(REUSED, mac=B)], [], ()),
        ([replace(LINK, mac=B)], [State(B, Guard(B), Guard(B), ("macvtap0",))], ()),
    ],
    ids=["same", "stopped", "reused", "of another"],
)
def test_a_removed_guard_comes_back_to_no_other_link(
    links: list[GuestLink], others: list[State], back: tuple[str, ...]
) -> None:
    before = State(A, COUNT, COUNT, ("macvtap0",))
    journal = journal_of(host_with(before, LINK), state="absent")
    assert undone(journal, host_with(State(A), *links, others=others)) == State(A, COUNT, COUNT, back)


@pytest.mark.parametrize("links", [[LATER], [REUSED], [LATER, LINK]], ids=["restarted", "reused", "second"])
@pytest.mark.parametrize(
    ("before", "begun", "active"),
    [
        (State(A, COUNT, COUNT, ("macvtap0",)), BOTH, COUNT),
        # The guest was stopped when the run began.
        (State(A, COUNT, COUNT), BOTH, COUNT),
        # Or nftables was flushed, so that there was no rule to remove. Then it had no guard, if it was running.
        (State(A, COUNT), [planner.STORE], COUNT),
        (State(A, COUNT), BOTH, COUNT),
        (State(A, None, COUNT, ("macvtap0",)), [planner.RULES], COUNT),
    ],
    ids=["running", "stopped", "flushed", "flushed, removed", "not stored"],
)
def test_a_removed_guard_comes_back_to_a_guest_that_has_started_meanwhile(
    before: State, begun: t.Sequence[str], active: Guard, links: list[GuestLink]
) -> None:
    journal = journal_of(host_with(before, *([LINK] if LINK in links or before.links else [])), begun, state="absent")
    back = tuple(sorted(one.name for one in links if one is not LINK or before.links))
    assert undone(journal, host_with(State(A), *links)) == State(A, before.stored, active, back)
    # It is another guest's by now, or not of this guard any more.
    taken = [State(B, Guard(B), Guard(B), tuple(one.name for one in links))]
    nothing = State(A, before.stored, before.active)
    assert undone(journal, host_with(State(A), *links, others=taken)) == nothing
    assert undone(journal, host_with(State(A), *(replace(one, mac=B) for one in links if one is not LINK))) == nothing


def test_a_guard_that_was_not_removed_comes_to_no_link_by_the_undo() -> None:
    before = State(A, COUNT)
    journal = journal_of(host_with(before), [], state="absent")
    assert undone(journal, host_with(before, LATER)) == before


def test_only_links_that_the_run_has_added_are_taken_back() -> None:
    journal = journal_of(host_with(State(A, DROP, DROP), LINK), begun=[planner.RULES])
    now = host_with(State(A, DROP, DROP, ("macvtap0", "macvtap1")), LINK, LATER)
    assert undone(journal, now) == State(A, DROP, DROP, ("macvtap1",))


def test_rules_that_others_have_changed_are_said_whatever_the_links() -> None:
    journal = journal_of(host_with(State(A, COUNT, COUNT, ("macvtap0",)), LINK))
    now = host_with(State(A, DROP, Guard(A, rate=9)), LATER)
    planned = planner.undo(journal, now)
    assert planned.warnings == (f"the guard of {A} is not as it was, because others have changed it as well",)
    assert planner.predicted(planned, now)[A] == State(A, COUNT, Guard(A, rate=9))
