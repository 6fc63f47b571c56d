# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The layer-2 segments of a host's links and networks, by its variable macvtap_segment. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
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


def _link_name(name: str, links: Links) -> str:
    link = parents.lookup(name, links)
    return name if link is None else link.name


@dataclass(frozen=True)
class Segments:
    """A host's segment, and those that are ``named``, by the names of its links and networks."""

    common: str = COMMON
    named: t.Mapping[str, str] = field(default_factory=dict)
    links: Links = field(default_factory=dict)
    networks: t.Mapping[str, Network] = field(default_factory=dict)

    def of_link(self, name: str | None) -> str:
        """Return the segment of a link or network: its own, or else the host's."""
        if not self.named or not name:
            return self.common
        return self.named.get(_link_name(name, self.links), self.common)

    def of_network(self, network: Network) -> str:
        """Return the segment of a libvirt network: its own, or else that of its uplinks."""
        uplink = network.interfaces[0] if network.interfaces else network.pf
        return self.named[network.name] if network.name in self.named else self.of_link(uplink)

    def of_iface(self, iface: Iface) -> str:
        """Return the segment of a domain's interface on an uplink, a bridge or a network."""
        name = iface.get("network")
        network = self.networks.get(name or "")
        if network is not None:
            return self.of_network(network)
        if name is not None and name in self.named:
            return self.named[name]
        return self.of_link(iface.get("source") if iface.type == "direct" else iface.origin)
