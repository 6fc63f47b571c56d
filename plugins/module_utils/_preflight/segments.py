# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which layer-2 segment is behind a host's links, by its variable macvtap_segment. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Host, Nic

VARIABLE = "macvtap_segment"
# What of the variable is left out.
ONE = "all"
_DEFAULT = "default"


def read(said: t.Any) -> tuple[str, dict[str, str]]:
    """Return a host's segment, and those of its links and networks where it names one for each.

    :raises MacvtapError: it is neither a name nor names by links.
    """
    if isinstance(said, t.Mapping):
        named = {str(link): _name(segment) for link, segment in said.items()}
        return named.pop(_DEFAULT, ONE), named
    return (ONE if said in (None, "") else _name(said)), {}


def _name(said: t.Any) -> str:
    if isinstance(said, (t.Mapping, list, tuple, bool)) or said in (None, ""):
        raise MacvtapError(
            f"the name of a segment is needed, or a dictionary of the segments' names by the host's links, and found "
            f"is {said!r}",
            path=VARIABLE,
        )
    return str(said)


def by_links(segments: t.Mapping[str, str], links: Links) -> dict[str, str]:
    """Return ``segments`` by the links' names, whichever of a link's names or addresses was said."""
    return {_link(name, links): segment for name, segment in segments.items()}


def behind(host: Host, name: str | None) -> str:
    """Return the segment behind the host's link or network ``name``: its own, else the host's."""
    if not host.segments or not name:
        return host.segment
    return host.segments.get(_link(name, host.links), host.segment)


def of_nic(host: Host, nic: Nic) -> str:
    if not host.segments:
        return host.segment
    on = nic.final("source")
    if nic.type == "ethernet":
        # It is on whatever its link is on, which somebody else makes.
        link = host.links.get((nic.found and nic.found.get("target")) or "")
        on = link.parent if link else None
    elif nic.type != "direct":
        on = nic.found.origin if nic.found else None
    return behind(host, on)


def sites(hosts: t.Iterable[Host]) -> dict[str, str]:
    """Return where each host is, by its name: the same word for hosts with a segment in common, or by way of others."""
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


def _link(name: str, links: Links) -> str:
    link = parents.lookup(name, links)
    return name if link is None else link.name
