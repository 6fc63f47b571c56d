# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The planner of links: what changes how, and what is refused, with plain values."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner, warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INDEX,
    MADE,
    REFUSED,
    REMOVED,
    DesiredLink,
    Holder,
    Holders,
    Link,
    Links,
    Lost,
    Tap,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal

LO = Link("lo", 1, mac="00:00:00:00:00:00", mtu=65536, up=True, hardware=772, loopback=True)
ETH0 = Link("eth0", 2, "veth", mac="02:00:00:00:00:02", mtu=1500, up=True)
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=9000, up=True)
BR0 = Link("br0", 4, "bridge", mac="02:00:00:00:00:04", mtu=1500)
PORT = Link("port0", 5, "veth", mac="02:00:00:00:00:05", mtu=1500, master="br0")
TUN = Link("tun0", 6, "tun", mtu=1500, hardware=65534)
TAP = Tap("/dev/tap10", (245, 1), (245, 1), "root", "root", 0o600)
MT0 = Link("mt0", 10, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:10", 1500, up=True, group=7, alias="web", tap=TAP)
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
PASS = Link("pt0", 11, "macvtap", "eth1", 3, "passthru", ETH1.mac, 9000, up=True)


def host(*more: Link) -> Links:
    return {link.name: link for link in (LO, ETH0, ETH1, BR0, PORT, TUN, *more)}


def new(**fields: t.Any) -> DesiredLink:
    return DesiredLink(**{"name": "new0", "path": "links[3]", "parent": "eth0", "mode": "bridge", **fields})


def mt0(**fields: t.Any) -> DesiredLink:
    return DesiredLink("mt0", "links[3]", **fields)


def changes(wanted: DesiredLink, *more: Link) -> list[tuple[str, t.Any, t.Any, Impact]]:
    return [(c.field, c.before, c.after, c.impact) for c in planner.plan([wanted], host(*more)).changes]


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
    ("wanted", "message"),
    [
        (new(parent=None), r"links\[3\]\.parent: is required, since the link new0 does not exist yet"),
        (new(parent="eth9"), r"links\[3\]\.parent: there is no link eth9 on this host; did you mean eth"),
        (new(parent="zzz"), r"links\[3\]\.parent: there is no link zzz on this host \(links: br0, eth0, .* more\)"),
        (new(parent="lo"), r"links\[3\]\.parent: lo is the loopback link"),
        (new(parent="tun0"), r"links\[3\]\.parent: tun0 is not an Ethernet link"),
        (new(parent="mt0"), r"links\[3\]\.parent: mt0 is a macvtap link.*Use eth0 instead"),
        (new(parent="port0"), r"links\[3\]\.parent: port0 is a port of the bridge br0.* Use br0 instead"),
        (new(name="eth1"), r"links\[3\]\.name: eth1 already exists and is a physical"),
        (new(name="br0", state="absent"), r"links\[3\]\.name: br0 already exists and is a bridge link, not a"),
        (new(mtu=9000), r"links\[3\]\.mtu: 9000 exceeds the MTU of the parent eth0 \(1500\)"),
        (new(mac=ETH0.mac), r"links\[3\]\.mac: 02:00:00:00:00:02 is the MAC address of eth0, the parent itself"),
        (
            new(mac=MT0.mac),
            r"links\[3\]\.mac: 02:00:00:00:00:10 is the MAC address of mt0, another link of",
        ),
        (new(mode="passthru"), r"links\[3\]\.mode: .* must be the only one .* eth0 would have new0 .* also mt0"),
        (new(parent="eth1"), r"links\[3\]\.mode: .* must be the only one .* eth1 would have pt0 .* also new0"),
        (
            new(mode="passthru", mac="02:00:00:00:00:77"),
            r"links\[3\]\.mac: .* differs from the MAC address of the parent eth0",
        ),
        (mt0(tap_mode=0o660, parent="eth1"), r"links\[3\]\.mode|links\[3\]\.parent: a link in mode passthru"),
    ],
)
def test_what_the_kernel_would_refuse_is_refused_first(wanted: DesiredLink, message: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([wanted], host(MT0, PASS))
    assert re.match(message, str(caught.value)), str(caught.value)


def test_an_mtu_kept_over_a_move_is_checked_against_the_new_parent() -> None:
    big = replace(MT0, parent="eth1", parent_index=3, mtu=9000)
    with pytest.raises(MacvtapError, match=r"links\[3\]\.parent: 9000 exceeds the MTU of the parent eth0"):
        planner.plan([mt0(parent="eth0")], host(big))


def test_an_address_that_another_entry_gives_up_may_be_taken() -> None:
    wanted = [mt0(state="absent"), new(mac=MT0.mac)]
    assert planner.plan(wanted, host(MT0)).changed


def test_the_same_address_is_fine_on_two_parents() -> None:
    wanted = [new(mac="02:00:00:00:00:77"), new(name="b", parent="eth1", mac="02:00:00:00:00:77")]
    assert [step.target for step in planner.plan(wanted, host()).steps] == ["new0", "b"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (new(path="links[4]"), r"links\[4\]\.name: new0 is declared twice, here and in links\[3\]\.name"),
        (new(path="links[4]", name="b", mac="02:00:00:00:00:77"), r"links\[4\]\.mac: .* declared twice, .* links\[3\]"),
    ],
)
def test_two_entries_with_one_name_or_address(second: DesiredLink, message: str) -> None:
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
def test_a_held_link_is_not_cut_off_unless_forced(wanted: DesiredLink) -> None:
    planned = planner.plan([wanted], host(MT0))
    assert planner.cut_off(planned) == (MT0,)
    held = {"mt0": Holders((Holder(42, "qemu-system-x86_64", "web1"),))}
    with pytest.raises(MacvtapError, match=r"links\[3\]: re.*ing mt0 would disconnect pid 42 \(qemu.*domain web1\)"):
        planner.check_holders(planned, held, force=False)
    planner.check_holders(planned, held, force=True)


MAC = "02:00:00:00:00:77"
NEW0 = Link("new0", 0, "macvtap", "eth0", 2, "bridge", MAC, 1500, up=True)


def recorded(*entries: tuple[t.Any, str]) -> Journal[Link]:
    journal: Journal[Link] = Journal()
    for step, action in entries:
        journal.record(step, action)
    return journal


def test_a_change_in_place_cuts_nobody_off() -> None:
    assert planner.cut_off(planner.plan([mt0(mode="vepa")], host(MT0))) == ()


def test_holders_are_looked_for_of_links_that_are_cut_off_alone() -> None:
    steps = [planner.step_between(MT0, after) for after in (None, replace(MT0, up=False), replace(MT0, mtu=1400))]
    assert [planner.disconnecting([step]) for step in steps] == [{"mt0": MT0}, {"mt0": MT0}, {}]
    assert planner.disconnecting([planner.step_between(None, NEW0)]) == {}


def test_undo_goes_back_from_whatever_is_there() -> None:
    new_step, change_step = planner.plan([new(mac=MAC), mt0(mode="vepa", mtu=1400)], host(MT0)).steps[::-1]
    journal = recorded((change_step, CHANGED), (new_step, MADE))
    half_done = host(replace(MT0, mode="vepa"), replace(NEW0, index=13))
    back = planner.undo(journal, half_done, {}, Journal())
    assert [(s.target, [c.field for c in s.changes]) for s in back.steps] == [("new0", ["state"]), ("mt0", ["mode"])]
    assert not planner.undo(journal, host(MT0), {}, Journal()).changed


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


PHYSICAL = Link("enp1s0", 20, mac="02:00:00:00:00:20", mtu=1500, pci="0000:01:00.0", altnames=frozenset({"lan", "wan"}))
VLAN = Link("enp1s0.7", 21, "vlan", "enp1s0", 20, mac=PHYSICAL.mac, mtu=1500)
BRIDGE = Link("br9", 22, "bridge", mac=PHYSICAL.mac, mtu=1500)
ON_TOP = Link("pt9", 23, "macvtap", "enp1s0.7", 21, "passthru", PHYSICAL.mac, 1500)


@pytest.mark.parametrize(
    "parent",
    [
        "enp1s0",
        "lan",
        "wan",
        "02:00:00:00:00:20",
        "02-00-00-00-00-20",
        "0000:01:00.0",
        "01:00.0",
    ],
)
def test_a_parent_by_each_of_its_names(parent: str) -> None:
    (step,) = planner.plan([new(parent=parent)], host(PHYSICAL, VLAN, BRIDGE, ON_TOP)).steps
    assert step.after is not None
    assert (step.after.parent, step.after.parent_index) == ("enp1s0", 20)
    there = replace(MT0, parent="enp1s0", parent_index=20)
    assert changes(mt0(parent=parent), PHYSICAL, VLAN, BRIDGE, there) == []


def test_hexadecimal_digits_in_either_case_name_a_parent() -> None:
    link = replace(PHYSICAL, mac="02:00:00:00:ab:cd", pci="0000:af:00.1")
    for parent in ("02:00:00:00:AB:CD", "0000:AF:00.1", "AF:00.1"):
        (step,) = planner.plan([new(parent=parent)], host(link)).steps
        assert step.after is not None
        assert step.after.parent == "enp1s0"


def test_a_name_is_a_name_before_it_is_anything_else() -> None:
    odd = replace(PHYSICAL, name="01:00.0", index=30, mac="02:00:00:00:00:30", pci=None, altnames=frozenset())
    (step,) = planner.plan([new(parent="01:00.0")], host(PHYSICAL, odd)).steps
    assert step.after is not None
    assert step.after.parent_index == 30


@pytest.mark.parametrize(
    ("parent", "more", "message"),
    [
        (
            "02:00:00:00:00:99",
            (),
            r"no link with the MAC address 02:00:00:00:00:99 on this host \(known: enp1s0 .*:20, eth1 .*:03\)$",
        ),
        (
            "0000:02:00.0",
            (),
            r"no link with the PCI address 0000:02:00\.0 on this host \(known: enp1s0 0000:01:00.0\)$",
        ),
        (
            "01:00.0",
            (replace(PHYSICAL, name="enp1s0d1", index=24, mac="02:00:00:00:00:24", altnames=frozenset()),),
            r"several links have the PCI address 01:00\.0: enp1s0, enp1s0d1\. Use the name of one",
        ),
        (
            "02:00:00:00:00:20",
            (replace(PHYSICAL, name="twin0", index=24, pci=None, altnames=frozenset()),),
            "several links have the MAC address 02:00:00:00:00:20: enp1s0, twin0",
        ),
        ("enp1s1", (), "there is no link enp1s1 on this host; did you mean enp1s0"),
        ("wam", (), "there is no link wam on this host; did you mean wan"),
    ],
)
def test_a_parent_that_is_not_one_link(parent: str, more: tuple[Link, ...], message: str) -> None:
    with pytest.raises(MacvtapError, match=rf"^links\[3\]\.parent: {message}"):
        planner.plan([new(parent=parent)], host(PHYSICAL, *more))


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (replace(ETH0, wireless=True), "eth0 is a wireless link: access points drop frames"),
        (replace(ETH0, promiscuity=4294967295), "the promiscuity count of eth0 is 4294967295: a kernel bug"),
        (replace(ETH0, master="bond0"), "eth0 is a port of the bond bond0, which receives all its frames. Use bond0"),
        (replace(ETH0, master="team0"), "eth0 is a port of the team team0"),
    ],
)
def test_parents_that_will_not_do(parent: Link, message: str) -> None:
    masters = [Link(f"{kind}0", 40 + n, kind, mtu=1500) for n, kind in enumerate(("bond", "team", "vrf"))]
    with pytest.raises(MacvtapError, match=rf"^links\[3\]\.parent: {message}"):
        planner.plan([new()], host(parent, *masters))
    # What only routes leaves the frames alone.
    assert planner.plan([new()], host(replace(ETH0, master="vrf0"), *masters)).changed


def test_a_parent_on_which_a_link_is_already_is_not_judged_anew() -> None:
    broken = replace(ETH0, wireless=True, promiscuity=4294967295)
    assert changes(mt0(parent="eth0", mtu=1400), broken, MT0) == [("mtu", 1500, 1400, Impact.IN_PLACE)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([new(name="lan")], r"links\[3\]\.name: lan is already a name of the link enp1s0"),
        ([new(altnames=frozenset({"lan"}))], r"links\[3\]\.altnames: lan is already a name of the link enp1s0"),
        ([new(altnames=frozenset({"eth1"}))], r"links\[3\]\.altnames: eth1 is already a name of the link eth1"),
        ([mt0(altnames=frozenset({"lan"}))], r"links\[3\]\.altnames: lan is already a name of the link enp1s0"),
        (
            [mt0(altnames=frozenset({"x"})), DesiredLink("new0", "links[4]", parent="eth0", altnames=frozenset({"x"}))],
            r"links\[3\]\.altnames: x is already a name of the link new0",
        ),
        (
            [mt0(altnames=frozenset({"new0"})), DesiredLink("new0", "links[4]", parent="eth0")],
            r"links\[3\]\.altnames: new0 is already a name of the link new0",
        ),
    ],
)
def test_each_name_is_once_on_a_host(wanted: list[DesiredLink], message: str) -> None:
    with pytest.raises(MacvtapError, match=f"^{message}"):
        planner.plan(wanted, host(PHYSICAL, MT0))


def test_a_name_that_another_entry_gives_up_may_be_taken() -> None:
    named = replace(MT0, altnames=frozenset({"web0"}))
    for gives in (mt0(state="absent"), mt0(altnames=frozenset())):
        for takes in (new(name="web0"), new(altnames=frozenset({"web0"}))):
            assert len(planner.plan([takes, gives], host(named)).steps) == 2


def test_the_same_address_on_the_links_of_two_parents_is_no_conflict() -> None:
    twin = replace(MT0, name="mt1", index=12, parent="eth1", parent_index=3)
    wanted = [mt0(mac=MT0.mac, mtu=1400), DesiredLink("mt1", "links[4]", mac=MT0.mac)]
    assert [step.target for step in planner.plan(wanted, host(MT0, twin)).steps] == ["mt0"]


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


@pytest.mark.parametrize(
    ("wanted", "link", "message"),
    [
        (mt0(parent="eth1"), MT0, "mt0: recreated, so its tap"),
        (mt0(tap_mode=0o666), MT0, "mt0: every user of the host can read and send"),
        (mt0(tap_mode=0o606), MT0, "mt0: every user of the host can read and send"),
    ],
)
def test_warnings(wanted: DesiredLink, link: Link, message: str) -> None:
    (warning,) = planner.plan([wanted], host(link)).warnings
    assert re.match(message, warning), warning


@pytest.mark.parametrize(
    ("wanted", "link"),
    [
        (mt0(), MT0),
        (mt0(tap_mode=0o660), MT0),
        (mt0(tap_mode=0o664), MT0),
        (mt0(state="absent"), replace(MT0, tap=Tap("/dev/tap10", (245, 1)))),
        (mt0(tap_repair=True), replace(MT0, tap=Tap("/dev/tap10", (245, 1)))),
        (mt0(state="absent", tap_mode=0o666), MT0),
    ],
)
def test_no_warnings(wanted: DesiredLink, link: Link) -> None:
    assert planner.plan([wanted], host(link)).warnings == ()


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


# All multicast in mode passthru, which macvlan_open() and macvlan_stop() leave out of the parent's count.

HEARING = replace(PASS, allmulticast=True, parent_allmulti=1)


def pt0(**fields: t.Any) -> DesiredLink:
    return DesiredLink("pt0", "links[3]", **fields)


@pytest.mark.parametrize("count", [0, None])
def test_allmulticast_is_taken_off_a_passthru_link_only_if_the_parent_counts_it(count: int | None) -> None:
    taken = ("allmulticast", True, False)
    assert changes(pt0(allmulticast=False), HEARING) == [(*taken, Impact.IN_PLACE)]
    uncounted = replace(HEARING, parent_allmulti=count)
    assert changes(pt0(allmulticast=False), uncounted) == [(*taken, Impact.RECREATE)]
    assert changes(pt0(allmulticast=False, state="present"), replace(uncounted, up=False)) == [
        (*taken, Impact.IN_PLACE)
    ]


@pytest.mark.parametrize("count", [1, 0, None])
@pytest.mark.parametrize("allmulticast", [None, False])
def test_a_passthru_link_that_is_set_down_is_without_allmulticast(count: int | None, allmulticast: bool | None) -> None:
    assert changes(pt0(state="down", allmulticast=allmulticast), replace(HEARING, parent_allmulti=count)) == [
        ("state", "up", "down", Impact.IN_PLACE),
        ("allmulticast", True, False, Impact.IN_PLACE),
    ]


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        (new(mode="passthru", allmulticast=True, state="present"), ()),
        (new(mode="passthru", allmulticast=True, state="down"), ()),
        (pt0(allmulticast=True, state="down"), (HEARING,)),
        (pt0(allmulticast=True, state="present"), (replace(HEARING, up=False),)),
    ],
)
def test_allmulticast_of_a_passthru_link_that_is_to_be_down_is_refused(
    wanted: DesiredLink, more: tuple[Link, ...]
) -> None:
    with pytest.raises(MacvtapError, match=r"mode passthru that is down.* Set state: up") as caught:
        planner.plan([wanted], host(*more))
    assert caught.value.path == "links[3].allmulticast"


def test_a_passthru_link_whose_flag_has_no_effect_is_told() -> None:
    def told(link: Link) -> tuple[str, ...]:
        return planner.plan([pt0(allmulticast=True)], host(link)).warnings

    assert "no more multicast groups than before" in told(replace(HEARING, parent_allmulti=0))[0]
    for count in (1, None):
        assert told(replace(HEARING, parent_allmulti=count)) == ()
    assert told(replace(HEARING, parent_allmulti=0, up=False)) == ()


def test_a_parent_whose_count_is_broken_is_refused() -> None:
    broken = {**host(MT0), "eth0": replace(ETH0, allmulti=4294967295)}
    for wanted, path in ((new(), "links[3].parent"), (mt0(allmulticast=True), "links[3].allmulticast")):
        with pytest.raises(MacvtapError, match="the allmulti count of eth0 is 4294967295: a kernel bug") as caught:
            planner.plan([wanted], broken)
        assert caught.value.path == path
    assert planner.plan([mt0(group=9)], broken).changed


@pytest.mark.parametrize(
    ("tap", "fault"),
    [
        (Tap("/dev/tap10", (245, 1)), "is missing"),
        (replace(TAP, node=(245, 9)), "is the tap of a link in another network namespace"),
        (replace(TAP, device=None), "may be the tap of another link"),
    ],
)
def test_a_tap_that_is_not_the_links_own_is_told_by_what_there_is_in_the_end(tap: Tap, fault: str) -> None:
    (said,) = warnings.of_taps([mt0()], host(replace(MT0, tap=tap)))
    assert re.match(rf"/dev/tap10 of mt0 {fault}.*: .* tap.repair: true", said)
    assert warnings.of_taps([mt0()], host(MT0)) == ()


@pytest.mark.parametrize(
    ("wanted", "deed"),
    [
        (mt0(state="absent"), "removing mt0"),
        (mt0(parent="eth1"), "recreating mt0"),
        (mt0(state="down"), "setting mt0 down"),
        (mt0(mac=MAC), "giving mt0 another MAC address"),
        (mt0(mode="source"), "leaving mt0 in mode source with no source_macs"),
    ],
)
def test_whoever_may_be_there_is_not_cut_off(wanted: DesiredLink, deed: str) -> None:
    planned = planner.plan([wanted], host(MT0))
    for held, why in (
        (Holders((Holder(42, "qemu"),)), r"pid 42 \(qemu\)"),
        (Holders(doubt="it is dark"), "it is dark"),
    ):
        with pytest.raises(MacvtapError, match=rf"^links\[3\]: {deed} would disconnect .*{why}.*, or set force: true$"):
            planner.check_holders(planned, {"mt0": held}, force=False)
        planner.check_holders(planned, {"mt0": held}, force=True)
    planner.check_holders(planned, {"mt0": Holders()}, force=False)
    # On the way back from what this run has itself made only who is seen counts.
    assert not planner.cuts(planned.steps, {"mt0": Holders(doubt="it is dark")}, doubts=False)


def test_what_others_do_meanwhile_is_not_put_back() -> None:
    (step,) = planner.plan([mt0(mode="vepa", altnames=frozenset({"a"}))], host(MT0)).steps
    theirs = replace(MT0, mode="private", mtu=1400, altnames=frozenset({"a", "b"}))
    back = planner.undo(recorded((step, CHANGED)), host(theirs), {}, Journal())
    assert [(c.field, c.after) for c in back.changes] == [("altnames", ["b"])]
    # By index, under whichever name.
    renamed = replace(MT0, name="renamed0", mode="vepa")
    back = planner.undo(recorded((step, CHANGED)), host(renamed), {}, Journal())
    assert [(c.target, c.field, c.after) for c in back.changes] == [("renamed0", "mode", "bridge")]
    assert "renamed it to renamed0" in back.warnings[0]
    # Another link of that name is another link.
    back = planner.undo(recorded((step, CHANGED)), host(replace(MT0, index=99, mode="vepa")), {}, Journal())
    assert (back.changes, len(back.warnings)) == ((), 1)


@pytest.mark.parametrize(
    ("there", "removed"),
    [
        (replace(NEW0, index=13), "new0"),
        (replace(NEW0, index=13, name="renamed0"), "renamed0"),
        (replace(NEW0, index=13, mac="02:00:00:00:00:78"), None),
        (replace(NEW0, index=13, kind="macvlan"), None),
        (replace(NEW0, index=13, parent="eth1", parent_index=3), None),
    ],
)
def test_undo_removes_what_this_run_has_made_and_no_other_link(there: Link, removed: str | None) -> None:
    (step,) = planner.plan([new(mac=MAC)], host()).steps
    back = planner.undo(recorded((step, MADE)), host(there), {}, Journal())
    assert [c.target for c in back.changes] == ([removed] if removed else [])
    # What the kernel has refused is not there by this run.
    assert not planner.undo(recorded((step, MADE), (step, MADE + REFUSED)), host(there), {}, Journal()).changed
    # Whose index is known needs no address.
    back = planner.undo(
        recorded((step, MADE), (step, INDEX + "13")), host(replace(NEW0, index=13, mac=None)), {}, Journal()
    )
    assert [c.target for c in back.changes] == ["new0"]


def test_what_was_removed_is_put_back_and_what_cannot_be_is_said() -> None:
    (step,) = planner.plan([mt0(state="absent")], host(MT0)).steps
    journal = recorded((step, REMOVED))
    child = Link("v7", 40, "vlan", "mt0", MT0.index)
    lost: dict[tuple[str | None, int], Lost] = {
        (None, MT0.index): Lost(("198.51.100.1/24", "the route to 10.0.0.0/8"), (child,))
    }
    brought: Journal[Link] = Journal()
    (back,) = planner.undo(journal, host(), lost, brought).steps
    assert (back.before, back.after) == (None, MT0)
    for action in (MADE, INDEX + "77"):
        brought.record(back, action)
    again = planner.undo(journal, host(replace(MT0, index=77)), lost, brought)
    assert not again.changed
    assert [re.sub("^mt0: ", "", said) for said in again.warnings] == [
        "recreated during the rollback, with another index and /dev/tapN",
        "its addresses and routes are lost: 198.51.100.1/24, the route to 10.0.0.0/8",
        "the links on it were removed with it: v7",
    ]
    # Not gone after all.
    assert not planner.undo(journal, host(MT0), lost, Journal()).changed


@pytest.mark.parametrize("was", [(), (MT0,)])
def test_what_this_run_has_made_stays_where_others_have_made_it_a_port_since(was: tuple[Link, ...]) -> None:
    (step,) = planner.plan([mt0(mode="passthru", parent="eth0")], host(*was)).steps
    made = replace(t.cast("Link", step.after), index=77, parent_index=2, master="br0")
    begun = [(step, REMOVED)] if was else []
    journal = recorded(*begun, (step, MADE), (step, INDEX + "77"))
    back = planner.undo(journal, host(made), {}, Journal())
    assert back.changes == ()
    assert back.warnings == ("mt0: made by this run, and made a port of br0 since then, so that it stays",)


@pytest.mark.parametrize("theirs", [replace(MT0, mac=MAC), MT0, replace(MT0, mode="passthru", up=False)])
def test_what_has_the_name_of_a_removed_link_by_now_is_left_alone_however_it_looks(theirs: Link) -> None:
    (step,) = planner.plan([mt0(state="absent")], host(MT0)).steps
    journal, there = recorded((step, REMOVED)), host(replace(theirs, index=77))
    (back,) = planner.undo(journal, host(), {}, Journal()).steps
    for brought in (Journal[Link](), recorded((back, MADE), (back, INDEX + "76"))):
        taken = planner.undo(journal, there, {}, brought)
        assert taken.changes == ()
        assert [re.sub("^mt0: ", "", said) for said in taken.warnings] == [
            "not restored: something else has created another link of this name meanwhile"
        ]


def test_a_link_whose_parent_is_elsewhere_is_not_moved_here() -> None:
    pods = replace(MT0, parent=None, parent_index=0, lower=7, lower_netns=3)
    for wanted in (mt0(parent="eth0"), mt0(tx_queues=4), mt0(mode="passthru")):
        with pytest.raises(MacvtapError, match="has its parent in another network namespace, as a pod's link does"):
            planner.plan([wanted], host(pods))
    assert [c.impact for c in planner.plan([mt0(mtu=1400)], host(pods)).changes] == [Impact.IN_PLACE]
    assert planner.plan([mt0(state="absent")], host(pods)).changed


def test_a_macvlan_from_outside_may_be_a_parent() -> None:
    outer = replace(ETH0, kind="macvlan", mode="bridge", lower=7, lower_netns=3)
    links = {**host(), "eth0": outer}
    (step,) = planner.plan([new()], links).steps
    assert step.after is not None
    assert (step.after.parent, step.after.parent_index) == ("eth0", outer.index)
    # The kernel has put it on what is below.
    made = replace(step.after, index=13, parent=None, parent_index=0, lower=7, lower_netns=3)
    assert not planner.plan([new()], {**links, "new0": made}).changed
    (step,) = planner.plan([new(tx_queues=2)], {**links, "new0": replace(made, tx_queues=1)}).steps
    assert step.after is not None
    assert (step.recreates, step.after.parent_index) == (True, outer.index)
    with pytest.raises(MacvtapError, match="passthru must be the only one on its parent"):
        planner.plan([new(mode="passthru")], links)
    with pytest.raises(MacvtapError, match="another network namespace"):
        planner.plan([new()], {**links, "new0": replace(made, lower=8)})


@pytest.mark.parametrize(
    ("parent", "other", "message"),
    [
        (ETH0, Link("iv0", 30, "ipvlan", "eth0", 2), "is the parent of the ipvlan link iv0"),
        (ETH0, Link("iv0", 30, "ipvtap", "eth0", 2), "is the parent of the ipvtap link iv0"),
        (ETH0, Link("ms0", 30, "macsec", "eth0", 2), "is the parent of the macsec link ms0"),
        (Link("iv0", 30, "ipvlan", "eth0", 2, mtu=1500), None, "is an ipvlan link"),
        (Link("ovs-system", 31, "openvswitch", mtu=1500), None, "the datapath of Open vSwitch"),
        (
            replace(ETH0, master="ovs-system"),
            Link("ovs-system", 31, "openvswitch"),
            "Use its bridge instead; `ovs-vsctl",
        ),
    ],
)
def test_a_parent_whose_frames_something_else_takes(parent: Link, other: Link | None, message: str) -> None:
    links = {**host(), parent.name: parent, **({other.name: other} if other else {})}
    with pytest.raises(MacvtapError, match=message):
        planner.plan([new(parent=parent.name)], links)


def test_of_an_open_vswitch_port_the_bridges_are_named() -> None:
    ovs = {"ovs-system": Link("ovs-system", 31, "openvswitch"), "br-lan": Link("br-lan", 32, "openvswitch")}
    links = {**host(), **ovs, "eth0": replace(ETH0, master="ovs-system")}
    with pytest.raises(MacvtapError, match=r"Use its bridge instead \(br-lan\); `ovs-vsctl port-to-br eth0`"):
        planner.plan([new()], links)


def test_no_ipv6_is_no_generated_address() -> None:
    small = replace(MT0, mtu=1200, addrgenmode=None)
    assert not planner.plan([mt0(addrgenmode="none")], host(small)).changed
    raised = planner.plan([mt0(addrgenmode="none", mtu=1500)], host(small))
    assert [c.field for c in raised.changes] == ["mtu", "addrgenmode", "accept_ra"]
    # A kernel without IPv6 has none at any mtu.
    assert not planner.plan([mt0(addrgenmode="none")], host(replace(MT0, addrgenmode=None))).changed
    with pytest.raises(MacvtapError, match=r"addrgenmode: requires IPv6, which needs .* 1280; the link has 1200"):
        planner.plan([mt0(addrgenmode="random")], host(small))
    # Put back with the mtu, whatever the kernel generates for what gets IPv6 anew.
    (step,) = planner.plan([mt0(mtu=1200)], host(replace(MT0, addrgenmode="none"))).steps
    back = planner.undo(recorded((step, CHANGED)), host(small), {}, Journal())
    assert {c.field: c.after for c in back.changes} == {"mtu": 1500, "addrgenmode": "none"}


def test_a_link_that_is_up_on_an_uplink_that_is_down_is_said() -> None:
    links = {
        link.name: link
        for link in (
            Link("eth0", 2, up=True),
            Link("eth1", 3),
            Link("a", 4, "macvtap", "eth1", up=True),
            Link("b", 5, "macvtap", "eth1", up=True),
            Link("c", 6, "macvtap", "eth1"),
            Link("d", 7, "macvtap", "eth0", up=True),
            # Its parent is of another namespace.
            Link("e", 8, "macvtap", "eth1", up=True, netns="x"),
        )
    }
    links["x/e"] = links.pop("e")
    (said,) = warnings.of_parents(["a", "b", "c", "d", "x/e", "gone"], links)
    assert said.startswith("a, b: the uplink eth1 is down, ")
