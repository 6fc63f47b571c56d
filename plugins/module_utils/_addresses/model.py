# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests, their NICs, and what is known about the addresses of these. Plain values only."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac

# Where an address is known from.
SOURCES = AGENT, NEIGHBOUR, LEARNED, PROBE = ("agent", "neighbour", "learned", "probe")
# How sure it is, the surest first.
STATES = CONFIRMED, CLAIMED, STALE = ("confirmed", "claimed", "stale")
FAMILIES = IPV4, IPV6 = ("ipv4", "ipv6")
# How many addresses of a NIC are taken into account: a guest may claim any number of them.
MOST_ADDRESSES = 256
# States of a guest.
RUNNING, PAUSED, SAVED, SHUT_OFF = "running", "paused", "saved", "shut_off"

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Net = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclass(frozen=True)
class Nic:
    """A NIC of a guest, of any type.

    ``macs`` are its MAC address and that of its link, which differ if a trusted guest has changed it. ``link`` is the
    name of its link on the host, ``uplink`` that of the link below, None where they are not known. ``vlan`` is the VLAN
    ID of its uplink, or its own. ``mode`` is in libvirt's spelling.
    """

    mac: str
    macs: frozenset[str] = frozenset()
    type: str = "direct"
    link: str | None = None
    link_index: int = 0
    uplink: str | None = None
    vlan: int | None = None
    mode: str | None = None
    network: str | None = None
    portgroup: str | None = None


@dataclass(frozen=True)
class Guest:
    """A guest; ``runs_for`` is for how many seconds its QEMU has run, None if unknown."""

    name: str
    uuid: str
    state: str
    nics: tuple[Nic, ...] = ()
    runs_for: float | None = None

    @property
    def runs(self) -> bool:
        return self.state in (RUNNING, PAUSED)


@dataclass(frozen=True)
class Sighting:
    """That an address was seen at a MAC address, by one source.

    ``age`` is in seconds, None if unknown. ``uplink`` is the uplink where it was seen, "" if that is not known.
    ``prefix`` is the length of the address's network, None if unknown.
    """

    mac: str
    address: str
    source: str
    state: str
    age: float | None = None
    uplink: str = ""
    prefix: int | None = None


@dataclass(frozen=True)
class Findings:
    """All that the sources say.

    ``unanswered`` are the addresses that were asked for and would have answered, by the MAC address and uplink of a
    NIC. ``not_asked`` is why a NIC could not be asked, by the same. ``separate`` are the uplinks that count as networks
    of their own: what was seen on one is not known of a NIC on another, whose network may have the same addresses.
    """

    sightings: tuple[Sighting, ...] = ()
    unanswered: t.Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    not_asked: t.Mapping[tuple[str, str], str] = field(default_factory=dict)
    separate: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """An address of a NIC, put together from what all sources say."""

    address: str
    state: str
    source: str
    sources: tuple[str, ...]
    age: float | None = None
    prefix: int | None = None


@dataclass(frozen=True)
class Awaited:
    """What is waited for: ``count`` addresses of ``family`` (None: any) of each selected NIC, as sure as ``state``."""

    count: int = 1
    family: str | None = None
    state: str = CLAIMED
    timeout: float = 60


@dataclass(frozen=True)
class Questions:
    """What is asked on the LAN.

    ``ipv4`` and ``ipv6`` are single addresses; ``prefixes`` are IPv6 networks in which all nodes are asked.
    """

    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    prefixes: tuple[ipaddress.IPv6Network, ...] = ()


def family_of(address: str) -> str:
    return IPV6 if ":" in address else IPV4


def is_link_local(address: str) -> bool:
    return ipaddress.ip_address(address).is_link_local


def is_formed_of(mac: str, address: str) -> bool:
    """Whether an IPv6 address follows from a MAC address. Such a one is not temporary (RFC 8981); others may be."""
    try:
        network = ipaddress.IPv6Network((address, 64), strict=False)
        return _mac.eui64(mac, network) == address
    except ValueError:
        return False
