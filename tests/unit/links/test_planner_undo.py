# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a run that changed links puts back, and what others have done since, which stays."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INDEX,
    MADE,
    REFUSED,
    REMOVED,
    Link,
    Lost,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

from .planned import MAC, MT0, NEW0, host, mt0, new, recorded


def test_undo_goes_back_from_whatever_is_there() -> None:
    new_step, change_step = planner.plan([new(mac=MAC), mt0(mode="vepa", mtu=1400)], host(MT0)).steps[::-1]
    journal = recorded((change_step, CHANGED), (new_step, MADE))
    half_done = host(replace(MT0, mode="vepa"), replace(NEW0, index=13))
    back = planner.undo(journal, half_done, {}, Journal())
    assert [(s.target, [c.field for c in s.changes]) for s in back.steps] == [("new0", ["state"]), ("mt0", ["mode"])]
    assert not planner.undo(journal, host(MT0), {}, Journal()).changed


def test_what_others_do_meanwhile_is_not_put_back() -> None:
    (step,) = planner.plan([mt0(mode="vepa", altnames=frozenset({"a"}))], host(MT0)).steps
    theirs = replace(MT0, mode="private", mtu=1400, altnames=frozenset({"a", "b"}))
    back = planner.undo(recorded((step, CHANGED)), host(theirs), {}, Journal())
    assert [(c.field, c.after) for c in back.changes] == [("altnames", ["b"])]
    # By index, under whichever name.
    renamed = replace(MT0, name="renamed0", mode="vepa")
    back = planner.undo(recorded((step, CHANGED)), host(renamed), {}, Journal())
    assert [(c.target, c.field, c.after) for c in back.changes] == [("renamed0", "mode", "bridge")]
    assert "renamed it to renamed0" in back.warnings[0]
    # Another link of that name is another link.
    back = planner.undo(recorded((step, CHANGED)), host(replace(MT0, index=99, mode="vepa")), {}, Journal())
    assert (back.changes, len(back.warnings)) == ((), 1)


@pytest.mark.parametrize(
    ("there", "removed"),
    [
        (replace(NEW0, index=13), "new0"),
        (replace(NEW0, index=13, name="renamed0"), "renamed0"),
        (replace(NEW0, index=13, mac="02:00:00:00:00:78"), None),
        (replace(NEW0, index=13, kind="macvlan"), None),
        (replace(NEW0, index=13, parent="eth1", parent_index=3), None),
    ],
)
def test_undo_removes_what_this_run_has_made_and_no_other_link(there: Link, removed: str | None) -> None:
    (step,) = planner.plan([new(mac=MAC)], host()).steps
    back = planner.undo(recorded((step, MADE)), host(there), {}, Journal())
    assert [c.target for c in back.changes] == ([removed] if removed else [])
    # What the kernel has refused is not there by this run.
    assert not planner.undo(recorded((step, MADE), (step, MADE + REFUSED)), host(there), {}, Journal()).changed
    # Whose index is known needs no address.
    back = planner.undo(
        recorded((step, MADE), (step, INDEX + "13")), host(replace(NEW0, index=13, mac=None)), {}, Journal()
    )
    assert [c.target for c in back.changes] == ["new0"]


def test_what_was_removed_is_put_back_and_what_cannot_be_is_said() -> None:
    (step,) = planner.plan([mt0(state="absent")], host(MT0)).steps
    journal = recorded((step, REMOVED))
    child = Link("v7", 40, "vlan", "mt0", MT0.index)
    lost: dict[tuple[str | None, int], Lost] = {
        (None, MT0.index): Lost(("198.51.100.1/24", "the route to 10.0.0.0/8"), (child,))
    }
    brought: Journal[Link] = Journal()
    (back,) = planner.undo(journal, host(), lost, brought).steps
    assert (back.before, back.after) == (None, MT0)
    for action in (MADE, INDEX + "77"):
        brought.record(back, action)
    again = planner.undo(journal, host(replace(MT0, index=77)), lost, brought)
    assert not again.changed
    assert [re.sub("^mt0: ", "", text) for text in again.warnings] == [
        "recreated during the rollback, with another index and /dev/tapN",
        "its addresses and routes are lost: 198.51.100.1/24, the route to 10.0.0.0/8",
        "the links on it were removed with it: v7",
    ]
    # Not gone after all.
    assert not planner.undo(journal, host(MT0), lost, Journal()).changed


@pytest.mark.parametrize("was", [(), (MT0,)])
def test_what_this_run_has_made_stays_where_others_have_made_it_a_port_since(was: tuple[Link, ...]) -> None:
    (step,) = planner.plan([mt0(mode="passthru", parent="eth0")], host(*was)).steps
    made = replace(t.cast("Link", step.after), index=77, parent_index=2, master="br0")
    begun = [(step, REMOVED)] if was else []
    journal = recorded(*begun, (step, MADE), (step, INDEX + "77"))
    back = planner.undo(journal, host(made), {}, Journal())
    assert back.changes == ()
    assert back.warnings == ("mt0: made by this run, and made a port of br0 since then, so that it stays",)


@pytest.mark.parametrize("theirs", [replace(MT0, mac=MAC), MT0, replace(MT0, mode="passthru", up=False)])
def test_what_has_the_name_of_a_removed_link_by_now_is_left_alone_however_it_looks(theirs: Link) -> None:
    (step,) = planner.plan([mt0(state="absent")], host(MT0)).steps
    journal, there = recorded((step, REMOVED)), host(replace(theirs, index=77))
    (back,) = planner.undo(journal, host(), {}, Journal()).steps
    for brought in (Journal[Link](), recorded((back, MADE), (back, INDEX + "76"))):
        taken = planner.undo(journal, there, {}, brought)
        assert taken.changes == ()
        assert [re.sub("^mt0: ", "", text) for text in taken.warnings] == [
            "not restored: something else has created another link of this name meanwhile"
        ]
