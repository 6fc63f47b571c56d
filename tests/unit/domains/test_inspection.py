# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is told of domains, from plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Tap

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
STORED = Iface(A, values={"source": "eth0", "mode": "bridge", "model": "virtio"})
LIVE = replace(STORED, values={**STORED.values, "target": "macvtap0", "alias": "net0", "pci_address": "0000:01:00.0"})
DOMAIN = Domain("web1", "uuid1", running=True, stored=(STORED,), live=(LIVE,))
TAP = Tap("/dev/tap7", (245, 1), (245, 1), "libvirt-qemu", "kvm", 0o600)
LINK = Link("macvtap0", 7, "macvtap", "eth0", 2, "bridge", A, 1500, up=True, tap=TAP)
QEMU, OTHER = Holder(4711, "qemu-system-x86_64", "web1"), Holder(4712, "cat")


def host(*domains: Domain, **more: t.Any) -> Host:
    what: dict[str, t.Any] = {"links": {"macvtap0": LINK}, "holders": {"macvtap0": (QEMU,)}, "all_holders": True}
    return Host("qemu:///system", {domain.name: domain for domain in domains or (DOMAIN,)}, **{**what, **more})


def interface(seen: Host) -> dict[str, t.Any]:
    ((found,),) = (one["interfaces"] for one in inspection.domains(seen, all_of_them=False))
    return t.cast("dict[str, t.Any]", found)


def test_everything_of_a_running_guest() -> None:
    (result,) = inspection.domains(host(), all_of_them=False)
    interfaces = result.pop("interfaces")
    assert result == {"name": "web1", "uuid": "uuid1", "running": True, "persistent": True, "pid": 4711}
    assert interfaces == [
        {
            "mac": A,
            "stored": {"source": "eth0", "mode": "bridge", "model": "virtio"},
            "live": {
                "source": "eth0",
                "mode": "bridge",
                "model": "virtio",
                "target": "macvtap0",
                "alias": "net0",
                "pci_address": "0000:01:00.0",
            },
            "differences": [],
            "stale_mode": None,
            "link": {
                "name": "macvtap0",
                "ifindex": 7,
                "parent": "eth0",
                "mode": "bridge",
                "mac": A,
                "mtu": 1500,
                "state": "up",
            },
            "tap": {
                "path": "/dev/tap7",
                "major": 245,
                "minor": 1,
                "own": True,
                "owner": "libvirt-qemu",
                "group": "kvm",
                "mode": "0600",
            },
            "held_by_domain": True,
            "holders": [{"pid": 4711, "command": "qemu-system-x86_64", "domain": "web1"}],
        }
    ]


def test_a_domain_that_does_not_run_has_nothing_behind_it() -> None:
    stopped = replace(DOMAIN, running=False, live=())
    result = interface(host(stopped))
    assert result["stored"]
    assert not result["differences"]
    nothing = ("live", "stale_mode", "link", "tap", "held_by_domain", "holders")
    assert {name: result[name] for name in nothing} == dict.fromkeys(nothing)
    assert inspection.domains(host(stopped), all_of_them=False)[0]["pid"] is None


def test_the_guests_of_another_host_have_no_links_here() -> None:
    result = interface(host(links=None, holders={}, all_holders=False))
    assert result["live"]["target"] == "macvtap0"
    nothing = ("stale_mode", "link", "tap", "held_by_domain", "holders")
    assert {name: result[name] for name in nothing} == dict.fromkeys(nothing)


@pytest.mark.parametrize(
    ("holders", "everyone", "held", "listed"),
    [
        ((QEMU,), True, True, [4711]),
        ((OTHER, QEMU), True, True, [4712, 4711]),
        ((OTHER,), True, False, [4712]),
        ((), True, False, []),
        ((replace(QEMU, domain="web2"),), True, False, [4711]),
        # Not all processes could be looked into.
        ((), False, None, None),
        ((OTHER,), False, None, None),
        ((QEMU,), False, True, None),
    ],
)
def test_who_holds_the_tap(
    holders: tuple[Holder, ...], everyone: bool, held: bool | None, listed: list[int] | None
) -> None:
    result = interface(host(holders={"macvtap0": holders}, all_holders=everyone))
    assert result["held_by_domain"] is held
    assert (result["holders"] and [one["pid"] for one in result["holders"]]) == listed


def test_the_holder_of_a_tap_with_an_unknown_number_is_unknown() -> None:
    result = interface(host(links={"macvtap0": replace(LINK, tap=Tap("/dev/tap7"))}, holders={}))
    assert (result["tap"]["own"], result["held_by_domain"], result["holders"]) == (False, None, None)


@pytest.mark.parametrize("links", [{}, {"macvtap0": replace(LINK, kind="dummy", tap=None)}])
def test_a_link_that_is_gone_has_no_holder(links: dict[str, Link]) -> None:
    result = interface(host(links=links, holders={}))
    assert (result["link"], result["tap"], result["held_by_domain"], result["holders"]) == (None, None, False, [])


def test_a_node_that_is_another_links_shows() -> None:
    result = interface(host(links={"macvtap0": replace(LINK, tap=replace(TAP, node=(245, 9)))}))
    assert (result["tap"]["own"], result["tap"]["minor"]) == (False, 1)


def test_a_mode_that_libvirt_has_not_noticed() -> None:
    live = replace(LIVE, values={**LIVE.values, "mode": "vepa"}, stale_mode="bridge")
    result = interface(host(replace(DOMAIN, live=(live,))))
    assert (result["live"]["mode"], result["stale_mode"]) == ("vepa", "bridge")
    assert result["differences"] == [{"field": "mode", "stored": "bridge", "live": "vepa"}]


def test_differences_have_the_options_names_and_values() -> None:
    stored = replace(STORED, values={**STORED.values, "driver.queues": "4", "target": "web0", "link_state": "down"})
    live = replace(LIVE, values={**LIVE.values, "driver.queues": "2", "link_state": "up"})
    assert inspection.differences(stored, live, DOMAIN) == [
        {"field": "target", "stored": "web0", "live": "macvtap0"},
        {"field": "driver.queues", "stored": 4, "live": 2},
        {"field": "link_state", "stored": "down", "live": "up"},
    ]


@pytest.mark.parametrize(
    ("stored", "live", "message"),
    [
        (STORED, None, [{"field": "state", "stored": "present", "live": "absent"}]),
        (None, LIVE, [{"field": "state", "stored": "absent", "live": "present"}]),
    ],
)
def test_an_interface_on_one_side_only(stored: Iface | None, live: Iface | None, message: list[t.Any]) -> None:
    assert inspection.differences(stored, live, DOMAIN) == message
    # A transient domain has nothing stored, and one that does not run has nothing live: no difference of interest.
    assert inspection.differences(stored, live, replace(DOMAIN, persistent=False)) == []
    assert inspection.differences(stored, live, replace(DOMAIN, running=False)) == []


def test_an_interface_that_becomes_a_direct_one_is_returned() -> None:
    bridged = Iface(A, "bridge", {"model": "virtio"}, origin="br0")
    (pair,) = inspection.direct_pairs(replace(DOMAIN, stored=(STORED,), live=(bridged,)))
    assert pair == (STORED, bridged)
    assert inspection.differences(*pair, DOMAIN)[0] == {"field": "type", "stored": "direct", "live": "bridge"}
    result = interface(host(replace(DOMAIN, live=(bridged,))))
    assert (result["link"], result["held_by_domain"]) == (None, None)


def test_other_interfaces_are_not_returned() -> None:
    other = Iface(B, "network", origin="default")
    seen = host(replace(DOMAIN, stored=(other, STORED), live=(other, LIVE)), Domain("web2", stored=(other,)))
    assert [len(one["interfaces"]) for one in inspection.domains(seen, all_of_them=False)] == [1]
    assert [len(one["interfaces"]) for one in inspection.domains(seen, all_of_them=True)] == [1, 0]


def test_of_several_with_one_address_each_is_returned_once() -> None:
    second = replace(STORED, values={**STORED.values, "source": "eth1"})
    live = replace(LIVE, values={**LIVE.values, "source": "eth1", "target": "macvtap1"})
    last = replace(LIVE, mac=B)
    pairs = inspection.direct_pairs(replace(DOMAIN, stored=(STORED, second), live=(LIVE, live, last)))
    assert pairs == [(STORED, LIVE), (second, live), (None, last)]


@pytest.mark.parametrize(("number", "text"), [(9_000_000, "9.0.0"), (10_002_003, "10.2.3"), (0, "0.0.0")])
def test_a_version_is_written_as_people_do(number: int, text: str) -> None:
    assert inspection.version_text(number) == text
