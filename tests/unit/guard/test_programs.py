# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links' programs follow a change of guards: those of its NIC, whatever address a guest has given its link."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import changes, programs
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, GuestLink, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
OF_B = State(B, Guard(B), Guard(B), ("macvtap1",))


class Links:
    """The programs on links, by index."""

    def __init__(self, **policies: str) -> None:
        self.on = {int(index[1:]): policy for index, policy in policies.items()}

    def policy(self, index: int) -> str | None:
        return self.on.get(index)

    def put_on(self, index: int, policy: str) -> None:
        self.on[index] = policy

    def take_off(self, index: int) -> None:
        self.on.pop(index, None)

    def load(self, _policy: str) -> int:
        return os.open(os.devnull, os.O_RDONLY)


def follow(made: programs.Programs, step: Step[State], host: Host) -> list[Step[State]]:
    """Do what a run does, and return the step for each thing that was begun."""
    begun: list[Step[State]] = []
    for gone in (False, True):
        made.follow([step], host, begun.append, gone=gone)
    return begun


@pytest.mark.parametrize("after", [OF_B, State(B)], ids=["present", "absent"])
@pytest.mark.parametrize(
    ("guards", "recorded", "left"),
    [
        # A was not asked for, so its guard is not known here.
        ({A: State(A, links=("macvtap0",)), B: OF_B}, {}, {"macvtap0"}),
        ({A: State(A, Guard(A)), B: OF_B}, {"macvtap0": A}, {"macvtap0"}),
        # No guard has it but by its address.
        ({B: OF_B}, {}, set()),
    ],
    ids=["bound", "recorded", "address"],
)
def test_the_address_alone_is_no_reason_to_take_a_program_off(
    guards: dict[str, State], recorded: dict[str, str], left: set[str], after: State
) -> None:
    links = {"macvtap0": GuestLink("macvtap0", 7, B), "macvtap1": GuestLink("macvtap1", 8, B)}
    made, found = programs.Programs(), Links(i7="drop", i8="drop")
    made._links = t.cast("t.Any", found)
    follow(made, changes.step_between(OF_B, after), Host(guards, links, recorded=recorded))
    assert {name for name, one in links.items() if one.index in found.on} == left | {*after.links}


@pytest.mark.parametrize(("after", "left"), [(OF_B, {"macvtap0", "macvtap1"}), (State(B), set())])
def test_a_link_that_has_come_since_keeps_its_program_as_long_as_there_is_the_guard(
    after: State, left: set[str]
) -> None:
    links = {"macvtap0": GuestLink("macvtap0", 9, B), "macvtap1": GuestLink("macvtap1", 8, B)}
    made, found = programs.Programs(), Links(i9="drop", i8="drop")
    made._links = t.cast("t.Any", found)
    host = Host({B: OF_B}, links, new=frozenset({"macvtap0"}))
    follow(made, changes.step_between(OF_B, after), host)
    assert {name for name, one in links.items() if one.index in found.on} == left


@pytest.mark.parametrize(
    ("before", "after", "there", "left"),
    [
        # As a task does, and its undo.
        (replace(OF_B, unchecked=("macvtap1",)), OF_B, None, "drop"),
        (OF_B, replace(OF_B, unchecked=("macvtap1",)), "drop", None),
        (replace(OF_B, unchecked=("macvtap1",)), OF_B, "count", "drop"),
        # It lacks it before and after, and whatever it has instead is not this run's.
        (replace(OF_B, unchecked=("macvtap1",)), replace(OF_B, unchecked=("macvtap1",), stored=None), "count", "count"),
        (replace(OF_B, unchecked=("macvtap1",)), replace(OF_B, unchecked=("macvtap1",), stored=None), None, None),
        (OF_B, State(B), "drop", None),
        (replace(OF_B, stored=None), OF_B, "drop", "drop"),
    ],
)
def test_what_changes_is_begun_right_before(before: State, after: State, there: str | None, left: str | None) -> None:
    made, found = programs.Programs(), Links(**({"i8": there} if there else {}))
    made._links = t.cast("t.Any", found)
    step = changes.step_between(before, after)
    begun = follow(made, step, Host({B: before}, {"macvtap1": GuestLink("macvtap1", 8, B)}))
    assert found.on.get(8) == left
    assert begun == ([step] if left != there else [])


def test_what_was_taken_off_comes_back_with_the_guard() -> None:
    """Of a guard whose rules others have removed, the program is left on its link, and so is after the undo."""
    made, found = programs.Programs(), Links(i8="drop")
    made._links = t.cast("t.Any", found)
    host = Host({B: State(B, Guard(B))}, {"macvtap1": GuestLink("macvtap1", 8, B)})
    follow(made, changes.step_between(host.guards[B], State(B)), host)
    assert found.on == {}
    follow(made, changes.step_between(State(B), host.guards[B]), replace(host, guards={}))
    assert found.on == {8: "drop"}
