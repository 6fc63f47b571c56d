# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The planner of links: what changes how, and what is refused, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    DesiredLink,
    Holder,
    Holders,
    Tap,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal

from .planned import BR0, ETH0, ETH1, MT0, PASS, changes, host, mt0, new, recorded

ATTRIBUTES = (
    "promiscuous",
    "nodst",
    "bcqueuelen",
    "bclim",
    "group",
    "alias",
    "altnames",
    "tx_queues",
    "rx_queues",
    "addrgenmode",
    "allmulticast",
    "txqueuelen",
)
FULL = replace(
    MT0,
    promiscuous=True,
    nodst=False,
    bcqueuelen=1000,
    bclim=1,
    altnames=frozenset({"web0"}),
    tx_queues=1,
    rx_queues=1,
    addrgenmode="eui64",
    allmulticast=False,
)


def test_a_new_link_is_one_change() -> None:
    assert changes(new()) == [("state", "absent", "up", Impact.NONE)]
    assert changes(new(state="present")) == [("state", "absent", "down", Impact.NONE)]


@pytest.mark.parametrize("wanted", [new(state="absent"), mt0(state="absent")])
def test_what_is_not_there_need_not_be_removed(wanted: DesiredLink) -> None:
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
def test_what_is_as_declared_is_left_alone(wanted: DesiredLink) -> None:
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
def test_each_field_says_what_its_change_costs(wanted: DesiredLink, change: t.Any) -> None:
    assert changes(wanted, MT0) == [change]


def test_into_passthru_needs_a_new_link_with_the_parents_address() -> None:
    assert changes(mt0(mode="passthru"), MT0) == [
        ("mode", "bridge", "passthru", Impact.RECREATE),
        ("mac", MT0.mac, ETH0.mac, Impact.IN_PLACE),
    ]


def test_out_of_passthru_the_parents_address_is_given_up() -> None:
    (step,) = planner.plan([DesiredLink("pt0", mode="bridge")], host(PASS)).steps
    assert step.recreates
    assert step.after is not None
    assert step.after.mac is None


def test_a_recreated_link_keeps_what_is_not_declared() -> None:
    (step,) = planner.plan([mt0(parent="eth1")], host(MT0)).steps
    assert step.after == replace(MT0, parent="eth1", parent_index=3)


def test_removals_come_first_and_new_links_last() -> None:
    old = replace(MT0, name="old0", index=12, mac="02:00:00:00:00:12")
    wanted = [new(mac=old.mac), mt0(mode="vepa"), DesiredLink("old0", state="absent")]
    assert [step.target for step in planner.plan(wanted, host(MT0, old)).steps] == ["old0", "mt0", "new0"]


@pytest.mark.parametrize("mode", [None, "vepa", "bridge", "private", "source", "passthru"])
def test_without_a_mode_a_new_link_is_in_mode_bridge_and_an_existing_one_keeps_its_mode(mode: str | None) -> None:
    there = host(*([replace(MT0, mode=mode)] if mode else []))
    planned = planner.plan([DesiredLink("mt0", parent="eth0", alias="web1")], there)
    (after,) = [step.after for step in planned.steps]
    assert after
    assert after.mode == (mode or "bridge")
    assert planned.warnings == ()


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


@pytest.mark.parametrize(
    ("wanted", "change"),
    [
        (mt0(txqueuelen=77), ("txqueuelen", None, 77, Impact.IN_PLACE)),
        (mt0(promiscuous=False), ("promiscuous", True, False, Impact.IN_PLACE)),
        (mt0(nodst=True), ("nodst", False, True, Impact.IN_PLACE)),
        (mt0(bcqueuelen=500), ("bcqueuelen", 1000, 500, Impact.IN_PLACE)),
        (mt0(bclim=-1), ("bclim", 1, -1, Impact.IN_PLACE)),
        (mt0(group=0), ("group", 7, 0, Impact.IN_PLACE)),
        (mt0(alias=""), ("alias", "web", "", Impact.IN_PLACE)),
        (mt0(altnames=frozenset({"b", "a"})), ("altnames", ["web0"], ["a", "b"], Impact.IN_PLACE)),
        (mt0(altnames=frozenset()), ("altnames", ["web0"], [], Impact.IN_PLACE)),
        (mt0(addrgenmode="none"), ("addrgenmode", "eui64", "none", Impact.IN_PLACE)),
        (mt0(allmulticast=True), ("allmulticast", False, True, Impact.IN_PLACE)),
        (mt0(mode="source"), ("mode", "bridge", "source", Impact.IN_PLACE)),
        (mt0(tx_queues=4), ("queues.tx", 1, 4, Impact.RECREATE)),
        (mt0(rx_queues=4), ("queues.rx", 1, 4, Impact.RECREATE)),
    ],
)
def test_each_attribute_says_what_its_change_costs(wanted: DesiredLink, change: t.Any) -> None:
    assert changes(wanted, FULL) == [change]
    same = replace(wanted, **{field: getattr(FULL, field) for field in ATTRIBUTES})
    assert changes(replace(same, mode=None), FULL) == []


def test_the_flag_that_breaks_the_parent_of_a_passthru_link_that_is_down() -> None:
    passing = replace(PASS, promiscuous=True)
    (up,) = changes(DesiredLink("pt0", promiscuous=False), passing)
    assert up == ("promiscuous", True, False, Impact.IN_PLACE)
    down = replace(passing, up=False)
    assert changes(DesiredLink("pt0", state="down", promiscuous=False), down) == [
        ("promiscuous", True, False, Impact.RECREATE)
    ]
    # In another mode the kernel counts nothing.
    bridged = replace(MT0, promiscuous=True, up=False)
    assert changes(mt0(state="down", promiscuous=False), bridged) == [("promiscuous", True, False, Impact.IN_PLACE)]


def test_a_source_list_goes_with_the_mode() -> None:
    some, others = frozenset({"02:00:00:00:01:01", "02:00:00:00:01:02"}), frozenset({"02:00:00:00:01:03"})
    listening = replace(MT0, mode="source", source_macs=some)
    assert changes(mt0(mode="source"), listening) == []
    assert changes(mt0(source_macs=others), listening) == [
        ("source_macs", sorted(some), sorted(others), Impact.IN_PLACE)
    ]
    assert changes(mt0(mode="vepa"), listening) == [
        ("mode", "source", "vepa", Impact.IN_PLACE),
        ("source_macs", sorted(some), [], Impact.IN_PLACE),
    ]
    (step,) = planner.plan([mt0(parent="eth1")], host(listening)).steps
    assert step.after is not None
    assert step.after.source_macs == some


def test_the_limit_of_a_parent_is_no_links_own() -> None:
    one, two = replace(FULL, altnames=frozenset()), replace(FULL, name="mt1", index=12, mac="02:00:00:00:00:12")
    declared = [mt0(bclim=5), DesiredLink("mt1", "links[4]", bclim=6)]
    with pytest.raises(MacvtapError, match=r"links\[4\]\.bclim: 6 differs from 5 in links\[3\]\.bclim"):
        planner.plan(declared, host(one, two))
    # One that is made anew comes back with the limit that another entry declares, and brings none to another parent.
    steps = planner.plan([mt0(bclim=5), DesiredLink("mt1", tx_queues=4)], host(one, two)).steps
    assert [step.after.bclim for step in steps if step.after] == [5, 5]
    (step,) = planner.plan([mt0(parent="eth1")], host(one)).steps
    assert step.after is not None
    assert step.after.bclim is None
    (step,) = planner.plan([mt0(parent="eth1", bclim=1)], host(one)).steps
    assert step.after is not None
    assert step.after.bclim == 1


OTHERS = (
    replace(MT0, name="old7", index=51, mac="02:00:00:00:00:51"),
    replace(MT0, name="old8", index=52, mac="02:00:00:00:00:52", group=8),
    replace(MT0, name="libvirt0", index=53, mac="02:00:00:00:00:53", group=0),
    replace(MT0, name="mv7", index=54, mac="02:00:00:00:00:54", kind="macvlan"),
    replace(ETH1, name="eth7", index=55, group=7),
    replace(BR0, name="br7", index=56, group=7),
)


def test_purge_removes_the_macvtap_links_of_the_group_that_are_not_declared_and_no_others() -> None:
    planned = planner.plan([mt0()], host(MT0, *OTHERS), purge_group=7)
    assert [(c.target, c.field, c.after) for c in planned.changes] == [("old7", "state", "absent")]
    assert not planner.plan([mt0()], host(MT0, *OTHERS)).changed
    assert planner.cut_off(planned) == OTHERS[:1]
    with pytest.raises(MacvtapError, match=r"^purge: removing old7 would disconnect pid 42"):
        planner.check_holders(planned, {"old7": Holders((Holder(42, "qemu"),))}, force=False)


def test_what_is_purged_makes_room() -> None:
    # By its address, by its name, and by being gone from beside a passthru link.
    assert planner.plan([new(mac=OTHERS[0].mac)], host(OTHERS[0]), purge_group=7).changed
    named = replace(OTHERS[0], altnames=frozenset({"new0"}))
    assert planner.plan([new()], host(named), purge_group=7).changed
    assert planner.plan([new(mode="passthru")], host(OTHERS[0]), purge_group=7).changed


def test_repair_is_a_change_of_the_node_alone() -> None:
    missing = replace(MT0, tap=Tap("/dev/tap10", (245, 1)))
    assert changes(mt0(tap_repair=True), missing) == [("tap.node", "is missing", "is its own", Impact.IN_PLACE)]
    assert changes(mt0(tap_repair=True, tap_mode=0o660), missing) == [
        ("tap.mode", None, "0660", Impact.IN_PLACE),
        ("tap.node", "is missing", "is its own", Impact.IN_PLACE),
    ]
    assert changes(mt0(tap_repair=True), MT0) == []


def test_a_diff_shows_that_a_link_leaves_its_parent_as_promiscuous_as_it_is() -> None:
    (diff,) = planner.plan([mt0(promiscuous=False)], host(replace(MT0, promiscuous=True))).result(diff=True)["diff"]
    assert "promiscuous: False" in diff["after"]
    assert "promiscuous: True" in diff["before"]


def test_no_ipv6_is_no_generated_address() -> None:
    small = replace(MT0, mtu=1200, addrgenmode=None)
    assert not planner.plan([mt0(addrgenmode="none")], host(small)).changed
    raised = planner.plan([mt0(addrgenmode="none", mtu=1500)], host(small))
    assert [c.field for c in raised.changes] == ["mtu", "addrgenmode", "accept_ra"]
    # A kernel without IPv6 has none at any mtu, and accepts none before anything is created.
    bare = {**host(replace(MT0, addrgenmode=None)), "lo": replace(LO, addrgenmode=None)}
    assert not planner.plan([mt0(addrgenmode="none", accept_ra=False)], bare).changed
    for desired, option in ((mt0(addrgenmode="random"), "addrgenmode"), (new(accept_ra=True), "accept_ra")):
        with pytest.raises(MacvtapError, match=rf"{option}: requires IPv6, and this .*\. Remove {option}, or"):
            planner.plan([desired], bare)
        assert planner.plan([desired], host(MT0)).changed
    with pytest.raises(MacvtapError, match=r"addrgenmode: requires IPv6, which needs .* 1280; the link has 1200"):
        planner.plan([mt0(addrgenmode="random")], host(small))
    # Put back with the mtu, whatever the kernel generates for what gets IPv6 anew.
    (step,) = planner.plan([mt0(mtu=1200)], host(replace(MT0, addrgenmode="none"))).steps
    back = planner.undo(recorded((step, CHANGED)), host(small), {}, Journal())
    assert {c.field: c.after for c in back.changes} == {"mtu": 1500, "addrgenmode": "none"}
