# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The planner of links: what changes how, and what is refused, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Links, Tap, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

LO = Link("lo", 1, mac="00:00:00:00:00:00", mtu=65536, up=True, hardware=772, loopback=True)
ETH0 = Link("eth0", 2, "veth", mac="02:00:00:00:00:02", mtu=1500, up=True)
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=9000, up=True)
BR0 = Link("br0", 4, "bridge", mac="02:00:00:00:00:04", mtu=1500)
PORT = Link("port0", 5, "veth", mac="02:00:00:00:00:05", mtu=1500, master="br0")
TUN = Link("tun0", 6, "tun", mtu=1500, hardware=65534)
TAP = Tap("/dev/tap10", (245, 1), (245, 1), "root", "root", 0o600)
MT0 = Link("mt0", 10, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:10", 1500, up=True, group=7, alias="web", tap=TAP)
PASS = Link("pt0", 11, "macvtap", "eth1", 3, "passthru", ETH1.mac, 9000, up=True)


def host(*more: Link) -> Links:
    return {link.name: link for link in (LO, ETH0, ETH1, BR0, PORT, TUN, *more)}


def new(**fields: t.Any) -> Wanted:
    return Wanted(**{"name": "new0", "path": "links[3]", "parent": "eth0", "mode": "bridge", **fields})


def mt0(**fields: t.Any) -> Wanted:
    return Wanted("mt0", "links[3]", **fields)


def changes(wanted: Wanted, *more: Link) -> list[tuple[str, t.Any, t.Any, Impact]]:
    return [(c.field, c.before, c.after, c.impact) for c in planner.plan([wanted], host(*more)).changes]


def test_a_new_link_is_one_change() -> None:
    assert changes(new()) == [("state", "absent", "up", Impact.NONE)]
    assert changes(new(state="present")) == [("state", "absent", "down", Impact.NONE)]


@pytest.mark.parametrize("wanted", [new(state="absent"), mt0(state="absent")])
def test_what_is_not_there_need_not_be_removed(wanted: Wanted) -> None:
    assert changes(wanted) == []


def test_removal() -> None:
    assert changes(mt0(state="absent"), MT0) == [("state", "up", "absent", Impact.NONE)]


@pytest.mark.parametrize(
    "wanted",
    [
        mt0(),
        mt0(state="present"),
        mt0(parent="eth0", mode="bridge", mac=MT0.mac, mtu=1500),
        mt0(tap_owner="root", tap_group="root", tap_mode=0o600),
    ],
)
def test_what_is_as_declared_is_left_alone(wanted: Wanted) -> None:
    assert changes(wanted, MT0) == []


@pytest.mark.parametrize(
    ("wanted", "change"),
    [
        (mt0(mode="vepa"), ("mode", "bridge", "vepa", Impact.IN_PLACE)),
        (mt0(mode="private"), ("mode", "bridge", "private", Impact.IN_PLACE)),
        (mt0(mtu=1400), ("mtu", 1500, 1400, Impact.IN_PLACE)),
        (mt0(mac="02:00:00:00:00:11"), ("mac", MT0.mac, "02:00:00:00:00:11", Impact.IN_PLACE)),
        (mt0(state="down"), ("state", "up", "down", Impact.IN_PLACE)),
        (mt0(tap_group="kvm"), ("tap.group", "root", "kvm", Impact.IN_PLACE)),
        (mt0(tap_mode=0o660), ("tap.mode", "0600", "0660", Impact.IN_PLACE)),
        (mt0(parent="eth1"), ("parent", "eth0", "eth1", Impact.RECREATE)),
    ],
)
def test_each_field_says_what_its_change_costs(wanted: Wanted, change: t.Any) -> None:
    assert changes(wanted, MT0) == [change]


def test_into_passthru_needs_a_new_link_with_the_parents_address() -> None:
    assert changes(mt0(mode="passthru"), MT0) == [
        ("mode", "bridge", "passthru", Impact.RECREATE),
        ("mac", MT0.mac, ETH0.mac, Impact.IN_PLACE),
    ]


def test_out_of_passthru_the_parents_address_is_given_up() -> None:
    (step,) = planner.plan([Wanted("pt0", mode="bridge")], host(PASS)).steps
    assert step.recreates
    assert step.after is not None
    assert step.after.mac is None


def test_a_recreated_link_keeps_what_is_not_declared() -> None:
    (step,) = planner.plan([mt0(parent="eth1")], host(MT0)).steps
    assert step.after == replace(MT0, parent="eth1", parent_index=3)


def test_removals_come_first_and_new_links_last() -> None:
    old = replace(MT0, name="old0", index=12, mac="02:00:00:00:00:12")
    wanted = [new(mac=old.mac), mt0(mode="vepa"), Wanted("old0", state="absent")]
    assert [step.target for step in planner.plan(wanted, host(MT0, old)).steps] == ["old0", "mt0", "new0"]


def test_new_links_without_a_mode_get_one_warning() -> None:
    wanted = [Wanted(f"new{n}", parent="eth0") for n in range(8)]
    (warning,) = planner.plan(wanted, host()).warnings
    assert "new0, new1, new2, new3, new4 and 3 more" in warning
    assert "vepa" in warning
    assert planner.plan([mt0()], host(MT0)).warnings == ()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (new(parent=None), r"links\[3\]\.parent: the link new0 does not exist, and to make it its parent"),
        (new(parent="eth9"), r"links\[3\]\.parent: there is no link eth9 on this host; did you mean eth"),
        (new(parent="zzz"), r"links\[3\]\.parent: there is no link zzz on this host \(links: br0, eth0, .* more\)"),
        (new(parent="lo"), r"links\[3\]\.parent: lo is the loopback link"),
        (new(parent="tun0"), r"links\[3\]\.parent: tun0 is no Ethernet link"),
        (new(parent="mt0"), r"links\[3\]\.parent: mt0 is itself a macvtap link.* \(eth0\)"),
        (new(parent="port0"), r"links\[3\]\.parent: port0 is a port of the bridge br0.* Use br0 as parent"),
        (new(name="eth1"), r"links\[3\]\.name: eth1 exists and is no macvtap link but a physical"),
        (new(name="br0", state="absent"), r"links\[3\]\.name: br0 exists and is no macvtap link but a bridge link"),
        (new(mtu=9000), r"links\[3\]\.mtu: 9000 exceeds the mtu of its parent eth0 \(1500\)"),
        (new(mac=ETH0.mac), r"links\[3\]\.mac: 02:00:00:00:00:02 is the address of eth0, the parent itself"),
        (
            new(mac=MT0.mac),
            r"links\[3\]\.mac: 02:00:00:00:00:10 is the address of mt0, another link of",
        ),
        (new(mode="passthru"), r"links\[3\]\.mode: .* must be the only one .* eth0 would have new0 .* also mt0"),
        (new(parent="eth1"), r"links\[3\]\.mode: .* must be the only one .* eth1 would have pt0 .* also new0"),
        (
            new(mode="passthru", mac="02:00:00:00:00:77"),
            r"links\[3\]\.mac: .* has the address of its parent eth0",
        ),
        (mt0(tap_mode=0o660, parent="eth1"), r"links\[3\]\.mode|links\[3\]\.parent: a link in mode passthru"),
    ],
)
def test_what_the_kernel_would_refuse_is_refused_first(wanted: Wanted, message: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([wanted], host(MT0, PASS))
    assert __import__("re").match(message, str(caught.value)), str(caught.value)


def test_an_mtu_kept_over_a_move_is_checked_against_the_new_parent() -> None:
    big = replace(MT0, parent="eth1", parent_index=3, mtu=9000)
    with pytest.raises(MacvtapError, match=r"links\[3\]\.parent: 9000 exceeds the mtu of its parent eth0"):
        planner.plan([mt0(parent="eth0")], host(big))


def test_an_address_that_another_entry_gives_up_may_be_taken() -> None:
    wanted = [mt0(state="absent"), new(mac=MT0.mac)]
    assert planner.plan(wanted, host(MT0)).changed


def test_the_same_address_is_fine_on_two_parents() -> None:
    assert planner.plan([new(mac="02:00:00:00:00:77"), new(name="b", parent="eth1", mac="02:00:00:00:00:77")], host())


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (new(path="links[4]"), r"links\[4\]\.name: new0 is declared twice, here and in links\[3\]\.name"),
        (new(path="links[4]", name="b", mac="02:00:00:00:00:77"), r"links\[4\]\.mac: .* declared twice, .* links\[3\]"),
    ],
)
def test_two_entries_with_one_name_or_address(second: Wanted, message: str) -> None:
    with pytest.raises(MacvtapError, match=message):
        planner.plan([new(mac="02:00:00:00:00:77"), second], host())


@pytest.mark.parametrize(
    ("tap", "fault"),
    [
        (Tap("/dev/tap10", (245, 1)), "is missing"),
        (Tap("/dev/tap10", (245, 1), (245, 9), "root", "root", 0o600), "in another network namespace"),
    ],
)
def test_permissions_of_a_node_that_is_not_the_links_own_are_left_alone(tap: Tap, fault: str) -> None:
    with pytest.raises(MacvtapError, match=rf"links\[3\]\.tap: /dev/tap10 is.*{fault.removeprefix('is ')}"):
        planner.plan([mt0(tap_mode=0o660)], host(replace(MT0, tap=tap)))


@pytest.mark.parametrize("wanted", [mt0(state="absent"), mt0(parent="eth1")])
def test_a_held_link_is_not_cut_off_unless_forced(wanted: Wanted) -> None:
    planned = planner.plan([wanted], host(MT0))
    assert planner.cut_off(planned) == (MT0,)
    held = {"mt0": [Holder(42, "qemu-system-x86_64", "web1")]}
    with pytest.raises(MacvtapError, match=r"links\[3\]: re.*ing mt0 would cut off pid 42 \(qemu.*domain web1\)"):
        planner.check_holders(planned, held, force=False)
    planner.check_holders(planned, held, force=True)


def test_a_change_in_place_cuts_nobody_off() -> None:
    assert planner.cut_off(planner.plan([mt0(mode="vepa")], host(MT0))) == ()


def test_undo_goes_back_from_whatever_is_there() -> None:
    steps = planner.plan([new(), mt0(mode="vepa", mtu=1400)], host(MT0)).steps
    half_done = host(replace(MT0, mode="vepa"), Link("new0", 13, "macvtap", "eth0", 2, "bridge"))
    back = planner.undo(steps, half_done)
    assert [(s.target, [c.field for c in s.changes]) for s in back.steps] == [("new0", ["state"]), ("mt0", ["mode"])]
    assert not planner.undo(steps, host(MT0)).changed
