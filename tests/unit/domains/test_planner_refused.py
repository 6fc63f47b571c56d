# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the host, libvirt or the guest's NIC would not accept is refused before anything is changed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

from .planned import LINKS, LIVE, OTHER, STORED, VALUES, changed, changes, host, running, stopped, want

QBH = {"virtualport.type": "802.1Qbh", "virtualport.profileid": "x"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "eth7"}, r"interfaces\[2\]\.source: there is no link eth7 on this host; did you mean eth1 or eth0"),
        ({"source": "port0"}, r"interfaces\[2\]\.source: port0 is a port of the bridge br0.*Use br0 instead"),
        ({"source": "macvtap0"}, r"interfaces\[2\]\.source: macvtap0 is a macvtap link"),
        ({"vlan": "20"}, r"interfaces\[2\]\.vlan: .*Only an SR-IOV virtual function.*eth0\.20 type vlan id 20"),
        (
            {"vlan": "20", "mode": "passthrough", "source": "br0"},
            r"interfaces\[2\]\.vlan: br0 is not an SR-IOV virtual function",
        ),
        (
            {**QBH, "source": "eth1"},
            r"interfaces\[2\]\.virtualport\.type: eth1 is a veth link, on which libvirtd 9\.0 hangs",
        ),
        # The source that is there already, and one with a veth link below it.
        (
            QBH,
            r"interfaces\[2\]\.virtualport\.type: eth0 is on the veth link far0, on which libvirtd 9\.0 hangs",
        ),
        ({"vlan": "20", "mode": "passthrough"}, r"interfaces\[2\]\.vlan: eth0 is not an SR-IOV virtual function"),
        ({"target": "br0"}, r"interfaces\[2\]\.target: br0 is already a link of this host, a bridge link\."),
        ({"target": "lan0"}, r"interfaces\[2\]\.target: lan0 is already a link of this host"),
        (
            {"virtualport.profileid": "x"},
            r"interfaces\[2\]\.virtualport\.type: a virtual port with parameters needs a type",
        ),
        ({"virtualport.type": "802.1Qbg"}, r"interfaces\[2\]\.virtualport\.managerid: is required, since .* 802\.1Qbg"),
        ({"virtualport.type": "802.1Qbh"}, r"interfaces\[2\]\.virtualport\.profileid: is required, since"),
        (
            {"virtualport.type": "802.1Qbg", "virtualport.managerid": "0", "virtualport.typeid": "2"},
            r"interfaces\[2\]\.virtualport\.typeidversion: is required, since",
        ),
        ({"model": "e1000e", "driver.queues": "2"}, r"interfaces\[2\]\.driver\.queues: .*drops this for .* e1000e"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(given: dict[str, t.Any], message: str) -> None:
    for on in (host(stopped(STORED), links=LINKS), host(running([STORED], [LIVE]), links=LINKS)):
        with pytest.raises(MacvtapError, match=f"^{message}"):
            planner.plan([want(**given)], on)


def test_a_target_is_refused_where_a_domain_has_it_that_is_not_in_the_task() -> None:
    on = host(stopped(), macs={}, targets={"web0": ("db1",)})
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.target: web0 is already .* of domain db1"):
        planner.plan([want(source="eth0", target="web0")], on)
    assert planner.plan([want(source="eth0", target="web1")], on).changed


def test_a_target_is_refused_where_another_interface_has_it() -> None:
    web0 = changed(STORED, target="web0")
    other = Domain("db1", stored=(replace(web0, mac=OTHER),))
    with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]\.target: .*also .* interface {OTHER} of domain db1"):
        planner.plan([want(target="web0")], host(stopped(STORED), other))
    twins = [want(target="web0"), want(mac=OTHER, source="eth0", mode="bridge", target="web0")]
    with pytest.raises(MacvtapError, match=r"\.target: .* also the target"):
        planner.plan(twins, host(stopped(STORED)))
    # It moves from one to the other; and what stays is not judged.
    moving = [want(target="web0"), want(domain="db1", mac=OTHER, present=False)]
    assert planner.plan(moving, host(stopped(STORED), other)).changed
    assert not planner.plan([want(target="web0")], host(stopped(web0), other)).changed


def test_a_source_that_stays_is_not_judged() -> None:
    gone = changed(STORED, source="gone0")
    assert changes(planner.plan([want(source="gone0", mode="private")], host(stopped(gone), links=LINKS))) == [
        ("mode", "bridge", "private", "config")
    ]


def test_trust_is_refused_for_a_nic_that_does_not_report_its_filters() -> None:
    for given in ({"model": "e1000e", "trust_guest_rx_filters": "yes"}, {"trust_guest_rx_filters": "yes"}):
        on = host(stopped(changed(STORED, model="e1000e")))
        with pytest.raises(MacvtapError, match=r"\.trust_guest_rx_filters: QEMU does not report .* model e1000e"):
            planner.plan([replace(want(), given=given)], on)
    # What is so already is no business of this task.
    had = changed(STORED, model="e1000e", trust_guest_rx_filters="yes")
    assert not planner.plan([want(trust_guest_rx_filters="yes")], host(stopped(had))).changed


@pytest.mark.parametrize(
    ("card", "functions", "fits"),
    [
        (Link("eth2", 9, pci="0000:01:00.1"), frozenset(), True),
        (Link("eth2", 9, pci="0000:01:00.0"), frozenset({"eth2"}), False),
        (Link("eth2", 9), frozenset(), False),
    ],
)
def test_only_a_virtual_function_can_have_a_vlan(card: Link, functions: frozenset[str], fits: bool) -> None:
    on = host(stopped(), links={**LINKS, "eth2": card}, non_vfs=functions)
    desired = [want(source="eth2", mode="passthrough", vlan="20")]
    if fits:
        assert planner.plan(desired, on).changed
        return
    with pytest.raises(MacvtapError, match=r"\.vlan: eth2 is not an SR-IOV virtual function"):
        planner.plan(desired, on)


@pytest.mark.parametrize(
    ("name", "value"),
    [("alias", "ua-lan"), ("pci_address", "0000:02:00.0"), ("boot_order", "2"), ("acpi_index", "7")],
)
def test_what_no_two_devices_of_a_domain_can_have_is_given_once(name: str, value: str) -> None:
    other = changed(replace(STORED, mac=OTHER), **{"pci_address": "0000:03:00.0", name: value})
    on = host(stopped(STORED, other), Domain("web2", stored=(replace(other, mac="52:54:00:00:00:03"),)))
    with pytest.raises(
        MacvtapError, match=rf"^interfaces\[2\]\.{name}: {value} is also used by interface {OTHER} of the"
    ):
        planner.plan([replace(want(), given={name: value})], on)
    free = VALUES.get(name, "ua-1" if name == "alias" else "1")
    swapped = [replace(want(), given={name: value}), replace(want(mac=OTHER), given={name: free})]
    assert planner.plan(swapped, on).changed


def test_a_rom_that_is_off_is_not_tuned() -> None:
    off = changed(STORED, **{"rom.enabled": "no"})
    with pytest.raises(
        MacvtapError, match=r"^interfaces\[2\]\.rom\.bar: libvirt accepts rom.bar only with an enabled ROM"
    ):
        planner.plan([replace(want(), given={"rom.bar": "on"})], host(stopped(off)))
    tuned = changed(STORED, **{"rom.file": "/x"})
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.rom\.enabled: libvirt accepts rom.file only"):
        planner.plan([replace(want(), given={"rom.enabled": "no"})], host(stopped(tuned)))
    assert planner.plan([replace(want(), given={"rom.enabled": "yes", "rom.bar": "on"})], host(stopped(off))).changed
