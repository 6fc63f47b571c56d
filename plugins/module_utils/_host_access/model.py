# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Host interfaces (macvlan shims), over which a host and its guests reach each other. Plain values only."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, Link, Links

_T = t.TypeVar("_T")
_K = t.TypeVar("_K")
# The alias that marks host interfaces of this collection.
OWNER_ALIAS = "linuxvirt.macvtap host access"

STATES = ("present", "absent")

# Settings of a host interface before it comes up, by file below /proc/sys/net/FAMILY/conf/NAME. Measured with frames:
# see docs/dev/notes.md.
SETTINGS: t.Mapping[str, int] = {
    # It answers ARP only to addresses routed over it. Otherwise the LAN gets two answers for the host's address.
    "ipv4/arp_filter": 1,
    # It sends ARP requests with its own address. Otherwise the LAN learns the host's address at its MAC address.
    "ipv4/arp_announce": 2,
    # No second default route by router advertisements, and no address where something else sets accept_ra.
    "ipv6/accept_ra": 0,
    "ipv6/autoconf": 0,
}

# include/uapi/linux/rtnetlink.h
KERNEL_ROUTES, STATIC, RA, DHCP = (1, 2), 4, 9, 16  # RTPROT_: redirect and kernel, static, ra, dhcp
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
UNICAST = 1
MAIN = 254  # RT_TABLE_MAIN


@dataclass(frozen=True)
class DesiredShim:
    """One desired host interface; None means "keep" (for a new link: the kernel's default).

    ``addresses`` are in their canonical form, without a prefix's length, and ``guests`` networks with one, both in the
    declared order. ``path`` is where the user wrote it (``shims[3]``, or "" for the module's own options).
    """

    name: str
    path: str = ""
    state: str = "present"
    parent: str | None = None
    mac: str | None = None
    mtu: int | None = None
    addresses: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    dhcp4: bool = False


@dataclass(frozen=True)
class Address:
    """An IP address of a link; ``failed``: duplicate address detection found it in use elsewhere.

    ``leased``: it came from a DHCP server, known for IPv4 only. ``advertised``: an IPv6 address that the kernel made
    from a router advertisement.
    """

    address: str
    prefix: int
    failed: bool = False
    index: int = field(default=0, compare=False)
    tentative: bool = field(default=False, compare=False)
    link_local: bool = field(default=False, compare=False)
    leased: bool = field(default=False, compare=False)
    advertised: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}{' (duplicate)' if self.failed else ''}"


@dataclass(frozen=True)
class Route:
    """A route; ``index`` is that of its link, 0 where there is none or it is implied.

    ``metric`` 0 in a route to create is the kernel's choice. ``apart`` is why the other fields do not identify the
    route, so that it cannot be removed by them.
    """

    destination: str
    index: int = 0
    gateway: str | None = None
    source: str | None = None
    metric: int = 0
    protocol: int = STATIC
    scope: int = SCOPE_UNIVERSE
    kind: int = UNICAST
    table: int = MAIN
    apart: str = ""

    def __str__(self) -> str:
        text = f"{self.destination}{f' via {self.gateway}' if self.gateway else ''}"
        scope = " scope global" if family(self.destination) == 4 and self.scope == SCOPE_UNIVERSE else ""
        apart = f" ({self.apart})" if self.apart else ""
        return f"{text}{f' src {self.source}' if self.source else ''}{scope}{apart}"


@dataclass(frozen=True)
class Connection:
    """A connection to this host that Ansible runs over.

    ``index`` is that of the link over which the kernel sends to the peer, through ``gateway`` if set; 0 without a
    route.
    """

    local: str
    peer: str
    index: int = 0
    gateway: str | None = None


@dataclass(frozen=True)
class Reach:
    """How the host is reached: its addresses, its routes of all tables but local, and Ansible's connections.

    ``neighbours`` are MAC addresses by the IP addresses last seen at them.
    """

    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    connections: tuple[Connection, ...] = ()
    neighbours: t.Mapping[str, str] = field(default_factory=dict)

    def addresses_on(self, index: int) -> t.Sequence[Address]:
        """Return the addresses on the link with this index."""
        return self._addresses_by_index.get(index, ())

    def having(self, address: str) -> t.Sequence[Address]:
        """Return where an address is."""
        return self._addresses_by_text.get(address, ())

    def routes_over(self, index: int) -> t.Sequence[Route]:
        """Return the routes over the link with this index."""
        return self._routes_by_index.get(index, ())

    @functools.cached_property
    def _addresses_by_index(self) -> dict[int, list[Address]]:
        return _grouped(self.addresses, lambda one: one.index)

    @functools.cached_property
    def _addresses_by_text(self) -> dict[str, list[Address]]:
        return _grouped(self.addresses, lambda one: one.address)

    @functools.cached_property
    def _routes_by_index(self) -> dict[int, list[Route]]:
        return _grouped(self.routes, lambda one: one.index)


def _grouped(things: t.Iterable[_T], key: t.Callable[[_T], _K]) -> dict[_K, list[_T]]:
    found: dict[_K, list[_T]] = {}
    for one in things:
        found.setdefault(key(one), []).append(one)
    return found


@dataclass(frozen=True)
class Host:
    """The current state; ``settings`` are those of host interfaces by name, ``neighbours`` MAC by IP addresses.

    ``routes`` are those of the main table, and ``elsewhere`` those of other tables but local. ``without_ipv6`` names
    the host interfaces with IPv6 disabled, and "default" if new links have it disabled. ``made`` has the indexes of the
    links that this run created, ``lost`` what went with those that it removed: what the host had there, links on it.
    """

    links: Links
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    settings: t.Mapping[str, t.Mapping[str, int]] = field(default_factory=dict)
    connections: tuple[Connection, ...] = ()
    neighbours: t.Mapping[str, str] = field(default_factory=dict)
    ipv6: bool = True
    elsewhere: tuple[Route, ...] = ()
    without_ipv6: frozenset[str] = frozenset()
    made: frozenset[int] = frozenset()
    lost: t.Mapping[int, t.Tuple[Reach, t.Tuple[str, ...]]] = field(default_factory=dict)

    @property
    def reach(self) -> Reach:
        return Reach(self.addresses, (*self.routes, *self.elsewhere), self.connections, self.neighbours)


@dataclass(frozen=True)
class Shim:
    """A host interface with its addresses and routes, without those of the kernel and of the network manager.

    With ``dhcp4`` the IPv4 addresses of a DHCP lease, and the routes that came with it, are the manager's.
    """

    link: Link
    settings: t.Mapping[str, int]
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    dhcp4: bool = False

    @property
    def key(self) -> str:
        return self.link.key

    @property
    def state(self) -> str:
        return self.link.state


class Done:
    """The actions that a run records in its journal."""

    LINK = "link"  # it is removed, made, or both
    IN_PLACE = "in place"  # its attributes

    @staticmethod
    def setting(name: str) -> str:
        return f"set {name}"

    @staticmethod
    def gives(part: Address | Route) -> str:
        return f"give {_words(part)}"

    @staticmethod
    def takes(part: Address | Route) -> str:
        # Two routes may differ in their metric alone, and one that is there has it.
        return f"take {_words(part)}{f' metric {part.metric}' if isinstance(part, Route) else ''}"


def _words(part: Address | Route) -> str:
    """Return what identifies an address or a route, without what the kernel chooses."""
    if isinstance(part, Address):
        return f"{part.address}/{part.prefix}"
    return f"{part.destination} via {part.gateway} src {part.source} scope {part.scope} proto {part.protocol}"


def family(address: str) -> int:
    """Return 4 or 6 for an address or network in its canonical form."""
    return 6 if ":" in address else 4


def source_of(guests: str, addresses: t.Sequence[str]) -> str | None:
    """Return the source address of the route to ``guests``, a network: the first IPv4 address.

    None for IPv6: the kernel accepts no source before duplicate address detection ends, which takes a carrier. It
    prefers an address of the outgoing link anyway (RFC 6724, rule 5).
    """
    return next((address for address in addresses if family(address) == family(guests) == 4), None)


def lease_of(index: int, addresses: t.Iterable[Address]) -> str | None:
    """Return the address that the link has from a DHCP server."""
    return next((one.address for one in addresses if one.index == index and one.leased), None)


def is_managed(link: Link) -> bool:
    incomplete = link.group == INCOMPLETE_GROUP and not link.alias and not link.up
    return link.kind == "macvlan" and (link.alias == OWNER_ALIAS or incomplete)


def mtu_of(link: Link, host: Host) -> int | None:
    """Return the MTU of a host interface, predicted for a new one; None if unknown."""
    parent = host.links.get(link.parent or "")
    return link.mtu or (parent.mtu if parent else None)


def fields(shim: Shim) -> dict[str, t.Any]:
    """Return the settings of a host interface, and what follows from them, as JSON values."""
    link = shim.link
    return {
        "parent": link.parent,
        "mode": link.mode,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
        "addresses": [str(address) for address in shim.addresses],
        "guests": [str(route) for route in shim.routes],
        **{name.partition("/")[2]: value for name, value in shim.settings.items()},
    }


def report(shim: Shim) -> dict[str, t.Any]:
    """Return the host interface as modules return it."""
    link = shim.link
    return {
        "name": link.name,
        "ifindex": link.index or None,
        "parent": link.parent,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
        "addresses": [address.address for address in shim.addresses],
        "guests": [route.destination for route in shim.routes],
    }
