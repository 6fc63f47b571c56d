# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a companion is, a link by which host and guests of one parent reach each other. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links

# The alias of a companion, by which this collection knows its own.
MARK = "linuxvirt.macvtap host access"
# The link group of one that is being made. The kernel takes no alias with the request that makes a link, but a group:
# so one that a killed run has left without its alias is known all the same. Any other number would do.
HALF_MADE = 0x6D766C6E

STATES = ("present", "absent")

# What is set on a companion before it comes up, by its file below /proc/sys/net/FAMILY/conf/NAME. Measured with frames:
# see docs/dev/notes.md.
SETTINGS: t.Mapping[str, int] = {
    # It answers those only that are routed over it. Else everybody on the LAN gets two answers for the host's address.
    "ipv4/arp_filter": 1,
    # It asks with an address of its own. Else the LAN learns the host's ordinary address at the companion's MAC.
    "ipv4/arp_announce": 2,
    # A router on the LAN gives it no second default route, and no address where something else sets accept_ra.
    "ipv6/accept_ra": 0,
    "ipv6/autoconf": 0,
}

# include/uapi/linux/rtnetlink.h
KERNEL_ROUTES, STATIC, RA, DHCP = (1, 2), 4, 9, 16  # RTPROT_: redirect and kernel, static, ra, dhcp
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
UNICAST = 1
MAIN = 254  # RT_TABLE_MAIN
# IPV6_MIN_MTU: on a link with less the kernel has no IPv6, and none of its settings (addrconf_notify()).
IPV6_MTU = 1280


@dataclass(frozen=True)
class Wanted:
    """One companion as a user declared it; None means "leave it as it is" (a new link: the kernel's default).

    ``addresses`` are in their canonical form, without a prefix's length, and ``guests`` networks with one, both in the
    declared order. ``path`` is where the user wrote it (``companions[3]``, or "" for the module's own options).
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
    """An IP address of a link; ``failed``: duplicate address detection has found that somebody else has it.

    ``leased``: it has come from a DHCP server. Only of IPv4 that is known. ``advertised``: of IPv6, made by the kernel
    from what a router has advertised.
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
        return f"{self.address}/{self.prefix}{' (somebody else has it)' if self.failed else ''}"


@dataclass(frozen=True)
class Route:
    """A route; ``index`` is that of its link, 0 where there is none or it goes without saying.

    ``metric`` 0 is the kernel's choice in one that is still to be made. ``apart`` says what makes it one that is not to
    be told from others by the rest of the fields, and so not to be removed by them.
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
        said = f"{self.destination}{f' via {self.gateway}' if self.gateway else ''}"
        scope = " scope global" if family(self.destination) == 4 and self.scope == SCOPE_UNIVERSE else ""
        apart = f" ({self.apart})" if self.apart else ""
        return f"{said}{f' src {self.source}' if self.source else ''}{scope}{apart}"


@dataclass(frozen=True)
class Connection:
    """Somebody's connection to this host, over which Ansible runs.

    ``index`` is that of the link over which the kernel sends to the peer, by ``gateway`` if that is another machine; 0
    where it knows no way.
    """

    local: str
    peer: str
    index: int = 0
    gateway: str | None = None


@dataclass(frozen=True)
class Reach:
    """By what the host is reached: its addresses, its routes of all tables but the kernel's own, and Ansible's way.

    ``neighbours`` are MAC addresses by the IP addresses that the host has last seen there.
    """

    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    connections: tuple[Connection, ...] = ()
    neighbours: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """What is observed; ``settings`` are those of the companions by their names, ``neighbours`` MAC by IP addresses.

    ``routes`` are those of the main table, and ``elsewhere`` those of others, but for the kernel's own.
    ``without_ipv6`` are the companions on which IPv6 is switched off, and "default" if it is so on new links. ``made``
    has the indexes of the links that this run has made.
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

    @property
    def reach(self) -> Reach:
        return Reach(self.addresses, (*self.routes, *self.elsewhere), self.connections, self.neighbours)


@dataclass(frozen=True)
class Companion:
    """A companion with what is on it, less what the kernel puts there by itself and what the host's manager may.

    With ``dhcp4`` these are the IPv4 addresses that it has from a DHCP server, and the routes that came with them.
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
    """The words for what a run has begun of a step, in its journal."""

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
        return f"take {_words(part)}"


def _words(part: Address | Route) -> str:
    """Return what an address or a route of a companion is told by, less what the kernel chooses."""
    if isinstance(part, Address):
        return f"{part.address}/{part.prefix}"
    return f"{part.destination} via {part.gateway} src {part.source} scope {part.scope} proto {part.protocol}"


def family(address: str) -> int:
    """Return 4 or 6 for an address or network in its canonical form."""
    return 6 if ":" in address else 4


def source_of(guests: str, addresses: t.Sequence[str]) -> str | None:
    """Return what the host sends from to the guests, a network: the first of the companion's IPv4 addresses.

    Of IPv6 nothing: the kernel takes none whose duplicate address detection is not over, which it never is while the
    parent has no carrier. It chooses an address of the link that it sends over by itself (RFC 6724, rule 5).
    """
    return next((address for address in addresses if family(address) == family(guests) == 4), None)


def lease_of(index: int, addresses: t.Iterable[Address]) -> str | None:
    """Return the address that the link has from a DHCP server."""
    return next((one.address for one in addresses if one.index == index and one.leased), None)


def is_ours(link: Link) -> bool:
    half_made = link.group == HALF_MADE and not link.alias and not link.up
    return link.kind == "macvlan" and (link.alias == MARK or half_made)


def mtu_of(link: Link, host: Host) -> int | None:
    """Return the MTU of a companion, that which the kernel will give it if it is still to be made; None: not known."""
    parent = host.links.get(link.parent or "")
    return link.mtu or (parent.mtu if parent else None)


def fields(companion: Companion) -> dict[str, t.Any]:
    """Return what can be declared of a companion and what follows from that, as plain values that JSON has."""
    link = companion.link
    return {
        "parent": link.parent,
        "mode": link.mode,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
        "addresses": [str(address) for address in companion.addresses],
        "guests": [str(route) for route in companion.routes],
        **{name.partition("/")[2]: value for name, value in companion.settings.items()},
    }


def report(companion: Companion) -> dict[str, t.Any]:
    """Return the companion as modules return it."""
    link = companion.link
    return {
        "name": link.name,
        "ifindex": link.index or None,
        "parent": link.parent,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
        "addresses": [address.address for address in companion.addresses],
        "guests": [route.destination for route in companion.routes],
    }
