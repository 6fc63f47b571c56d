# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Direct networks that are missing, or something else, on another host of their segment. Pure.

Guests on a network can move to any host that has it. So it should be the same on all hosts that they could move to.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Conflict, Host, Place
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

_Sides = t.List[t.Tuple[Host, Network]]
_HINT = "Declare it the same on every host. Hosts whose guests never move to each other can have separate segments"


def conflicts(fleet: t.Sequence[Host]) -> t.Iterator[Conflict]:
    sites = segments.sites(fleet)
    by_site: dict[str, list[Host]] = {}
    for host in fleet:
        by_site.setdefault(sites[host.name], []).append(host)
    for hosts in by_site.values():
        for name in dict.fromkeys(declared.name for host in hosts for declared in host.declared_networks):
            sides = [(host, host.networks[name]) for host in hosts if name in host.networks]
            yield from _differences(name, sides)
        yield from _missing(hosts)


def _differences(name: str, sides: _Sides) -> t.Iterator[Conflict]:
    """Find what a guest that moves would notice: another mode, LAN or MTU."""
    modes = [(host, network.mode or f"not direct ({network.forward})") for host, network in sides]
    known = [one for one in modes if one[1] != AUTO]
    yield from _conflict("network", f"network {name} has several modes", name, known)
    direct = [(host, network) for host, network in sides if network.mode]
    of_segments = [(host, segments.of_network(host, network)) for host, network in direct]
    yield from _conflict("network", f"network {name} is in several segments", name, of_segments)
    mtus = [(host, mtu) for host, network in direct if (mtu := _mtu(host, network))]
    yield from _conflict("mtu", f"network {name} has uplinks of several MTUs", name, mtus)


def _mtu(host: Host, network: Network) -> int | None:
    return next((host.links[name].mtu for name in network.interfaces if name in host.links), None)


def _conflict(kind: str, message: str, name: str, values: t.Sequence[tuple[Host, t.Any]]) -> t.Iterator[Conflict]:
    by_value: dict[t.Any, list[str]] = {}
    for host, value in values:
        by_value.setdefault(value, []).append(host.name)
    if len(by_value) > 1:
        parts = "; ".join(f"{value} on {join_names(names)}" for value, names in by_value.items())
        where = tuple(_place(host, name) for host, _value in values)
        yield Conflict(kind, f"{message}: {parts}", _HINT, where, values[0][0].segment)


def _place(host: Host, name: str) -> Place:
    declared = any(one.name == name for one in host.declared_networks)
    return Place(host.name, network=name, seen="declared" if declared else "found" if name in host.networks else "")


def _missing(hosts: t.Sequence[Host]) -> t.Iterator[Conflict]:
    """Find networks, and portgroups, that guests of one host are declared on and that another host does not have."""
    needed: dict[str, dict[str | None, list[Host]]] = {}
    for host in hosts:
        for nic in host.nics:
            if nic.desired is not None and nic.network is not None and networks.of_nic(host, nic) is not None:
                # Whatever its portgroup, it needs the network.
                for group in dict.fromkeys((None, nic.portgroup)):
                    users = needed.setdefault(nic.network, {}).setdefault(group, [])
                    users += [host] if host not in users else []
    for name, of_groups in needed.items():
        for group, users in of_groups.items():
            segment = segments.of_network(users[0], users[0].networks[name])
            others = [host for host in hosts if host not in users and _could_take(host, segment)]
            lacking = [host for host in others if _lacks(host, name, group)]
            if lacking:
                yield _missing_on(lacking, users, name, group, segment)


def _missing_on(
    lacking: t.Sequence[Host], users: t.Sequence[Host], name: str, group: str | None, segment: str
) -> Conflict:
    what = f"network {name}" if group is None else f"portgroup {group} of network {name}"
    of = join_names([host.name for host in users])
    message = f"{what} is missing on {join_names([host.name for host in lacking])}: guests of {of} could not move there"
    return Conflict("network", message, _HINT, tuple(_place(host, name) for host in (*users, *lacking)), segment)


def _could_take(host: Host, segment: str) -> bool:
    """Whether guests of ``segment`` could move to ``host``: it declares NICs or networks, and has that segment."""
    used = any(nic.desired is not None for nic in host.nics) or bool(host.declared_networks)
    return used and host.networks_known and segment in {host.segment, *host.segments.values()}


def _lacks(host: Host, name: str, group: str | None) -> bool:
    network = host.networks.get(name)
    if group is None:
        return network is None
    # _differences() reports one that is something else.
    return network is not None and bool(network.mode) and network.portgroup(group) is None
