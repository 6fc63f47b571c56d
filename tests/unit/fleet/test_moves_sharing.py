# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests of one evacuation do not take each other's uplinks and link names."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_moves import fleet_moves

Look = t.Dict[str, t.Any]


def look(*guests: tuple[str, str, str], free: int = 8192, **uplink: t.Any) -> Look:
    """Return a host with an uplink eth0 and these running guests: the name, the mode and the link of each."""
    domains = []
    for number, (name, mode, target) in enumerate(guests):
        iface = {"type": "direct", "source": "eth0", "mode": mode, "target": target}
        mac = f"52:54:00:00:{len(name):02x}:{ord(name[-1]) + number:02x}"
        interface = {"mac": mac, "stored": iface, "live": iface}
        domains.append({"name": name, "running": True, "memory": 1024, "interfaces": [interface]})
    links = [{"name": "eth0", "ifindex": 2, "state": "up", **uplink}]
    return {"domains": domains, "links": links, "libvirt": {"available": True, "memory_free": free, "reason": None}}


def decided(looks: dict[str, Look], *sources: str, **options: t.Any) -> tuple[dict[str, str], dict[str, str]]:
    found = fleet_moves(looks, list(sources) or None, **options)
    return (
        {one["domain"]: one["destination"] for one in found["moves"]},
        {one["domain"]: one["reason"] for one in found["stuck"]},
    )


def test_two_guests_with_one_link_name_do_not_meet() -> None:
    looks = {"hv1": look(("web1", "bridge", "web0")), "hv2": look(("web2", "bridge", "web0")), "hv3": look()}
    moved, stuck = decided(looks, "hv1", "hv2")
    assert moved == {"web1": "hv3"}
    assert stuck["web2"].startswith("hv3: hv3 has a domain web1 whose link is called web0")
    moved, stuck = decided({**looks, "hv4": look(free=4096)}, "hv1", "hv2")
    assert (moved, stuck) == ({"web1": "hv3", "web2": "hv4"}, {})


def test_two_guests_with_an_uplink_of_their_own_do_not_meet() -> None:
    looks = {
        "hv1": look(("web1", "passthrough", "macvtap0")),
        "hv2": look(("web2", "passthrough", "macvtap0")),
        "hv3": look(),
    }
    moved, stuck = decided(looks, "hv1", "hv2")
    assert moved == {"web1": "hv3"}
    assert stuck["web2"].startswith("hv3: on hv3 a link in mode passthru must be the only one on its parent; eth0")


def test_no_guest_takes_the_uplink_of_a_host() -> None:
    looks = {
        "hv1": look(("web1", "passthrough", "macvtap0")),
        "hv2": look(addresses=["192.0.2.1/24"]),
        "hv3": look(free=2048),
    }
    assert decided(looks, "hv1") == ({"web1": "hv3"}, {})


def test_no_guest_comes_home_to_a_link_name_that_is_taken() -> None:
    looks = {"hv1": look(), "hv2": look(("web1", "bridge", "web0")), "hv3": look(("web2", "bridge", "web0"))}
    moved, stuck = decided(looks, homes={"web1": "hv1", "web2": "hv1"})
    assert moved == {"web1": "hv1"}
    assert stuck["web2"].startswith("hv1: hv1 has a domain web1 whose link is called web0")


def test_an_uplink_of_a_host_can_be_given_by_its_address() -> None:
    looks = {
        "hv1": look(("web1", "vepa", "macvtap0"), mac="02:00:00:00:03:01"),
        "hv2": look(mac="02:00:00:00:04:01"),
    }
    uplinks = {"hv1": "02:00:00:00:03:01", "hv2": "02:00:00:00:04:01"}
    assert decided(looks, "hv1", uplinks=uplinks) == ({"web1": "hv2"}, {})
    _moved, stuck = decided(looks, "hv1", uplinks={**uplinks, "hv2": "02:00:00:00:04:09"})
    assert stuck["web1"].startswith("hv2: no link with the MAC address 02:00:00:00:04:09 on hv2")
