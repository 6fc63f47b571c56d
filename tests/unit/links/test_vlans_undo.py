# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a run that changed VLAN links puts back."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INCOMPLETE_GROUP,
    INDEX,
    MADE,
    REMOVED,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

from .planned import recorded
from .planned_vlans import ETH0, ON_IT, OURS, host, plan, refused, vlan


def test_the_way_back() -> None:
    wanted = [vlan(id=30), vlan(name="eth0.20", id=21, mtu=1300)]
    recreated, made = plan(wanted, OURS).steps
    journal = recorded((recreated, REMOVED), (made, MADE))
    new = replace(OURS, name="eth0.30", index=12, vlan_id=30)
    back = vlans.undo(journal, host(new), {}, Journal())
    assert [(c.target, c.before, c.after) for c in back.changes] == [
        ("eth0.30", "up", "absent"),
        ("eth0.20", "absent", "up"),
    ]
    # What it had from its parent it is to have from it again, so that it follows it again.
    assert back.steps[1].after == replace(OURS, mac=None, mtu=None)
    brought = recorded((back.steps[1], MADE), (back.steps[1], INDEX + "99"))
    again = vlans.undo(journal, host(replace(OURS, index=99)), {}, brought)
    assert not again.changed
    assert again.warnings == ("eth0.20: recreated during the rollback, with another index",)
    # Whoever has made it meanwhile, it is not this run's without its mark.
    assert not vlans.undo(recorded((made, MADE)), host(replace(new, alias="")), {}, Journal()).changed
    half_made = replace(new, alias="", group=INCOMPLETE_GROUP)
    assert vlans.undo(recorded((made, MADE)), host(half_made), {}, Journal()).changed


def test_a_changed_address_is_put_back_though_it_is_the_parents() -> None:
    (step,) = plan(vlan(mac="02:00:00:00:00:99"), OURS).steps
    there = host(replace(OURS, mac="02:00:00:00:00:99"))
    (change,) = vlans.undo(recorded((step, CHANGED)), there, {}, Journal()).changes
    assert (change.field, change.after) == ("mac", ETH0.mac)


def test_what_is_declared_on_a_vlan_that_is_recreated_is_recreated_with_it() -> None:
    outer, inner = replace(OURS, name="a", vlan_id=30), replace(OURS, name="q", index=12, vlan_id=7, parent="a")
    inner = replace(inner, parent_index=outer.index)
    wanted = [vlan(name="a", id=31), vlan(name="q", parent="a", id=7, path="vlans[4]")]
    planned = plan(wanted, outer, inner)
    assert [(step.target, step.recreates) for step in planned.steps] == [("a", True), ("q", True)]
    # What is on that one is cut off along with it.
    assert refused(wanted, outer, inner, replace(ON_IT, parent="q", parent_index=12)).startswith("vlans[4]: q is the p")
    back = vlans.undo(recorded(*((step, REMOVED) for step in planned.steps)), host(), {}, Journal())
    assert [step.target for step in back.steps] == ["a", "q"]
    assert refused([vlan(name="a", id=30, state="absent"), wanted[1]], outer, inner).startswith(
        "vlans[4].parent: a is dec"
    )
