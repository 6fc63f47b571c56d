# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""VLAN links that guests, addresses and other links are on: they stay, or what goes with them is said."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_validate, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INDEX, MADE, Holder, Holders, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS, DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal

from .planned_vlans import ON_IT, OURS, changes, host, plan, refused, vlan


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


def test_a_vlan_on_one_that_is_declared_absent() -> None:
    text = refused([vlan(state="absent"), vlan(parent="eth0.20", id=5, path="vlans[4]")], OURS)
    assert text.startswith("vlans[4].parent: eth0.20 is declared absent, in vlans[3], which would remove")


def test_a_vxlan_goes_with_the_vlan_that_it_is_under() -> None:
    vxlan = Link("vx0", 30, "vxlan", under=OURS.index)
    assert "is the parent of vx0" in refused(vlan(state="absent"), OURS, vxlan)


FOREIGN = replace(IN_IT, alias=None)
MOVED = vlan(name="eth0.20", id=21)


def inner(**fields: t.Any) -> DesiredVlan:
    return vlan(parent="eth0.20", id=7, path="vlans[4]", **fields)


@pytest.mark.parametrize("on_it", [inner(), inner(name="inner"), inner(mtu=1400), inner(state="absent")])
def test_what_something_else_has_made_is_in_the_way_though_it_is_declared(on_it: DesiredVlan) -> None:
    for declared in ([MOVED, on_it], [on_it, MOVED]):
        assert refused(declared, OURS, FOREIGN).startswith("vlans[3]: eth0.20 is the parent of inner; recreating it")


def test_what_something_else_has_made_goes_by_force_and_the_plan_says_so() -> None:
    moved = ("eth0.20", "id", 20, 21, Impact.RECREATE)
    recreated = ("inner", "parent", "eth0.20", "eth0.20", Impact.RECREATE)
    managed = ("inner", "alias", None, OWNER_ALIAS, Impact.IN_PLACE)
    assert changes([MOVED, inner()], OURS, FOREIGN, force=True) == [moved, recreated, managed]
    # And as it is declared: else the run would find that it is not.
    planned = plan([MOVED, inner(mtu=1400)], OURS, FOREIGN, force=True)
    assert ("inner", "mtu", 1500, 1400) in [(c.target, c.field, c.before, c.after) for c in planned.changes]
    assert planned.warnings == ()
    (made,) = [step.after for step in planned.steps if step.target == "inner" and step.after is not None]
    assert (made.alias, made.mtu, made.parent) == (OWNER_ALIAS, 1400, "eth0.20")
    planned = plan([MOVED, inner(state="absent")], OURS, FOREIGN, force=True)
    assert [(c.target, c.after) for c in planned.changes] == [("eth0.20", 21), ("inner", "absent")]
    assert planned.warnings == ()
    # Of our own making, it is recreated as ever.
    assert changes([MOVED, inner(name="inner")], OURS, IN_IT) == [moved, recreated]


def test_what_something_else_has_made_is_named_if_all_is_to_go() -> None:
    gone = vlan(state="absent")
    where = "vlans[4].parent: eth0.20 is declared absent, in vlans[3], which would remove inner too"
    theirs = f"{where}, which is not managed by this collection. Remove inner first"
    assert refused([gone, inner(state="absent")], OURS, FOREIGN) == f"{theirs}, or set force: true"
    assert [c.target for c in plan([gone, inner(state="absent")], OURS, FOREIGN, force=True).changes] == [
        "eth0.20",
        "inner",
    ]
    for force in (False, True):
        # By force it would be removed, and is to be there.
        assert refused([gone, inner()], OURS, FOREIGN, force=force) == theirs
        ours = refused([gone, inner(name="inner")], OURS, IN_IT, force=force)
        assert ours == f"{where}. Declare inner absent as well, or use another parent"
