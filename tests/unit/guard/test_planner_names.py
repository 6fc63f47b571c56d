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


@pytest.mark.parametrize("address", [B, "52:54:00:ff:ff:ff"])
def test_a_record_is_of_a_guard_that_is_planned_as_it_will_be_of_one_that_is_there(address: str) -> None:
    """Of a guard that nftables had until it was flushed. Its guest has given its link another address."""
    links = {**LINKS, "macvtap0": GuestLink("macvtap0", 7, address)}
    host = Host({}, links, recorded={"macvtap0": A})
    entries = [options.desired("guards[0]", {"mac": mac}) for mac in (B, A)]
    planned = planner.plan(entries, host)
    assert [step.after.links for step in planned.steps if step.after] == [("macvtap1",), ("macvtap0",)]
    assert not planner.plan(entries, replace(host, guards=planner.predicted(planned, host))).changed
    # A guard that is neither there nor planned has no link, and neither has one that is to go.
    for others in ([], [options.desired("guards[1]", {"mac": A, "state": "absent"})]):
        (step,) = planner.plan([entries[0], *others], host).steps
        assert step.after is not None
        assert step.after.links == (("macvtap0", "macvtap1") if address == B else ("macvtap1",))


def test_a_record_outlives_only_a_guard_that_is_declared_absent_and_is() -> None:
    host = Host({A: GUARDED}, LINKS, recorded={"macvtap0": A, "macvtap1": B, "gone0": B})
    assert model.outlived(host, {A, B}) == {("macvtap1", 8): None}
    assert model.outlived(host, {A}) == {}
    assert model.outlived(host, ()) == {}


def test_a_guard_that_goes_is_known_by_its_address_from_the_first_look_on() -> None:
    """Of a link that is gone nothing is left but the chain, which goes with the guard."""
    absent = options.desired("guards[0]", {"link": "macvtap0", "state": "absent"})
    host = Host({A: GUARDED}, {}, (model.Binding("macvtap0", A, 7),))
    found = planner.resolved(absent, host)
    assert (found.mac, found.link, found.path) == (A, None, "guards[0]")
    assert planner.plan([found], host).changed
    assert not planner.plan([found], Host({}, {})).changed
    present = options.desired("guards[0]", {"link": "macvtap0"})
    assert planner.resolved(present, host) is present
