# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The layer-2 segments of the links of a fleet, and hosts that share some. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import Segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network


def _of(host: Host) -> Segments:
    return Segments(host.segment, host.segments, host.links, host.networks)


def of_link(host: Host, name: str | None) -> str:
    """Return the segment of the host's link or network ``name``: its own, or else the host's."""
    return _of(host).of_link(name)


def of_network(host: Host, network: Network) -> str:
    """Return the segment of a libvirt network: its own, or else that of its uplinks."""
    return _of(host).of_network(network)


def of_nic(host: Host, nic: Nic) -> str:
    if not host.segments:
        return host.segment
    network = host.networks.get(nic.network or "")
    if network is not None:
        return of_network(host, network)
    on = nic.final("source")
    if nic.type == "ethernet":
        # Something else creates its link; it is on that link's parent.
        link = host.links.get((nic.current and nic.current.get("target")) or "")
        on = link.parent if link else None
    elif nic.type != "direct":
        on = nic.current.origin if nic.current else None
    return of_link(host, on)


def sites(hosts: t.Iterable[Host]) -> dict[str, str]:
    """Return a site for each host name. Hosts that share a segment, also by way of others, have the same site."""
    leaders: dict[str, str] = {}

    def leader(segment: str) -> str:
        while leaders.setdefault(segment, segment) != segment:
            segment = leaders[segment]
        return segment

    hosts = tuple(hosts)
    for host in hosts:
        for segment in host.segments.values():
            leaders[leader(segment)] = leader(host.segment)
    return {host.name: leader(host.segment) for host in hosts}
