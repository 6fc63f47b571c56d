# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""VLAN links that guests, addresses and other links are on: they stay, or what goes with them is said."""

from __future__ import annotations

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
