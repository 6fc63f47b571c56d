# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""ARP frames: encodes requests, and decodes what others say. Pure."""

from __future__ import annotations

import struct
import typing as t

ETH_P_ARP = 0x0806
HEAD = struct.Struct("!6s6sH")
# Hardware and protocol, the lengths of their addresses, operation; the sender's two addresses, and the target's.
ARP = struct.Struct("!HHBBH6s4s6s4s")
REQUEST, REPLY = 1, 2
NONE4, NONE6 = bytes(4), bytes(6)
BROADCAST = b"\xff" * 6


def probe(own: bytes, address: bytes, sender: bytes = NONE4) -> bytes:
    """Return the frame that asks who has ``address``; without a ``sender`` no neighbour learns one (RFC 5227)."""
    return HEAD.pack(BROADCAST, own, ETH_P_ARP) + ARP.pack(1, 0x0800, 6, 4, REQUEST, own, sender, NONE6, address).ljust(
        46, b"\0"
    )


def claim(frame: bytes, own: bytes, asked: t.Container[bytes]) -> tuple[bytes, bytes] | None:
    """Return the address of ``asked`` that the sender uses or probes for, and the sender's MAC address."""
    if len(frame) < HEAD.size + ARP.size:
        return None
    _hw, _proto, _hlen, _plen, operation, mac, sender, _unknown, target = ARP.unpack_from(frame, HEAD.size)
    if mac == own:
        return None
    if sender in asked:
        return sender, mac
    probing = operation == REQUEST and sender == NONE4
    return (target, mac) if probing and target in asked else None
