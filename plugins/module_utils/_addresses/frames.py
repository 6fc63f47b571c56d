# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Questions of neighbour discovery as frames, and what frames say about addresses. Pure."""

from __future__ import annotations

import ipaddress
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import arp_frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import bpf

_ETH_P_IPV6 = 0x86DD
# Version and traffic class, length of the payload, next header, hop limit, source and destination.
_IPV6 = struct.Struct("!IHBB16s16s")
_ICMPV6 = 58
_ECHO_REQUEST, _ECHO_REPLY, _ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT = 128, 129, 133, 134
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_LINK, _TARGET_LINK, _PREFIX = 1, 2, 3
# Where the options of a message begin, and the one that has its sender's MAC address.
_OPTIONS = {
    _ROUTER_SOLICITATION: (8, _SOURCE_LINK),
    _ROUTER_ADVERTISEMENT: (16, _SOURCE_LINK),
    _SOLICITATION: (24, _SOURCE_LINK),
    _ADVERTISEMENT: (24, _TARGET_LINK),
}
_PREFIX_OPTION = struct.Struct("!BBBBIII16s")
_ON_LINK, _AUTONOMOUS = 0x80, 0x40
_SOLICITED_OVERRIDE = 0x60000000
_NONE = bytes(16)
_ALL_NODES, _ALL_ROUTERS = (ipaddress.IPv6Address(text).packed for text in ("ff02::1", "ff02::2"))


class Statement(t.NamedTuple):
    """What a frame says: ``mac`` has ``address``, or is about to take it (``tentative``).

    ``reply`` is whether it was asked.
    """

    mac: str
    address: str
    tentative: bool = False
    reply: bool = False


def socket_filter() -> bytes:
    """Return a classic BPF program that accepts ARP and ICMPv6."""
    return bpf.program(
        (bpf.LD_HALF, 0, 0, 12),
        (bpf.JUMP_EQUAL, 3, 0, arp_frames.ETH_P_ARP),
        (bpf.JUMP_EQUAL, 0, 3, _ETH_P_IPV6),
        (bpf.LD_BYTE, 0, 0, 20),
        (bpf.JUMP_EQUAL, 0, 1, _ICMPV6),
    )


def read(frame: bytes) -> Statement | None:
    """Return what a frame says about its own sender, None if nothing.

    A frame whose inner MAC address is another than that of its sender says nothing.
    """
    if len(frame) < arp_frames.HEAD.size:
        return None
    _destination, source, kind = arp_frames.HEAD.unpack_from(frame)
    if kind == arp_frames.ETH_P_ARP:
        return _arp(frame, source)
    return _nd(frame, source) if kind == _ETH_P_IPV6 else None


def _arp(frame: bytes, source: bytes) -> Statement | None:
    if len(frame) < arp_frames.HEAD.size + arp_frames.ARP.size:
        return None
    fields = arp_frames.ARP.unpack_from(frame, arp_frames.HEAD.size)
    hardware, protocol, _hlen, _plen, operation, mac, sender, _other, target = fields
    if (hardware, protocol) != (1, 0x0800) or mac != source:
        return None
    tentative = sender == arp_frames.NONE4
    address = ipaddress.IPv4Address(target if tentative else sender)
    if (tentative and operation != arp_frames.REQUEST) or _is_no_host(address):
        return None
    return Statement(mac.hex(":"), str(address), tentative, operation == arp_frames.REPLY)


def _nd(frame: bytes, mac: bytes) -> Statement | None:
    icmp = arp_frames.HEAD.size + _IPV6.size
    after_head = icmp + 8
    if len(frame) < after_head:
        return None
    _version, _length, following, hops, source, _destination = _IPV6.unpack_from(frame, arp_frames.HEAD.size)
    kind = frame[icmp]
    if (following, kind) == (_ICMPV6, _ECHO_REPLY):
        return _statement(mac, source, reply=True)
    # Another hop limit is that of a frame from another network.
    if (following, hops) != (_ICMPV6, 255) or kind not in _OPTIONS:
        return None
    start, option = _OPTIONS[kind]
    if _option(frame, icmp + start, option) not in (None, mac):
        return None
    target = frame[after_head:][:16].ljust(16, b"\0")
    if kind == _ADVERTISEMENT:
        return _statement(mac, target, reply=bool(frame[icmp + 4] & 0x40))
    tentative = kind == _SOLICITATION and source == _NONE
    return _statement(mac, target if tentative else source, tentative=tentative)


def _statement(mac: bytes, address: bytes, *, tentative: bool = False, reply: bool = False) -> Statement | None:
    found = ipaddress.IPv6Address(address)
    return None if _is_no_host(found) else Statement(mac.hex(":"), str(found), tentative, reply)


def _is_no_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_multicast or address.is_unspecified or address.is_loopback or str(address) == "255.255.255.255"


def _options(frame: bytes, start: int) -> t.Iterator[tuple[int, bytes]]:
    while start + 8 <= len(frame) and frame[start + 1]:
        end = start + 8 * frame[start + 1]
        yield frame[start], frame[start:end]
        start = end


def _option(frame: bytes, start: int, kind: int) -> bytes | None:
    """Return the MAC address in an option, None without one."""
    return next((data[2:8] for found, data in _options(frame, start) if found == kind), None)


def advertised_prefixes(frame: bytes) -> tuple[ipaddress.IPv6Network, ...]:
    """Return the /64 networks on the link that a router advertises in ``frame``, () if it is no advertisement."""
    icmp = arp_frames.HEAD.size + _IPV6.size
    if len(frame) < icmp + 16 or frame[12:14] != b"\x86\xdd":
        return ()
    _version, _length, following, hops, _source, _destination = _IPV6.unpack_from(frame, arp_frames.HEAD.size)
    if (following, hops, frame[icmp]) != (_ICMPV6, 255, _ROUTER_ADVERTISEMENT):
        return ()
    found = []
    for kind, data in _options(frame, icmp + 16):
        if kind == _PREFIX and len(data) == _PREFIX_OPTION.size:
            *_head, length, flags, _valid, _preferred, _reserved, prefix = _PREFIX_OPTION.unpack(data)
            if length == 64 and flags & (_ON_LINK | _AUTONOMOUS):
                found.append(ipaddress.IPv6Network((prefix, 64), strict=False))
    return tuple(found)


def solicited(frame: bytes, own: t.Container[bytes]) -> tuple[bytes, bytes, bytes] | None:
    """Return whose question for one of our ``own`` addresses it is: MAC address, address, and ours; else None."""
    icmp = arp_frames.HEAD.size + _IPV6.size
    if len(frame) < icmp + 24 or frame[12:14] != b"\x86\xdd" or frame[20] != _ICMPV6 or frame[icmp] != _SOLICITATION:
        return None
    target, source = frame[icmp:][8:24], frame[22:38]
    return (frame[6:12], source, target) if target in own and source != _NONE else None


def advertisement(own: bytes, to: bytes, destination: bytes, target: bytes) -> bytes:
    """Return the answer that ``own`` (a MAC address) has the address ``target``."""
    body = struct.pack("!BBHI16sBB6s", _ADVERTISEMENT, 0, 0, _SOLICITED_OVERRIDE, target, _TARGET_LINK, 1, own)
    return _frame((own, to), target, destination, body)


def solicitation(own: bytes, source: bytes, target: bytes) -> bytes:
    """Return the question who has the IPv6 address ``target``, from ours.

    It has a source: without one it would be a conflict for whoever is about to take the address.
    """
    body = struct.pack("!BBHI16sBB6s", _SOLICITATION, 0, 0, 0, target, _SOURCE_LINK, 1, own)
    group = solicited_node(target)
    return _frame((own, multicast_mac(group)), source, group, body)


def router_solicitation(own: bytes, source: bytes) -> bytes:
    body = struct.pack("!BBHIBB6s", _ROUTER_SOLICITATION, 0, 0, 0, _SOURCE_LINK, 1, own)
    return _frame((own, multicast_mac(_ALL_ROUTERS)), source, _ALL_ROUTERS, body)


def echo_request(own: bytes, source: bytes, number: int) -> bytes:
    """Return the question to all nodes of a link; they reply from an address that fits ``source``."""
    body = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, number, 1)
    return _frame((own, multicast_mac(_ALL_NODES)), source, _ALL_NODES, body)


def solicited_node(address: bytes) -> bytes:
    return ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + address[13:]


def multicast_mac(group: bytes) -> bytes:
    return b"\x33\x33" + group[12:]


def _frame(macs: tuple[bytes, bytes], source: bytes, destination: bytes, body: bytes) -> bytes:
    """Return an ICMPv6 message as a frame; ``macs`` are the sender's and the receiver's."""
    total = _checksum(source + destination + struct.pack("!II", len(body), _ICMPV6) + body)
    body = body[:2] + struct.pack("!H", total) + body[4:]
    head = _IPV6.pack(6 << 28, len(body), _ICMPV6, 255, source, destination)
    return arp_frames.HEAD.pack(macs[1], macs[0], _ETH_P_IPV6) + head + body


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
