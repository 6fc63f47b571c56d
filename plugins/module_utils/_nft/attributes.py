# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The attributes of netlink messages about nftables (linux/netfilter/nf_tables.h). Pure."""

from __future__ import annotations

import struct
import typing as t

ATTRIBUTE = struct.Struct("=HH")
# The type, without the bits for nested attributes and for the byte order.
TYPE = 0x3FFF

Attributes = t.Dict[int, bytes]


def attribute(kind: int, name: str) -> bytes:
    value = name.encode() + b"\0"
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        start, end = at + 4, at + length
        yield kind & TYPE, data[start:end]
        at += max(length, 4) + 3 & ~3


def parse(data: bytes) -> Attributes:
    return dict(attributes(data))


def text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def userdata(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """Yield what libnftables keeps with a rule, by its kind."""
    at = 0
    while at + 2 <= len(data):
        kind, start = data[at], at + 2
        at = start + data[at + 1]
        yield kind, data[start:at]
