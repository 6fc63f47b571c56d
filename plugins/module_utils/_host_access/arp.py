# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""ARP probes (RFC 5227): checks whether an IPv4 address is already in use."""

from __future__ import annotations

import select
import socket
import struct
import time
import typing as t

_ETH_P_ARP = 0x0806
_HEAD = struct.Struct("!6s6sH")
# Hardware and protocol, the lengths of their addresses, operation; the sender's two addresses, and the target's.
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST = 1
_NONE4, _NONE6 = bytes(4), bytes(6)
# RFC 5227 waits for seconds, so that machines that start together do not probe together.
_PROBES, _SECONDS_EACH = 3, 0.35


def holder(link: str, mac: str, addresses: t.Sequence[str]) -> tuple[str, str] | None:
    """Probe on ``link``, whose MAC address is ``mac``; return the first address in use, with its MAC address.

    The sender IP address is empty, so that no neighbour learns it.
    """
    own = bytes.fromhex(mac.replace(":", ""))
    asked = {socket.inet_aton(address): address for address in addresses}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0) as sock:
        sock.bind((link, _ETH_P_ARP))
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        for _number in range(_PROBES):
            for address in asked:
                sock.send(probe(own, address))
            deadline = time.monotonic() + _SECONDS_EACH
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                found = claim(sock.recv(2048), own, asked)
                if found is not None:
                    return asked[found[0]], found[1].hex(":")
    return None


def probe(own: bytes, address: bytes) -> bytes:
    return _HEAD.pack(b"\xff" * 6, own, _ETH_P_ARP) + _ARP.pack(
        1, 0x0800, 6, 4, _REQUEST, own, _NONE4, _NONE6, address
    ).ljust(46, b"\0")


def claim(frame: bytes, own: bytes, asked: t.Container[bytes]) -> tuple[bytes, bytes] | None:
    """Return the address of ``asked`` that the sender uses or probes for, and the sender's MAC address."""
    if len(frame) < _HEAD.size + _ARP.size:
        return None
    _hw, _proto, _hlen, _plen, operation, mac, sender, _unknown, target = _ARP.unpack_from(frame, _HEAD.size)
    if mac == own:
        return None
    if sender in asked:
        return sender, mac
    probing = operation == _REQUEST and sender == _NONE4
    return (target, mac) if probing and target in asked else None
