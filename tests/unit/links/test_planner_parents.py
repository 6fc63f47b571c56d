# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Parents of links: how they are named, and which of them will not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

from .planned import ETH0, MT0, PHYSICAL, changes, host, mt0, new

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


def test_a_parent_whose_count_is_broken_is_refused() -> None:
    broken = {**host(MT0), "eth0": replace(ETH0, allmulti=4294967295)}
    for wanted, path in ((new(), "links[3].parent"), (mt0(allmulticast=True), "links[3].allmulticast")):
        with pytest.raises(MacvtapError, match="the allmulti count of eth0 is 4294967295: a kernel bug") as caught:
            planner.plan([wanted], broken)
        assert caught.value.path == path
    assert planner.plan([mt0(group=9)], broken).changed


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
