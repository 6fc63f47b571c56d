# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The planner of VLAN links: what changes how, what is refused, and what is left alone, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import (
    OWNER_ALIAS,
    DesiredVlan,
    report,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan

from .planned_vlans import BOND, ETH0, ETH1, ON_IT, OURS, THEIRS, changes, host, plan, refused, vlan


@pytest.mark.parametrize("parent", ["eth0", "trunk", "02:00:00:00:00:02"])
def test_a_new_link_is_one_change(parent: str) -> None:
    planned = plan(vlan(parent=parent))
    assert [(c.target, c.before, c.after) for c in planned.changes] == [("eth0.20", "absent", "up")]
    assert report(predicted(planned, host())["eth0.20"]) == {
        "name": "eth0.20",
        "ifindex": None,
        "parent": "eth0",
        "id": 20,
        "protocol": "802.1Q",
        "mac": None,
        "mtu": None,
        "state": "up",
        "ours": True,
    }


@pytest.mark.parametrize(
    "wanted",
    [
        vlan(),
        vlan(state="present"),
        vlan(name="eth0.20", mac=OURS.mac, mtu=1500),
        vlan(id=21, state="absent"),
        vlan(parent="gone0", state="absent"),
        vlan(protocol="802.1ad", state="absent"),
        vlan(name="office", state="absent"),
    ],
)
def test_what_is_as_declared_is_left_alone(wanted: DesiredVlan) -> None:
    assert changes(wanted, OURS, ON_IT) == []


@pytest.mark.parametrize(
    ("wanted", "change"),
    [
        (vlan(mtu=1400), ("eth0.20", "mtu", 1500, 1400, Impact.IN_PLACE)),
        (vlan(mac="02:00:00:00:00:99"), ("eth0.20", "mac", ETH0.mac, "02:00:00:00:00:99", Impact.IN_PLACE)),
        (vlan(state="down"), ("eth0.20", "state", "up", "down", Impact.IN_PLACE)),
        (vlan(state="absent"), ("eth0.20", "state", "up", "absent", Impact.NONE)),
        (vlan(name="eth0.20", id=21), ("eth0.20", "id", 20, 21, Impact.RECREATE)),
        (vlan(name="eth0.20", parent="eth1"), ("eth0.20", "parent", "eth0", "eth1", Impact.RECREATE)),
        (vlan(protocol="802.1ad"), ("eth0.20", "protocol", "802.1Q", "802.1ad", Impact.RECREATE)),
    ],
)
def test_each_field_says_what_its_change_costs(wanted: DesiredVlan, change: t.Any) -> None:
    assert changes(wanted, OURS) == [change]


def test_made_anew_it_has_from_its_new_parent_what_it_had_from_the_old() -> None:
    (step,) = plan(vlan(name="eth0.20", parent="eth1"), OURS).steps
    assert step.after == replace(OURS, parent="eth1", parent_index=3, mac=None, mtu=None)
    own = replace(OURS, mac="02:00:00:00:00:99", mtu=1300)
    (step,) = plan(vlan(name="eth0.20", parent="eth1"), own).steps
    assert step.after == replace(own, parent="eth1", parent_index=3)


def test_what_something_else_has_made_is_used_as_it_is() -> None:
    links = host(THEIRS)
    for wanted in (vlan(id=15), vlan(id=15, name="mgmt"), vlan(id=15, state="present")):
        assert plan(wanted, THEIRS) == Plan()
        assert vlans.current(wanted, links) == THEIRS
    assert report(THEIRS)["ours"] is False
    planned = plan(vlan(id=15, mtu=1400, state="down"), THEIRS)
    assert not planned.changed
    assert planned.warnings == (
        "mgmt: its mtu is 1500, not 1400, its state is up, not down; it is not managed by this collection (its alias "
        "is not linuxvirt.macvtap) and is left unchanged",
    )


def test_what_something_else_has_made_is_not_removed() -> None:
    planned = plan(vlan(id=15, state="absent"), THEIRS, force=True)
    assert not planned.changed
    assert planned.warnings[0].startswith("mgmt: not removed; ")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (vlan(parent="eth9"), "vlans[3].parent: there is no link eth9 on this host"),
        (vlan(parent="lo"), "vlans[3].parent: lo is the loopback link; a VLAN requires an Ethernet link"),
        (vlan(parent="port0"), "vlans[3].parent: port0 is a port of the bond bond0"),
        (
            vlan(parent="mt0"),
            "vlans[3].parent: mt0 is a macvtap link, whose frames go to the process that",
        ),
        (vlan(parent="eth2"), "vlans[3].state: the parent eth2 is down"),
        (vlan(parent="eth1", mtu=1500), "vlans[3].mtu: 1500 exceeds the MTU of the parent eth1 (1400)"),
        (vlan(name="office"), "vlans[3].name: VLAN 20 of eth0 already exists as eth0.20"),
        (vlan(id=15, name="eth0.15"), "vlans[3].name: VLAN 15 of eth0 already exists as mgmt"),
        (vlan(id=21, name="mgmt"), "vlans[3].name: mgmt already exists and is VLAN 15 of eth0, which is not"),
        (vlan(id=21, name="mt0"), "vlans[3].name: mt0 already exists and is a macvtap link, not a VLAN link"),
        (vlan(id=21, name="trunk"), "vlans[3].name: trunk is already a name of the link eth0"),
    ],
)
def test_what_the_kernel_would_refuse(wanted: DesiredVlan, message: str) -> None:
    assert refused(wanted, OURS, THEIRS, ON_IT).startswith(message)


@pytest.mark.parametrize("parent", [BOND, replace(BOND, name="br0", kind="bridge"), replace(OURS, vlan_id=7)])
def test_a_vlan_may_be_on_a_bond_a_bridge_and_a_vlan(parent: Link) -> None:
    assert plan(vlan(parent=parent.name), parent).changed


def test_on_a_link_that_is_down_it_may_wait() -> None:
    assert plan(vlan(parent="eth2", state="present")).changed


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (vlan(parent="trunk", path="vlans[4]"), "vlans[4].id: VLAN 20 of eth0 is declared twice, here and in vlans[3]"),
        (
            vlan(id=30, name="eth0.20", path="vlans[4]"),
            "vlans[4].name: eth0.20 is declared twice, here and in vlans[3]",
        ),
        (
            vlan(parent="eth0.20", path="vlans[4]"),
            "vlans[4].parent: eth0.20 is only created by vlans[3]. Create it in an earlier task",
        ),
    ],
)
def test_declarations_that_do_not_go_together(other: DesiredVlan, message: str) -> None:
    assert refused([vlan(), other]) == message


def test_two_may_swap_their_numbers() -> None:
    other = replace(OURS, name="eth0.30", index=12, vlan_id=30)
    wanted = [vlan(name="eth0.20", id=30), vlan(name="eth0.30", id=20)]
    assert [(c[0], c[2], c[3]) for c in changes(wanted, OURS, other)] == [("eth0.20", 20, 30), ("eth0.30", 30, 20)]


def test_what_a_killed_run_has_left_without_its_mark_is_finished() -> None:
    half_made = replace(OURS, alias="", group=INCOMPLETE_GROUP)
    (step,) = plan(vlan(), half_made).steps
    assert step.after is not None
    assert (step.after.alias, step.after.group) == (OWNER_ALIAS, 0)
    assert plan(vlan(state="absent"), half_made).steps[0].removes
    assert not plan(vlan(), replace(OURS, group=INCOMPLETE_GROUP)).changed


def test_on_a_port_of_a_bridge_a_vlan_has_its_frames_first() -> None:
    bridge = Link("br0", 30, "bridge", mac=ETH1.mac, mtu=1500, up=True)
    port = replace(ETH1, master="br0")
    planned = plan(vlan(parent="eth1"), bridge, port)
    assert planned.changed
    text = "eth1.20: eth1 is a port of br0. Frames of VLAN 20 that arrive there go to eth1.20, no longer to br0"
    assert planned.warnings == (text,)
    made = replace(OURS, name="eth1.20", parent="eth1", parent_index=3)
    assert plan(vlan(parent="eth1"), bridge, port, made).warnings == ()
    assert refused(vlan(parent="port0")).endswith("Use bond0 instead")


@pytest.mark.parametrize(("has", "warned"), [(None, False), (frozenset({1}), True), (frozenset({1, 20}), False)])
def test_a_bridge_that_filters_vlans_is_a_member_of_its_own(has: frozenset[int] | None, warned: bool) -> None:
    bridge = Link("br0", 30, "bridge", mac=ETH1.mac, mtu=1500, up=True, bridge_vlans=has)
    warnings = plan(vlan(parent="br0"), bridge).warnings
    assert [text.partition("Run: ")[2] for text in warnings] == ["bridge vlan add dev br0 vid 20 self"] * warned


def test_a_macvtap_link_may_be_on_a_vlan_and_its_parent_still_be_said_by_its_address() -> None:
    links = host(OURS)
    on_vlan = planner.plan([DesiredLink("mt1", parent="eth0.20", mode="bridge")], links).steps[0].after
    on_parent = planner.plan([DesiredLink("mt1", parent=str(ETH0.mac), mode="bridge")], links).steps[0].after
    assert on_vlan is not None
    assert on_parent is not None
    assert (on_vlan.parent, on_parent.parent) == ("eth0.20", "eth0")
    veth = {**links, "eth0": replace(ETH0, kind="veth")}
    assert planner.plan([DesiredLink("mt1", parent=str(ETH0.mac), mode="bridge")], veth).steps[0].after == on_parent
