# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is refused before anything is changed: what the kernel would refuse, names and addresses twice, held links."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Holder, Holders

from .planned import ETH0, MAC, MT0, NEW0, PASS, PHYSICAL, host, mt0, new


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


@pytest.mark.parametrize("wanted", [mt0(state="absent"), mt0(parent="eth1")])
def test_a_held_link_is_not_cut_off_unless_forced(wanted: DesiredLink) -> None:
    planned = planner.plan([wanted], host(MT0))
    assert planner.cut_off(planned) == (MT0,)
    held = {"mt0": Holders((Holder(42, "qemu-system-x86_64", "web1"),))}
    with pytest.raises(MacvtapError, match=r"links\[3\]: re.*ing mt0 would disconnect pid 42 \(qemu.*domain web1\)"):
        planner.check_holders(planned, held, force=False)
    planner.check_holders(planned, held, force=True)


def test_a_change_in_place_cuts_nobody_off() -> None:
    assert planner.cut_off(planner.plan([mt0(mode="vepa")], host(MT0))) == ()


def test_holders_are_looked_for_of_links_that_are_cut_off_alone() -> None:
    steps = [planner.step_between(MT0, after) for after in (None, replace(MT0, up=False), replace(MT0, mtu=1400))]
    assert [planner.disconnecting([step], host(MT0)) for step in steps] == [{"mt0": MT0}, {"mt0": MT0}, {}]
    assert planner.disconnecting([planner.step_between(None, NEW0)], host(MT0)) == {}
    # Others may have the device number of what is gone, or was made again.
    again = replace(MT0, index=MT0.index + 1)
    assert [planner.disconnecting(steps, host(*there)) for there in ((), (again,))] == [{}, {}]


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
    duplicate = replace(MT0, name="mt1", index=12, parent="eth1", parent_index=3)
    wanted = [mt0(mac=MT0.mac, mtu=1400), DesiredLink("mt1", "links[4]", mac=MT0.mac)]
    assert [step.target for step in planner.plan(wanted, host(MT0, duplicate)).steps] == ["mt0"]


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
