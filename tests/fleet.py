# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Fleets for tests and the benchmark: results of macvtap_host_info, and the roles' variables."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Portgroup

Values = t.Dict[str, t.Any]


def mac(number: int) -> str:
    return f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def iface(address: str, source: str = "eth0", mode: str = "bridge", **values: str) -> Iface:
    return Iface(address, values={"source": source, "mode": mode, **values})


def uplink(number: int, name: str = "eth0", **values: t.Any) -> Link:
    own = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
    return Link(**{"name": name, "index": 2, "mac": own, "mtu": 1500, "up": True, **values})


def network(name: str = "lan", *interfaces: str, mode: str = "bridge", groups: str = "", **values: t.Any) -> Network:
    """Return an active network, direct unless ``mode`` is empty, with portgroups of these names."""
    portgroups = tuple(Portgroup(group) for group in groups.split())
    own = {"interfaces": interfaces, "forward": mode or "nat", "portgroups": portgroups, "active": True, **values}
    return Network(mode=mode, name=name, **own)


def found(
    *more: Link | Domain | Network,
    number: int = 1,
    version: str | None = "9.0.0",
    relay: t.Mapping[str, bool] | None = None,
    reach: Reach = report.NO_REACH,
    functions: t.Mapping[str, t.Sequence[str]] | None = None,
) -> Values:
    """Return the current state of a host with the uplink eth0, and with ``more`` links and domains."""
    links = [uplink(number), *(thing for thing in more if isinstance(thing, Link))]
    there = {link.name: link for link in links}
    reported = report.links(there, {}, reach, functions or {})
    for link in reported:
        link["reflective_relay"] = (relay or {}).get(link["name"])
    return {
        "kernel": {"supported": True},
        "links": reported,
        "connections": report.connections(there, reach),
        "libvirt": {
            "uri": "qemu:///system",
            "available": version is not None,
            "version": version,
            "reason": None if version else "no daemon",
        },
        "networks": report.networks(thing for thing in more if isinstance(thing, Network)) if version else None,
        "domains": report.domains(thing for thing in more if isinstance(thing, Domain)),
    }


def declared(*interfaces: Values, links: t.Sequence[Values] = (), **variables: t.Any) -> Values:
    """Return the roles' variables, given by their names without macvtap_."""
    return {
        "macvtap_domains_source": "eth0",
        "macvtap_domains_interfaces": list(interfaces),
        "macvtap_links_parent": "eth0",
        "macvtap_links_links": list(links),
        **{f"macvtap_{name}": value for name, value in variables.items()},
    }


def many(hosts: int, nics: int) -> dict[str, Values]:
    """Return a fleet without conflicts: of each host's NICs, half are declared and found, half only declared."""
    fleet = {}
    for number in range(hosts):
        domains = [
            Domain(
                f"web{number}-{half}",
                f"00000000-0000-0000-0000-{number:06d}{half:06d}",
                running=True,
                stored=(iface(mac(number * nics + 2 * half)),),
                live=(iface(mac(number * nics + 2 * half), target=f"macvtap{half}"),),
            )
            for half in range(nics // 2)
        ]
        links = [
            Link(f"macvtap{half}", 10 + half, "macvtap", "eth0", 2, "bridge", mac(number * nics + 2 * half), 1500)
            for half in range(nics // 2)
        ]
        interfaces = [
            {"domain": f"web{number}-{nic // 2}", "mac": mac(number * nics + nic)} for nic in range(nics // 2 * 2)
        ]
        fleet[f"hv{number}"] = {
            "declared": declared(*interfaces),
            "found": found(*domains, *links, number=number),
        }
    return fleet
