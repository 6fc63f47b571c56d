# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links' programs follow a change of guards: those of its NIC, whatever address a guest has given its link."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import changes, programs
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, GuestLink, Host, State

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
    made.follow([changes.step_between(OF_B, after)], Host(guards, links, recorded=recorded))
    assert {name for name, one in links.items() if one.index in found.on} == left | {*after.links}


@pytest.mark.parametrize(("after", "left"), [(OF_B, {"macvtap0", "macvtap1"}), (State(B), set())])
def test_a_link_that_has_come_since_keeps_its_program_as_long_as_there_is_the_guard(
    after: State, left: set[str]
) -> None:
    links = {"macvtap0": GuestLink("macvtap0", 9, B), "macvtap1": GuestLink("macvtap1", 8, B)}
    made, found = programs.Programs(), Links(i9="drop", i8="drop")
    made._links = t.cast("t.Any", found)
    host = Host({B: OF_B}, links, new=frozenset({"macvtap0"}))
    made.follow([changes.step_between(OF_B, after)], host)
    assert {name for name, one in links.items() if one.index in found.on} == left
