# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Shortcuts for tests that compare fleets with preflight."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

from fleet import Values, declared, found, mac, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Conflict
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

A, B = mac(1), mac(2)
U1, U2 = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def fleet(*hosts: tuple[Values, Values]) -> dict[str, Values]:
    """Return the hosts as a fleet on which each declared domain exists, without NICs if need be."""
    uuids = {domain["name"]: domain["uuid"] for _variables, there in hosts for domain in there.get("domains", ())}
    made = {}
    for number, (variables, there) in enumerate(hosts, 1):
        if there.get("libvirt", {}).get("available"):
            known = {domain["name"] for domain in there["domains"]}
            names = {name for name in declared_domains(variables) if name not in known}
            bare = [Domain(name, uuids.get(name, f"of {name}")) for name in sorted(names)]
            there = {**there, "domains": [*there["domains"], *report.domains(bare)]}  # noqa: PLW2901
        made[f"hv{number}"] = {"declared": variables, "found": there}
    return made


def declared_domains(variables: Values) -> t.Iterator[str]:
    interfaces = variables.get("macvtap_domains_interfaces")
    for entry in interfaces if isinstance(interfaces, list) else ():
        if isinstance(entry, dict) and entry.get("domain"):
            yield entry["domain"]


def conflicts(*hosts: tuple[Values, Values]) -> list[Conflict]:
    got = compare.conflicts(fleet(*hosts))
    json.dumps([one.as_dict() for one in got])
    return got


def only(*hosts: tuple[Values, Values]) -> Conflict:
    (conflict,) = conflicts(*hosts)
    return conflict


def places(conflict: Conflict) -> list[str]:
    """Return the places of a conflict as texts."""
    return [" ".join(filter(None, (p.host, p.domain, p.nic or p.link or p.network, p.seen))) for p in conflict.where]


def web(name: str = "web1", uuid: str = U1, *stored: Iface, live: t.Sequence[Iface] = ()) -> Domain:
    return Domain(name, uuid, bool(live), stored=stored, live=tuple(live))


def on_lan(address: str, *, live: str = "", **values: str) -> Iface:
    """Return a NIC on the network lan as it is stored, or with a ``live`` uplink as it runs."""
    own = {"network": "lan", **({"source": live, "mode": "bridge"} if live else {}), **values}
    return Iface(address, values=own)


def nic(domain: str = "web1", **options: t.Any) -> Values:
    return {"domain": domain, **options}


def macvtap(name: str, address: str, mode: str = "bridge", parent: str = "eth0", **values: t.Any) -> Link:
    return Link(name, 10, "macvtap", parent, 2, mode, address, 1500, **values)


def shim(*addresses: str, name: str = "host0", parent: str = "eth0", **more: t.Any) -> Values:
    entry = {"name": name, "addresses": list(addresses), **more}
    return declared(host_access_shims=[entry], host_access_parent=parent)


def vlan(number: int, parent: str = "eth0", own: str | None = None, **values: t.Any) -> Link:
    name = f"{parent}.{number}"
    own = own or uplink(1).mac
    made = Link(name, 100 + number, "vlan", parent, 2, None, own, 1500, up=True, vlan_id=number, vlan_protocol="802.1Q")
    return replace(made, **values)


NOTHING = declared()
H1, H2 = found(number=1), found(number=2)
