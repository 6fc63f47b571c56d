# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts of the direct networks of one host: their uplinks, and the NICs on them. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    Host,
    Nic,
    Place,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, join_names, suggest

# Kind, message and remedy.
_Finding = t.Tuple[str, str, str]
_DECLARE = "Declare it in macvtap_networks_networks, or declare another network for the NIC"


def conflicts(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    users = networks.users(host)
    for declared in host.declared_networks:
        network = host.networks.get(declared.name)
        if network is None:
            continue
        on_it = users.get(declared.name, ())
        for finding in (*_uplinks(network, host), *_alone(network, host, users), *_pool(network, on_it, host)):
            yield finding, Place(host.name, network=declared.name, seen="declared")
    for nic in host.nics:
        if nic.desired is not None and nic.network is not None and host.networks_known:
            for finding in _of_nic(nic, nic.network, host):
                yield finding, nic.place(host.name)


def _of_nic(nic: Nic, name: str, host: Host) -> t.Iterator[_Finding]:
    network = host.networks.get(name)
    if network is None:
        near = did_you_mean(suggest(name, host.networks, most=1))
        yield "network", f"there is no network {name} on this host{near}", _DECLARE
        return
    if not network.mode:
        yield "network", f"network {name} has no uplinks of its own: it is {network.forward or 'isolated'}", _DECLARE
        return
    if not network.active and not any(one.name == name for one in host.declared_networks):
        yield "network", f"network {name} is not active, so guests on it cannot start", "Declare it, or start it"
    groups = [group.name for group in network.portgroups]
    if nic.portgroup and nic.portgroup not in groups:
        known = f" (known: {join_names(groups)})" if groups else ""
        yield (
            "network",
            f"network {name} has no portgroup {nic.portgroup}{known}, and libvirt ignores unknown ones",
            "Declare it in the network's portgroups, or declare another one for the NIC",
        )


def _uplinks(network: Network, host: Host) -> t.Iterator[_Finding]:
    """Find uplinks that are down, or that do not lead to the same LAN."""
    links = [host.links[name] for name in network.interfaces if name in host.links]
    for link in links:
        # A VLAN link that is still to be created has no index.
        if link.index and not link.up and network.active:
            message = f"the uplink {link.name} of network {network.name} is down"
            yield "parent", message, f"Set {link.name} up, or declare another uplink"
    of_segments: dict[str, list[str]] = {}
    of_mtus: dict[int, list[str]] = {}
    for link in links:
        of_segments.setdefault(segments.of_link(host, link.name), []).append(link.name)
        if link.mtu:
            of_mtus.setdefault(link.mtu, []).append(link.name)
    if len(of_segments) > 1:
        message = f"the uplinks of network {network.name} are in several segments: {_grouped(of_segments)}"
        yield "network", message, "Declare a network for each segment, or correct macvtap_segment"
    if len(of_mtus) > 1:
        message = f"the uplinks of network {network.name} differ in their MTU: {_grouped(of_mtus)}"
        yield "mtu", f"{message}. A guest gets any of them", "Give all of them one MTU"


def _grouped(by: t.Mapping[t.Any, t.Sequence[str]]) -> str:
    return ", ".join(f"{key} ({join_names(names)})" for key, names in by.items())


def _alone(network: Network, host: Host, users: t.Mapping[str, t.Sequence[Nic]]) -> t.Iterator[_Finding]:
    """Find what else is on the uplinks of a network in mode passthrough."""
    if network.mode != "passthrough":
        return
    own = {nic.live.get("target") for nic in users.get(network.name, ()) if nic.live is not None}
    for name in network.interfaces:
        link = host.links.get(name)
        others = [*_on(name, host, own), *_other_networks(network, name, host)]
        if others:
            message = (
                f"{name} is an uplink of network {network.name} in mode passthrough, and also of {join_names(others)}"
            )
            yield "network", message, "Declare an uplink that nothing else uses"
        # One that it had before has either cut the host off already, or no guest has started on it.
        new = link is not None and name not in host.pools and "macvtap_networks" not in host.may_disconnect
        lost = reachability.cut_off(Disruption(name, Loss.PASSTHRU), host.reach, host.links) if new else None
        if lost is not None:
            hint = f"{lost[1]}, or set macvtap_networks_{reachability.ALLOW}: true"
            yield "disconnect", f"network {network.name}: {lost[0]}", hint


def _on(uplink: str, host: Host, own: t.Collection[str | None]) -> t.Iterator[str]:
    """Yield the links and NICs on an uplink, but not those of guests that are on its network."""
    absent = {link.key for link in host.declared_links if link.absent} | host.purged_links
    declared = {link.key for link in host.declared_links}
    for link in host.links.values():
        if link.parent == uplink and link.name not in {*own, *absent, *declared} and _counts(link):
            yield link.name
    yield from (link.key for link in host.declared_links if not link.absent and host.parent_of(link) == uplink)
    for nic in host.nics:
        running = nic.live is not None and host.links.get(nic.live.get("target") or "")
        if not running and nic.type == "direct" and nic.final("source") == uplink:
            yield f"{nic.domain} {nic.mac}".strip()


def _counts(link: Link) -> bool:
    return link.kind in MACVLAN_KINDS or link.kind == "vlan"


def _other_networks(network: Network, uplink: str, host: Host) -> t.Iterator[str]:
    for other in host.networks.values():
        if other.name != network.name and other.mode and uplink in other.interfaces:
            yield f"network {other.name}"


def _pool(network: Network, nics: t.Sequence[Nic], host: Host) -> t.Iterator[_Finding]:
    """Find networks in mode passthrough with more NICs than uplinks: the last guests could not start."""
    if network.mode != "passthrough":
        return
    uplinks, word, remedy = len(network.interfaces), "uplink", "Declare more uplinks, or fewer NICs"
    if network.pf is not None:
        link = parents.lookup(network.pf, host.links)
        functions = host.functions.get(link.name, () if link.kind else None) if link is not None else None
        if functions == () and network.active:
            message = f"{network.pf}, the pf of network {network.name}, has no virtual functions"
            yield "network", f"{message}: libvirt does not start it", "Create some, or declare another pf"
        uplinks, word, remedy = len(functions or ()), "virtual function", "Create more, or declare fewer NICs"
    if 0 < uplinks < len(nics):
        has = f"{uplinks} {word}{'s' if uplinks > 1 else ''} for {len(nics)} NICs"
        message = f"network {network.name} in mode passthrough has {has}, each of which takes one"
        yield "network", message, remedy
