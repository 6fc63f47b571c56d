# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a guest may send, and what of that a host has. Plain values only."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass, field, fields

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac

DROP, COUNT = "drop", "count"
# What a file has that this version would not write.
UNKNOWN = "unknown"
LEARNED = "learned"
ANY = "any"
# Of EtherType numbers, those that nftables has words for.
ETHERTYPES: t.Mapping[str, int] = {"ip": 0x0800, "arp": 0x0806, "8021q": 0x8100, "ip6": 0x86DD, "8021ad": 0x88A8}
DEFAULT_ETHERTYPES = ("arp", "ip", "ip6")
# Within a tag nothing else is checked.
TAGS = ("8021q", "8021ad")
# How many addresses of a family a guest may have at one time that were learned, and for how many seconds of silence.
LEARNED_V4, LEARNED_V6, LEARNED_SECONDS = 1, 16, 3600

# The kinds of frames that are dropped or counted: comments of the rules, and keys of the counters.
MAC, ETHERTYPE, RATE, ARP, ND = "mac", "ethertype", "rate", "arp", "nd"
ADDRESS, DHCP, ROUTER, PEER, MALFORMED = "address", "dhcp_server", "router_advertisement", "peer", "malformed"
# A rule that is no check.
MIRROR = "mirror"
KINDS = (RATE, MAC, ETHERTYPE, DHCP, ROUTER, ARP, ND, PEER, ADDRESS, MALFORMED)
# Of no rule, but of the program on the link: see checksum_program.py.
CHECKSUM = "checksum"


@dataclass(frozen=True)
class Guard:
    """What the guest whose NIC has the address ``mac`` may send. The values are canonical: see options.py.

    ``addresses`` are IPv4 and IPv6 addresses and prefixes in order, () for any, or (LEARNED,). If there are any, the
    NIC's link-local IPv6 address is among them or covered. ``ethertypes`` are words and hexadecimal numbers in order,
    or (ANY,). ``peers`` are MAC addresses, IP addresses and prefixes in order, () for all. ``rate`` is in frames per
    second, 0 for any. ``mirror_to`` is a link, "" for none.

    ``entry`` is the file's entry as JSON if this version would not write it so, else "". Only such a guard has the
    policy UNKNOWN. It says nothing of what it loads, and is never the one that is loaded.
    """

    mac: str
    policy: str = DROP
    other_macs: bool = False
    addresses: tuple[str, ...] = ()
    ethertypes: tuple[str, ...] = DEFAULT_ETHERTYPES
    peers: tuple[str, ...] = ()
    dhcp_server: bool = False
    router_advertisements: bool = False
    rate: int = 0
    mirror_to: str = ""
    entry: str = ""

    @property
    def known(self) -> Guard | None:
        """The guard, None if only its entry is known."""
        return self if self.policy != UNKNOWN else None

    @property
    def options(self) -> dict[str, t.Any]:
        """Return the values by the names of their options."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("mac", "entry")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def from_options(mac: str, values: t.Mapping[str, t.Any]) -> Guard:
    """Return the inverse of ``Guard.options``."""
    canonical: dict[str, t.Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in values.items()}
    return Guard(mac, **canonical)


@dataclass(frozen=True)
class GuestLink:
    """A macvtap link of the host."""

    name: str
    index: int
    mac: str


@dataclass(frozen=True)
class Binding:
    """A chain that hands the frames of a link to a guard's chain.

    ``index`` is that of the link, None for whatever link has the name. If the link with that index is gone, the chain
    does nothing. ``intact`` is whether the chain is at its hook, and has nothing else. ``closed`` is whether it lets
    nothing out instead, until the guard is put on: of a link that a NIC was about to get.
    """

    link: str
    mac: str
    index: int | None
    intact: bool = True
    closed: bool = False


@dataclass(frozen=True)
class State:
    """One guard on the host: what the file has of it, what the kernel has, and the names of the links that it is on.

    ``active`` is None where the kernel has no chain for it, and ``modified`` is whether that has other rules than this
    collection's. ``unchecked`` are those of the links that lack the program for checksums, and could have it.
    ``outdated`` is whether the rules are those of an earlier version. ``indexes`` are those of links when this was
    planned, by name, as far as they are known: a name may be given to another link.
    """

    mac: str
    stored: Guard | None = None
    active: Guard | None = None
    links: tuple[str, ...] = ()
    modified: bool = False
    unchecked: tuple[str, ...] = ()
    outdated: bool = False
    indexes: t.Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def guarded(self) -> list[str]:
        """The links that lack nothing."""
        return [link for link in self.links if link not in self.unchecked]

    @property
    def exists(self) -> bool:
        return self.stored is not None or self.active is not None or self.modified or bool(self.links)


@dataclass(frozen=True)
class Host:
    """What was observed: the guards by MAC address, the macvtap links by name, and the chains on links.

    ``recorded`` is whose links those are that had a guard, by name: see guard_links.py. ``asleep`` are the guards that
    are loaded in a table that is dormant, and ``woken`` is whether this run has woken it.
    """

    guards: t.Mapping[str, State]
    links: t.Mapping[str, GuestLink]
    bindings: tuple[Binding, ...] = ()
    recorded: t.Mapping[str, str] = field(default_factory=dict)
    # Of all links, whatever their kind.
    names: frozenset[str] = frozenset()
    # The links that have come since this run has first looked, whoever had their names then.
    new: frozenset[str] = frozenset()
    asleep: frozenset[str] = frozenset()
    woken: bool = False

    def state(self, mac: str) -> State:
        return self.guards.get(mac, State(mac))


def still(planned: t.Mapping[str, GuestLink], links: t.Mapping[str, GuestLink]) -> dict[str, GuestLink]:
    """Return the ``links`` but for those whose names others had that were ``planned``.

    libvirt gives the name of a guest that has stopped to the next one that starts.
    """
    return {name: one for name, one in links.items() if planned.get(name, one).index == one.index}


def new(former: t.Mapping[str, GuestLink], links: t.Mapping[str, GuestLink]) -> frozenset[str]:
    """Return the names of the ``links`` that were not among the ``former`` ones, whoever had their names."""
    return frozenset(name for name, one in links.items() if name not in former or former[name].index != one.index)


def owners(host: Host, planned: t.Collection[str] = ()) -> dict[str, str]:
    """Return the NIC that each link belongs to, where there are the guards of ``host`` and those that are ``planned``.

    A link keeps its guard as long as it is there, whatever address it has: a guest may have given it another one, even
    that of another guest. If the chains are gone, what was recorded of the link tells whose it is.
    """
    recorded = {link: mac for link, mac in host.recorded.items() if mac in planned or host.state(mac).exists}
    kept = {link: state.mac for state in host.guards.values() for link in state.links}
    return {**{link.name: link.mac for link in host.links.values()}, **recorded, **kept}


def outlived(host: Host, absent: t.Collection[str]) -> dict[tuple[str, int], None]:
    """Return the links by name and index whose records are of guards that are declared ``absent``, and are not there.

    Where others have removed the rules, there was nothing more to remove than the record.
    """
    found = [link for link, mac in host.recorded.items() if mac in absent and not host.state(mac).exists]
    return {(link, host.links[link].index): None for link in found if link in host.links}


def link_local(mac: str) -> str:
    """Return the link-local IPv6 address that follows from a MAC address (EUI-64)."""
    return _mac.eui64(mac, ipaddress.IPv6Network("fe80::/64"))


def by_family(texts: t.Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the MAC addresses, the IPv4 and the IPv6 addresses and prefixes among canonical texts."""
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for text in texts:
        # IPv6 with as few colons is shortened. It may end as IPv4 does.
        is_mac = text.count(":") == 5 and "::" not in text
        found[1 if ":" not in text else 0 if is_mac else 2].append(text)
    return found


def sort_addresses(texts: t.Iterable[str]) -> tuple[str, ...]:
    """Return canonical MAC addresses, IP addresses and prefixes in their one order."""
    macs, *families = by_family(texts)
    networks = [sorted(ipaddress.ip_network(text) for text in family) for family in families]
    return (*sorted(macs), *(short(one) for family in networks for one in family))


def short(network: t.Any) -> str:
    """Return an IP network as text, one address without its length."""
    address = network.network_address
    mapped = address.ipv4_mapped if network.version == 6 else None
    # As the kernel's tools and Python 3.13 write it. What is stored is to be the same with an earlier one.
    text = str(address) if mapped is None else f"::ffff:{mapped}"
    return text if network.num_addresses == 1 else f"{text}/{network.prefixlen}"
