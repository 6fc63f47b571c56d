# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What goes along with a guest's NICs, and what is written and removed for them."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options as guard_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import planner as guard_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import along, rule_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Along
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.rule_planner import DesiredRule, Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

A, B, C = (f"52:54:00:00:01:0{n}" for n in (1, 2, 3))


def iface(mac: str, **values: str) -> Iface:
    return Iface(mac, values={"source": "eth0", "mode": "bridge", **values})


def test_what_a_host_keeps_goes_along() -> None:
    stored = (iface(A, allmulticast="yes"), iface(B), iface(C))
    found = along.of(Domain("web1", stored=stored), [guard_planner.report(State(B, active=Guard(B, rate=10)))])
    assert [(one.mac, one.allmulticast, one.guard is not None) for one in found] == [(A, True, False), (B, False, True)]
    assert along.report(found[0]) == {"mac": A, "allmulticast": True, "guard": None}


def test_a_link_that_receives_all_until_its_guest_stops_counts() -> None:
    live = Domain("web1", running=True, stored=(iface(A),), live=(iface(A, allmulticast="yes"),))
    assert [one.mac for one in along.of(live, [])] == [A]
    # libvirt sets it itself, or it has no effect.
    for more in ({"trust_guest_rx_filters": "yes"}, {"mode": "passthrough"}):
        assert along.of(Domain("web1", stored=(iface(A, allmulticast="yes", **more),)), []) == ()


def test_a_guard_is_the_same_where_it_comes_to() -> None:
    guards = [
        Guard(A),
        Guard(A, policy="count", addresses=("192.0.2.1", "fe80::5054:ff:fe00:101"), peers=(B, "192.0.2.0/24")),
        Guard(A, addresses=("learned",), other_macs=True, dhcp_server=True, router_advertisements=True, rate=7),
        Guard(A, ethertypes=("any",), mirror_to="eth9"),
    ]
    for guard in guards:
        (one,) = along.of(Domain("web1", stored=(iface(A),)), [guard_planner.report(State(A, active=guard))])
        given = {"mac": A, "guard": one.guard}
        assert guard_options.declared("nics[0]", given).guard(A) == guard


def test_what_is_still_kept_for_a_guest_elsewhere_is_what_this_collection_has_put_there() -> None:
    # The other host says nothing of links.
    there = Domain("web1", running=True, stored=(iface(A), iface(B)), live=(iface(A), iface(B)))
    guards = [guard_planner.report(State(mac, active=Guard(mac, rate=10))) for mac in (A, C)]
    (guard, rule) = along.left(there, guards, frozenset({B, C}))
    assert (guard.mac, guard.allmulticast, (guard.guard or {})["rate"]) == (A, False, 10)
    assert rule == Along(B, allmulticast=True)
    assert along.left(there, [{**one, "rules": "modified"} for one in guards], frozenset()) == ()


def test_what_has_changed_since_it_was_given_is_named() -> None:
    kept = along.of(Domain("web1", stored=(iface(A, allmulticast="yes"),)), [])
    given = [along.report(one) for one in kept]
    assert along.differing(given, kept) == []
    assert along.differing([], kept) == along.differing(given, ()) == [A]
    assert along.differing([{**given[0], "guard": {"rate": 1}}], kept) == [A]


def planned(managed: t.Collection[str] | None, **desired: bool) -> list[tuple[str, bool, bool]]:
    macs = {"a": A, "b": B}
    rules = Rules(None if managed is None else frozenset(managed), "this host has no udev")
    plan = rule_planner.plan([DesiredRule("nics[0]", macs[name], on) for name, on in desired.items()], rules)
    return [(change.target, change.before, change.after) for change in plan.changes]


def test_rules_are_written_and_removed_once() -> None:
    assert planned([], a=True, b=False) == [(A, False, True)]
    assert planned([A, B], a=True, b=False) == [(B, True, False)]
    assert planned([A], a=True, b=False) == []


def test_a_host_without_udev_says_so() -> None:
    assert planned(None, a=True) == []
    (warning,) = rule_planner.plan([DesiredRule("nics[0]", A, True)], Rules(None, "this host has no udev")).warnings
    assert warning == f"links of {A} get no rule for all multicast: this host has no udev"
    assert rule_planner.plan([DesiredRule("nics[0]", A, False)], Rules(None, "none")).warnings == ()


def test_the_rules_of_a_nic_that_a_domain_has_stay() -> None:
    assert rule_planner.staying([A, B], Rules(frozenset(), macs={A: ("web1",), C: ("web2",)})) == {A: ("web1",)}


def test_a_rollback_puts_back_what_was_changed_and_nothing_else() -> None:
    desired = [DesiredRule("nics[0]", A, True), DesiredRule("nics[1]", B, False)]
    plan = rule_planner.plan(desired, Rules(frozenset({B})))
    journal: Journal[DesiredRule] = Journal()
    for step in plan.steps:
        journal.record(step)
    undone = rule_planner.undo(journal, Rules(frozenset({A})))
    assert [(change.target, change.after) for change in undone.changes] == [(A, False), (B, True)]
    # Others have put it back already.
    assert not rule_planner.undo(journal, Rules(frozenset({B}))).changed


def test_a_rule_that_was_edited_by_hand_stays() -> None:
    rules = Rules(frozenset({C}), modified=frozenset({A, B}))
    desired = [DesiredRule("nics[0]", A, True), DesiredRule("nics[1]", B, False), DesiredRule("nics[2]", C, False)]
    plan = rule_planner.plan(desired, rules)
    assert [change.target for change in plan.changes] == [C]
    (warning,) = plan.warnings
    assert warning.startswith(f"the udev rules of {A}, {B} were edited by hand, and stay as they are.")
    assert rule_planner.plan([DesiredRule("nics[0]", C, False)], rules).warnings == ()


def test_a_rollback_leaves_what_was_edited_since() -> None:
    journal: Journal[DesiredRule] = Journal()
    for step in rule_planner.plan(
        [DesiredRule("nics[0]", A, True), DesiredRule("nics[1]", B, False)], Rules(frozenset({B}))
    ).steps:
        journal.record(step)
    for edited in ({A}, {B}, {A, B}):
        undone = rule_planner.undo(journal, Rules(frozenset({A}) - edited, modified=frozenset(edited)))
        assert {change.target for change in undone.changes} == {A, B} - edited


def test_what_has_changed_on_the_way_is_merged_with_what_went_along() -> None:
    gone = [Along(A, allmulticast=True, guard={"rate": 1}), Along(B, allmulticast=True)]
    assert along.merged(gone, []) == tuple(gone)
    assert along.merged([], gone) == tuple(gone)
    # Without udev a host keeps no rule for its next start, and the running link has it all the same.
    assert along.merged(gone, [Along(A, guard={"rate": 2}), Along(C, guard={})]) == (
        Along(A, allmulticast=True, guard={"rate": 2}),
        Along(B, allmulticast=True),
        Along(C, guard={}),
    )
    # One that was removed has gone along.
    assert along.merged(gone, [Along(A, allmulticast=True)]) == tuple(gone)
