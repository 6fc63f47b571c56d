# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Fleets whose report is looked at in a browser."""

from __future__ import annotations

import typing as t

from fleet import Values, declared, found, iface, mac, many, network

from ansible_collections.linuxvirt.macvtap.plugins.filter.overview_text import overview_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import overview


def html(fleet: Values, before: Values | None = None) -> str:
    """Return the page of a fleet."""
    earlier = None if before is None else overview.overview(before)
    return overview_text(overview.overview(fleet), "html", before=earlier, made="2026-11-27 14:00 UTC")


def two() -> Values:
    """Return two hypervisors on which there is something of everything."""
    return {"hv1": _first("bridge"), "hv2": _second()}


def before() -> Values:
    """Return the same before somebody has changed a mode by hand."""
    return {"hv1": _first("private"), "hv2": _second()}


def large(hosts: int) -> Values:
    """Return a fleet with ten NICs on each host."""
    return many(hosts, 10)


def _guest(name: str, number: int, *, running: bool = True, **values: str) -> Domain:
    nic = iface(mac(number), **values)
    live = iface(mac(number), target=f"macvtap{number % 16}", **values)
    return Domain(name, f"uuid-{number}", running, stored=(nic,), live=(live,) if running else ())


def _first(mode: str) -> Values:
    guests = [
        _guest("web1", 0x101, mode=mode, allmulticast="yes"),
        _guest("web2", 0x102, allmulticast="yes"),
        _guest("web10", 0x103, source="eth0.20", trust_guest_rx_filters="yes"),
        _guest("db1", 0x104, source="eth0.20", running=False),
    ]
    links = [
        Link("eth0.20", 5, "vlan", "eth0", 2, mac="02:00:00:00:00:01", mtu=1500, up=True, vlan_id=20),
        Link("spare0", 10, "macvtap", "eth0", 2, "bridge", mac(0x1F0), 1500),
        Link("stray0", 11, "macvtap", "eth0", 2, "vepa", mac(0x1F1), 1500),
    ]
    there = found(*guests, *links, network("lan", "eth0"), relay={"eth0": False})
    _speeds(there, 10000)
    there["pending"] = [
        {
            "domain": "web2",
            "mac": mac(0x102),
            "state": "held",
            "since": "2026-11-27T12:00:00+00:00",
            "error": None,
            "returns": {"source": "eth1"},
        }
    ]
    nics = [{"domain": one.name, "mac": one.stored[0].mac} for one in guests if one.name != "web10"]
    nics[2]["source"] = "eth0.20"
    trusted = {"domain": "web10", "mac": mac(0x103), "source": "eth0.20", "trust_guest_rx_filters": True}
    guards = [
        {"mac": mac(0x101), "policy": "drop", "counters": {"mac": {"packets": 3}}},
        {"mac": mac(0x102), "policy": "count"},
    ]
    addresses = [_addresses("web1", 0x101, "192.0.2.17"), _addresses("web2", 0x102, "192.0.2.18")]
    return {
        "declared": declared(
            *nics,
            trusted,
            links=[{"name": "spare0", "mac": mac(0x1F0), "mode": "private"}],
            domains_allmulticast=True,
        ),
        "found": {**there, "guards": guards, "addresses": {"guests": addresses, "reason": None}},
    }


def _second() -> Values:
    guests = [_guest("web3", 0x201, allmulticast="yes"), _guest("mail1", 0x202, allmulticast="yes")]
    there = found(*guests, number=2)
    _speeds(there, 2500)
    nics = [{"domain": one.name, "mac": one.stored[0].mac} for one in guests]
    # It has the address of a guest of hv1, and another one does not exist yet.
    nics.append({"domain": "mail1", "mac": mac(0x101)})
    there["addresses"] = {"guests": [_addresses("web3", 0x201, "192.0.2.33")], "reason": None}
    return {"declared": declared(*nics), "found": there}


def _addresses(name: str, number: int, address: str) -> dict[str, t.Any]:
    return {"name": name, "interfaces": [{"mac": mac(number), "addresses": [{"address": address}]}]}


def _speeds(there: Values, speed: int) -> None:
    for link in there["links"]:
        if link["kind"] in {"", "vlan"}:
            link.update(carrier=True, speed=speed)
