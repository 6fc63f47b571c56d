# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans of guards where links have come, or have got the names of others, since the host was first looked at."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import changes, model, options, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, GuestLink, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
LINKS = {"macvtap0": GuestLink("macvtap0", 7, A), "macvtap1": GuestLink("macvtap1", 8, B)}
GUARD = Guard(A)
GUARDED = State(A, GUARD, GUARD, ("macvtap0",))


def plan(host: Host) -> t.Any:
    """Plan the guard of a NIC whose link is macvtap0, as libvirt has said."""
    return planner.plan([options.desired("guards[0]", {"mac": A})], host, {"guards[0]": "macvtap0"})


def test_a_domain_has_no_link_any_more_whose_name_another_has_got() -> None:
    """When libvirt was asked, the guest had not stopped yet."""
    links = {"macvtap0": GuestLink("macvtap0", 9, "52:54:00:ff:ff:ff")}
    host = Host({A: replace(GUARDED, links=())}, links, new=frozenset({"macvtap0"}))
    assert plan(host).changed is False
    # Whatever has come since is known by its chain, its record or its address.
    host = replace(host, links={"macvtap0": GuestLink("macvtap0", 9, A)})
    assert plan(host).steps[0].after.links == ("macvtap0",)


def test_a_link_is_another_if_its_index_is() -> None:
    former = LINKS
    links = {"macvtap0": GuestLink("macvtap0", 9, A), "macvtap1": LINKS["macvtap1"], "macvtap2": LINKS["macvtap0"]}
    assert model.new(former, links) == {"macvtap0", "macvtap2"}
    assert {*model.still(former, links)} == {"macvtap1", "macvtap2"}
    assert {*model.still(former, {})} == set()


@pytest.mark.parametrize(
    ("state", "new", "left"),
    [
        (replace(GUARDED, links=()), None, False),
        (replace(GUARDED, links=()), ["macvtap0"], False),
        # It was there before, and has not got its guard.
        (replace(GUARDED, links=()), [], True),
        (replace(GUARDED, unchecked=("macvtap0",)), ["macvtap1"], True),
        (replace(GUARDED, links=("macvtap0", "macvtap1")), ["macvtap0"], True),
        (replace(GUARDED, links=(), active=Guard(A, rate=5)), ["macvtap0"], True),
    ],
)
def test_only_links_that_have_come_since_are_left_out(state: State, new: t.Any, left: bool) -> None:
    planned = Plan((changes.step_between(state, GUARDED),))
    assert planned.changed
    assert planner.without_new_links(planned, new).changed is left
