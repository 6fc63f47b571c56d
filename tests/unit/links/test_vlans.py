# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The planner of VLAN links: what changes how, what is refused, and what is left alone, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner, vlan_validate, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INCOMPLETE_GROUP,
    INDEX,
    MADE,
    REMOVED,
    DesiredLink,
    Holder,
    Holders,
    Link,
    Links,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import (
    OWNER_ALIAS,
    DesiredVlan,
    report,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal, Plan

LO = Link("lo", 1, mac="00:00:00:00:00:00", mtu=65536, up=True, hardware=772, loopback=True)
ETH0 = Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True, altnames=frozenset({"trunk"}))
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1400, up=True)
BOND = Link("bond0", 4, "bond", mac="02:00:00:00:00:04", mtu=1500, up=True)
PORT = Link("port0", 5, mac="02:00:00:00:00:04", mtu=1500, up=True, master="bond0")
DOWN = Link("eth2", 6, mac="02:00:00:00:00:06", mtu=1500)
OURS = Link("eth0.20", 10, "vlan", "eth0", 2, mac=ETH0.mac, mtu=1500, up=True, alias=OWNER_ALIAS, vlan_id=20)
OURS = replace(OURS, vlan_protocol="802.1Q")
THEIRS = replace(OURS, name="mgmt", index=11, vlan_id=15, alias="")
ON_IT = Link("mt0", 20, "macvtap", "eth0.20", 10, "bridge", "02:00:00:00:00:20", 1500, up=True)


def host(*more: Link) -> Links:
    return {link.name: link for link in (LO, ETH0, ETH1, BOND, PORT, DOWN, *more)}


def vlan(**fields: t.Any) -> DesiredVlan:
    return DesiredVlan(**{"parent": "eth0", "id": 20, "path": "vlans[3]", **fields})


def plan(wanted: DesiredVlan | t.Sequence[DesiredVlan], *more: Link, **how: t.Any) -> Plan[Link]:
    return vlans.plan([wanted] if isinstance(wanted, DesiredVlan) else wanted, host(*more), **how)


def changes(wanted: DesiredVlan | t.Sequence[DesiredVlan], *more: Link, **how: t.Any) -> list[t.Any]:
    return [(c.target, c.field, c.before, c.after, c.impact) for c in plan(wanted, *more, **how).changes]


def refused(wanted: DesiredVlan | t.Sequence[DesiredVlan], *more: Link, **how: t.Any) -> str:
    with pytest.raises(MacvtapError) as caught:
        plan(wanted, *more, **how)
    return str(caught.value)


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


@pytest.mark.parametrize("wanted", [vlan(name="eth0.20", id=21), vlan(state="absent")])
@pytest.mark.parametrize(
    ("more", "use"),
    [
        ([OURS, ON_IT], r"eth0.20 is the parent of mt0;"),
        ([OURS, replace(ON_IT, kind="vlan", name="eth0.20.7")], r"eth0.20 is the parent of eth0.20.7;"),
        ([replace(OURS, master="br0")], r"eth0.20 is a port of br0;"),
    ],
)
def test_what_is_in_use_stays(wanted: DesiredVlan, more: list[Link], use: str) -> None:
    text = refused(wanted, *more)
    assert text.startswith(f"vlans[3]: {use}")
    assert text.endswith("Remove that first, or set force: true")
    assert plan(wanted, *more, force=True).changed


GUEST = Holder(77, "qemu-system-x86_64", "web1")
IN_IT = replace(OURS, name="inner", index=12, parent="eth0.20", parent_index=10, vlan_id=7)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("more", "held", "use"),
    [
        ([ON_IT], Holders((GUEST,)), "pid 77 (qemu-system-x86_64, libvirt domain web1) holds the tap of mt0 open"),
        ([ON_IT], Holders(doubt="no /proc"), "whether a process holds the tap of mt0 open is unknown: no /proc"),
        # On a VLAN on it.
        ([IN_IT, replace(ON_IT, parent="inner", parent_index=12)], Holders((GUEST,)), "pid 77 (qemu"),
        # Whose other ports have guests that nobody sees here.
        ([replace(OURS, master="br0")], Holders(), "it is a port of br0"),
        ([ON_IT], Holders(), ""),
        ([replace(ON_IT, parent="eth0", parent_index=2)], Holders((GUEST,)), ""),
    ],
)
def test_what_guests_are_on_is_not_set_down(more: list[Link], held: Holders, use: str, force: bool) -> None:
    links = host(OURS, *more)
    planned = vlans.plan([vlan(state="down")], links)
    assert planned.changed
    if force or not use:
        vlan_validate.check_guests(planned, links, {"mt0": held}, force=force)
        return
    with pytest.raises(MacvtapError) as caught:
        vlan_validate.check_guests(planned, links, {"mt0": held}, force=False)
    text = str(caught.value)
    assert text.startswith(f"vlans[3]: setting eth0.20 down would disconnect what is on it: {use}")
    assert text.endswith("Fix that first, or set force: true")


def test_what_has_come_onto_a_link_since_then_stays_and_so_does_the_link() -> None:
    """In the run itself, even by force, and on the way back."""
    planned = plan(vlan(state="absent"), OURS, ON_IT, force=True)
    assert vlan_validate.arrived(planned.steps, host(OURS, ON_IT)) == {}
    new = replace(ON_IT, name="mt1", index=21)
    refused = vlan_validate.arrived(planned.steps, host(OURS, ON_IT, new))
    assert str(refused["eth0.20"]) == "vlans[3]: eth0.20 became the parent of mt1 after this task started; left alone"
    made = Journal[Link]()
    (step,) = plan(vlan()).steps
    made.record(step, MADE)
    made.record(step, f"{INDEX}10")
    back = vlans.undo(made, host(OURS, ON_IT), {}, Journal()).steps
    assert set(vlan_validate.arrived(back, host(OURS, ON_IT))) == {"eth0.20"}
    # What goes back along with it, as this run has made both.
    (inner,) = vlans.plan([vlan(parent="eth0.20", id=7, name="inner")], host(OURS)).steps
    made.record(inner, MADE)
    made.record(inner, f"{INDEX}12")
    back = vlans.undo(made, host(OURS, replace(IN_IT, alias=OWNER_ALIAS)), {}, Journal()).steps
    assert vlan_validate.arrived(back, host(OURS, IN_IT)) == {}


def test_by_force_what_is_on_it_is_said_to_go() -> None:
    assert changes(vlan(state="absent"), OURS, ON_IT, force=True) == [
        ("eth0.20", "state", "up", "absent", Impact.NONE),
        ("mt0", "state", "up", "absent", Impact.NONE),
    ]


def test_what_goes_in_the_same_task_is_not_in_the_way() -> None:
    inner = replace(OURS, name="inner", index=12, parent="eth0.20", parent_index=10, vlan_id=7)
    both = [vlan(state="absent"), vlan(parent="eth0.20", id=7, state="absent")]
    assert [change[0] for change in changes(both, OURS, inner)] == ["eth0.20", "inner"]


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


def recorded(*entries: tuple[t.Any, str]) -> Journal[Link]:
    journal: Journal[Link] = Journal()
    for step, action in entries:
        journal.record(step, action)
    return journal


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


def test_a_vlan_on_one_that_is_declared_absent() -> None:
    text = refused([vlan(state="absent"), vlan(parent="eth0.20", id=5, path="vlans[4]")], OURS)
    assert text.startswith("vlans[4].parent: eth0.20 is declared absent, in vlans[3], which would remove")


def test_what_a_killed_run_has_left_without_its_mark_is_finished() -> None:
    half_made = replace(OURS, alias="", group=INCOMPLETE_GROUP)
    (step,) = plan(vlan(), half_made).steps
    assert step.after is not None
    assert (step.after.alias, step.after.group) == (OWNER_ALIAS, 0)
    assert plan(vlan(state="absent"), half_made).steps[0].removes
    assert not plan(vlan(), replace(OURS, group=INCOMPLETE_GROUP)).changed


def test_a_vxlan_goes_with_the_vlan_that_it_is_under() -> None:
    vxlan = Link("vx0", 30, "vxlan", under=OURS.index)
    assert "is the parent of vx0" in refused(vlan(state="absent"), OURS, vxlan)


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
