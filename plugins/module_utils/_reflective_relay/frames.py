# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Encodes and decodes probe frames. Pure."""

from __future__ import annotations

import struct

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import bpf
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import ETHERTYPE

COOKIE_BYTES = 16
_MAGIC = b"macvtap?"
_HEAD = struct.Struct("!6s6sH")
_BODY = struct.Struct(f"!{COOKIE_BYTES}s8sI")
_MINIMUM = 60  # of an Ethernet frame without its checksum


def write(source: str, destination: str, cookie: bytes, number: int) -> bytes:
    """Return a whole frame; the ``cookie`` is random, so that concurrent runs tell their frames apart."""
    addresses = (bytes.fromhex(mac.replace(":", "")) for mac in (destination, source))
    return (_HEAD.pack(*addresses, ETHERTYPE) + _BODY.pack(cookie, _MAGIC, number)).ljust(_MINIMUM, b"\0")


def read(frame: bytes, cookie: bytes) -> int | None:
    """Return the number of the frame, None if it does not carry this ``cookie``."""
    if len(frame) < _HEAD.size + _BODY.size:
        return None
    _destination, _source, ethertype = _HEAD.unpack_from(frame)
    found, magic, number = _BODY.unpack_from(frame, _HEAD.size)
    return int(number) if (ethertype, found, magic) == (ETHERTYPE, cookie, _MAGIC) else None


def socket_filter(cookie: bytes) -> bytes:
    """Return a classic BPF program that accepts frames with this ``cookie`` and next to no others."""
    word = struct.unpack("!I", cookie[:4])[0]
    return bpf.program(
        (bpf.LD_HALF, 0, 0, 12),
        (bpf.JUMP_EQUAL, 0, 3, ETHERTYPE),
        (bpf.LD_WORD, 0, 0, _HEAD.size),
        (bpf.JUMP_EQUAL, 0, 1, word),
    )
