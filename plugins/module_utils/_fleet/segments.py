# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The layer-2 segments of a host's links, by its variable macvtap_segment. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network

VARIABLE = "macvtap_segment"
# The segment of everything that the variable does not assign.
COMMON = "all"
_DEFAULT = "default"


def read(value: t.Any) -> tuple[str, dict[str, str]]:
    """Return a host's segment, and the segments of its links and networks.

    :raises MacvtapError: ``value`` is neither a name nor a dictionary of names.
    """
    if isinstance(value, t.Mapping):
        named = {str(link): _name(segment) for link, segment in value.items()}
        return named.pop(_DEFAULT, COMMON), named
    return (COMMON if value in (None, "") else _name(value)), {}


def _name(value: t.Any) -> str:
    if isinstance(value, (t.Mapping, list, tuple, bool)) or value in (None, ""):
        raise MacvtapError(
            f"must be a segment's name, or a dictionary of segment names by link, not {value!r}",
            path=VARIABLE,
        )
    return str(value)


def by_links(segments: t.Mapping[str, str], links: Links) -> dict[str, str]:
    """Return ``segments`` by link name. The keys may be any name or address of a link."""
    return {_link_name(name, links): segment for name, segment in segments.items()}


def of_link(host: Host, name: str | None) -> str:
    """Return the segment of the host's link or network ``name``: its own, or else the host's."""
    if not host.segments or not name:
        return host.segment
    return host.segments.get(_link_name(name, host.links), host.segment)


def of_network(host: Host, network: Network) -> str:
    """Return the segment of a libvirt network: its own, or else that of its uplinks."""
    uplink = network.interfaces[0] if network.interfaces else network.pf
    return host.segments[network.name] if network.name in host.segments else of_link(host, uplink)


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


def _link_name(name: str, links: Links) -> str:
    link = parents.lookup(name, links)
    return name if link is None else link.name
