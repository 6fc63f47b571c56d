# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Decodes netlink messages about IP addresses and routes."""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import decoding
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Address, Route
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, rtnetlink

# include/uapi/linux/if_addr.h
_DADFAILED, _TENTATIVE, _PERMANENT = 0x08, 0x40, 0x80
# include/uapi/linux/rtnetlink.h
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_NH_ID = (
    1, 4, 5, 6, 7, 9, 15, 18, 30,
)  # fmt: skip
_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO = 1, 2, 3  # include/uapi/linux/neighbour.h
_LOCAL, _CLONED = 255, 0x200
_U32 = struct.Struct("=I").unpack_from
_NDMSG = struct.Struct("=4xiH").unpack_from  # index of the link, state
_NEXT_HOP = struct.Struct("=HBBi")  # length, flags, hops, index of the link


@decoding("addresses")
def addresses(bodies: t.Sequence[bytes]) -> tuple[Address, ...]:
    return tuple(_address(body) for body in bodies if body[0] in (socket.AF_INET, socket.AF_INET6))


@decoding("routes")
def routes(bodies: t.Sequence[bytes]) -> tuple[Route, ...]:
    """Return the routes of all tables but the kernel's own, those with several next hops once for each."""
    return tuple(route for body in bodies for route in _routes(body))


@decoding("a route")
def route_of(body: bytes | None) -> tuple[int, str | None]:
    """Return the link and the gateway of the route that the kernel chose, 0 and None without a route."""
    if body is None:
        return 0, None
    attrs = rtnetlink.attributes(body, rtnetlink.RTMSG.size, len(body))
    return (_U32(attrs[_RTA_OIF])[0] if _RTA_OIF in attrs else 0), _gateway(attrs)


class Neighbour(t.NamedTuple):
    """An entry of the neighbour table; ``link`` is the index of its link, ``state`` an NUD_ value.

    ``confirmed`` is how many clock ticks ago the neighbour was last known to be there, None if unknown.
    """

    address: str
    mac: str
    link: int
    state: int
    confirmed: int | None


def neighbours(bodies: t.Sequence[bytes]) -> dict[str, str]:
    """Return the MAC address at which the host last saw each IP address."""
    return {one.address: one.mac for one in neighbour_entries(bodies)}


@decoding("neighbours")
def neighbour_entries(bodies: t.Sequence[bytes]) -> list[Neighbour]:
    """Return the entries with a MAC address."""
    found = []
    for body in bodies:
        attrs = rtnetlink.attributes(body, rtnetlink.NDMSG_BYTES, len(body))
        address, mac, cache = (attrs.get(kind, b"") for kind in (_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO))
        if len(address) in (4, 16) and len(mac) == 6:
            index, state = _NDMSG(body)
            confirmed = _U32(cache)[0] if len(cache) >= 4 else None
            found.append(Neighbour(_text(address), mac.hex(":"), index, state, confirmed))
    return found


def _address(body: bytes) -> Address:
    one = decode.ifaddr(body)
    return Address(
        _text(one.address),
        one.length,
        failed=bool(one.flags & _DADFAILED),
        index=one.link,
        tentative=bool(one.flags & _TENTATIVE),
        link_local=one.family == socket.AF_INET6 and one.scope == decode.SCOPE_LINK,
        # A lease expires; the kernel shows an infinite one like a static address.
        leased=one.family == socket.AF_INET and not one.flags & _PERMANENT,
        advertised=one.family == socket.AF_INET6 and not one.flags & _PERMANENT,
    )


def _routes(body: bytes) -> t.Iterator[Route]:
    family, length, from_length, tos, table, protocol, scope, kind, flags = rtnetlink.RTMSG.unpack_from(body)
    if table == _LOCAL or flags & _CLONED:
        return
    attrs = rtnetlink.attributes(body, rtnetlink.RTMSG.size, len(body))
    table = _U32(attrs[_RTA_TABLE])[0] if _RTA_TABLE in attrs else table
    nothing = bytes(4 if family == socket.AF_INET else 16)
    source = attrs.get(_RTA_PREFSRC)
    for index, gateway in _next_hops(attrs):
        yield Route(
            f"{_text(attrs.get(_RTA_DST, nothing))}/{length}",
            index,
            gateway,
            _text(source) if source else None,
            _U32(attrs[_RTA_PRIORITY])[0] if _RTA_PRIORITY in attrs else 0,
            protocol,
            scope,
            kind,
            table,
            _not_removable_reason(attrs, tos, from_length),
        )


def _not_removable_reason(attrs: t.Mapping[int, bytes], tos: int, from_length: int) -> str:
    # RTM_DELROUTE takes a whole route with several next hops, or none, by the first of them (fib_nh_match()).
    if _RTA_NH_ID in attrs:
        return "uses a nexthop object"
    if _RTA_MULTIPATH in attrs:
        return "has several next hops"
    if tos:
        return f"has the type of service {tos:#x}"
    return "is limited to one source" if from_length else ""


def _next_hops(attrs: t.Mapping[int, bytes]) -> t.Iterator[tuple[int, str | None]]:
    data = attrs.get(_RTA_MULTIPATH)
    if data is None:
        yield (_U32(attrs[_RTA_OIF])[0] if _RTA_OIF in attrs else 0), _gateway(attrs)
        return
    at = 0
    while at + _NEXT_HOP.size <= len(data):
        length, _flags, _hops, index = _NEXT_HOP.unpack_from(data, at)
        if length < _NEXT_HOP.size:
            return
        yield index, _gateway(rtnetlink.attributes(data, at + _NEXT_HOP.size, at + length))
        at += (length + 3) & ~3


def _gateway(attrs: t.Mapping[int, bytes]) -> str | None:
    # RTA_VIA: a family, and an address of it; an IPv4 route by way of an IPv6 router.
    data = attrs.get(_RTA_GATEWAY, attrs.get(_RTA_VIA, b"")[2:])
    return _text(data) if len(data) in (4, 16) else None


def _text(data: bytes) -> str:
    text = socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
    # As the options' canonical form is: inet_ntop() writes the last 32 bits of some IPv6 addresses as IPv4.
    return str(ipaddress.ip_address(data)) if ":" in text and "." in text else text
