# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The encoding of link attributes in netlink messages (RTM_NEWLINK): place, number and type. Pure.

Decoding is done here: without unneeded work a dump of 1,000 links takes 0.02 s. pyroute2 encodes, with the same numbers
and types: see messages.py.
"""

from __future__ import annotations

import enum
import struct
import typing as t
from dataclasses import dataclass, field

Reader = t.Callable[[t.Optional[bytes]], t.Any]

_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF  # less NLA_F_NESTED and NLA_F_NET_BYTEORDER


class Place(enum.Enum):
    """The part of the message that has the value."""

    FLAGS = "ifi_flags"
    LINK = "the message's own attributes"
    MACVLAN = "IFLA_LINKINFO, IFLA_INFO_DATA of a macvlan or macvtap link"
    VLAN = "IFLA_LINKINFO, IFLA_INFO_DATA of a VLAN link"
    INET6 = "IFLA_AF_SPEC, AF_INET6"


# include/uapi/linux/if_link.h: the attributes around those of a kind of link.
LINKINFO, INFO_DATA = 18, 2
_WITHIN = {Place.MACVLAN: (LINKINFO, INFO_DATA), Place.VLAN: (LINKINFO, INFO_DATA)}


class Codec(t.NamedTuple):
    """A type of attribute: pyroute2's name for it, and its reader."""

    name: str
    read: t.Callable[[bytes], t.Any]


def _struct(name: str, form: str) -> Codec:
    unpack = struct.Struct(form).unpack_from
    return Codec(name, lambda data: unpack(data)[0])


def text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def mac(data: bytes) -> str | None:
    return data.hex(":") or None


U8, U16, U32, S32 = _struct("uint8", "=B"), _struct("uint16", "=H"), _struct("uint32", "=I"), _struct("int32", "=i")
BE16 = _struct("be16", ">H")
# Without a final NUL: the kernel counts it among the 255 bytes of an alias.
TEXT = Codec("string", text)
MAC = Codec("l2addr", mac)
# DEVCONF_ACCEPT_RA of include/uapi/linux/ipv6.h, the fourth of the numbers.
ACCEPT_RA = Codec("", lambda data: struct.unpack_from("=i", data, 12)[0] != 0)
# Lists; the names are those of classes in messages.py.
NAMES = Codec("names", lambda data: frozenset(map(text, attribute_list(data))))
MACS = Codec("macs", lambda data: frozenset(one.hex(":") for one in attribute_list(data)))


@dataclass(frozen=True)
class Wire:
    """The encoding of a value; ``name`` and ``number`` are those of include/uapi/linux/if_link.h.

    ``words`` maps our words to the kernel's numbers. With ``bit`` the value is one bit of a shared number, and with
    ``inverted`` it is true if the bit is not set. ``Place.FLAGS`` has only the bit. ``absent`` is the value if the
    kernel omits the attribute.
    """

    place: Place
    name: str
    number: int = 0
    codec: Codec = U32
    words: t.Mapping[str, int] = field(default_factory=dict)
    bit: int = 0
    inverted: bool = False
    absent: t.Any = None

    def reader(self) -> Reader:
        """Return a function that reads the value from the attribute's bytes, or from None if it is omitted."""
        read, absent = self.codec.read, self.absent
        if self.bit:
            bit, inverted = self.bit, self.inverted
            return lambda data: absent if data is None else bool(read(data) & bit) is not inverted
        if self.words:
            names = {number: word for word, number in self.words.items()}
            return lambda data: absent if data is None else names.get(read(data))
        return lambda data: absent if data is None else read(data)

    def is_in(self, message: bytes) -> bool:
        """Whether the attributes of a message, without what precedes them, have this one."""
        for kind in _WITHIN.get(self.place, ()):
            message = attributes(message, 0, len(message)).get(kind, b"")
        return self.number in attributes(message, 0, len(message))

    def number_of(self, value: t.Any) -> t.Any:
        """Return the kernel's number for the value."""
        return self.words[value] if self.words else value


def places(data: bytes, start: int, end: int) -> dict[int, slice]:
    """As :func:`attributes`, with the place of each payload in ``data``."""
    found = {}
    unpack = _ATTRIBUTE.unpack_from
    while start + 4 <= end:
        length, kind = unpack(data, start)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = slice(start + 4, min(start + length, end))
        start += (length + 3) & ~3
    return found


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the attributes between ``start`` and ``end``: payload by type, the last one of each type."""
    return {kind: data[place] for kind, place in places(data, start, end).items()}


def attribute_list(data: bytes) -> list[bytes]:
    """Return the payloads of nested attributes in order, of any type."""
    return [payload for _kind, payload in attribute_pairs(data)]


def attribute_pairs(data: bytes) -> list[tuple[int, bytes]]:
    """Return nested attributes in order: type and payload."""
    found = []
    start = 0
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            break
        payload, end = start + 4, start + length
        found.append((kind & _TYPE_MASK, data[payload:end]))
        start += (length + 3) & ~3
    return found


def of_link(name: str, number: int, codec: Codec = U32, **more: t.Any) -> Wire:
    return Wire(Place.LINK, f"IFLA_{name}", number, codec, **more)


def of_macvlan(name: str, number: int, codec: Codec = U32, **more: t.Any) -> Wire:
    return Wire(Place.MACVLAN, f"IFLA_MACVLAN_{name}", number, codec, **more)
