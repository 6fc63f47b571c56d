# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Messages of the kernel, which another one may send in another form, and frames, which anyone on the LAN may send."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import typing as t
from unittest import mock

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import checksum_program
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import arp_frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import decode as host_decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft import dump
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import frames as relay_frames
from torture.parsers import Parser

_MAC = b"\x52\x54\0\0\0\x0a"
_V4, _V6 = bytes((192, 0, 2, 7)), ipaddress.IPv6Address("2001:db8::7").packed
_LL = ipaddress.IPv6Address("fe80::5054:ff:fe00:a").packed


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload.ljust((len(payload) + 3) & ~3, b"\0")


def _u32(kind: int, number: int) -> bytes:
    return _attribute(kind, struct.pack("=I", number))


def _link(index: int, name: str, info: bytes = b"", *more: bytes) -> bytes:
    inet6 = _attribute(10, _attribute(2, bytes(236)) + _attribute(8, b"\1") + _attribute(5, bytes(16)))
    parts = (_attribute(3, name.encode() + b"\0"), _attribute(1, _MAC), _u32(4, 1500), _u32(5, 2), _u32(10, 3))
    rest = (_u32(27, 5), _u32(30, 1), _attribute(33, b"\1"), _attribute(20, b"an alias"), _attribute(23, bytes(192)))
    named = (_attribute(56, b"0000:01:00.0\0"), _attribute(57, b"pci\0"), _attribute(52, _attribute(53, b"alt0\0")))
    body = b"".join((*parts, *rest, *named, _attribute(26, inet6), *more, *([_attribute(18, info)] if info else [])))
    return rtnetlink.IFINFO.pack(0, 1, index, 0x1043, 0) + body


def _info(kind: str, *data: bytes) -> bytes:
    return _attribute(1, kind.encode() + b"\0") + _attribute(2, b"".join(data))


_SOURCES = _attribute(5, _attribute(4, _MAC) + _attribute(4, _MAC))
_MACVTAP = _info("macvtap", _u32(1, 4), _attribute(2, b"\0\0"), _u32(6, 2), _SOURCES, _u32(7, 1000), _u32(8, 1000))
_LINKS = (
    _link(10, "macvtap0", _MACVTAP),
    _link(11, "eth0.7", _info("vlan", _attribute(1, b"\7\0"), _attribute(2, bytes(8)), _attribute(5, b"\x81\0"))),
    _link(12, "br0", _info("bridge", _attribute(7, b"\1"))),
    _link(13, "vx0", _info("vxlan", _u32(3, 2))),
    _link(1, "lo", b"", _u32(37, 0), _u32(61, 1)),
    _link(12, "br0", b"", _attribute(26, _attribute(2, b"\6\0\1\0") + _attribute(2, b"\0\0\7\0"))),
)
_ADDRESSES = (
    rtnetlink.IFADDR.pack(socket.AF_INET, 24, 0x80, 0, 2) + _attribute(1, _V4) + _attribute(2, _V4) + _u32(8, 0x80),
    rtnetlink.IFADDR.pack(socket.AF_INET6, 64, 0x80, 253, 2) + _attribute(1, _LL) + _u32(8, 0x280),
)
_HOPS = b"".join(struct.pack("=HBBi", 16, 0, 0, 2 + hop) + _attribute(5, _V4) for hop in range(2))
_ROUTES = (
    rtnetlink.RTMSG.pack(socket.AF_INET, 24, 0, 0, 254, 3, 0, 1, 0) + _attribute(1, _V4) + _u32(4, 2) + _u32(6, 100),
    rtnetlink.RTMSG.pack(socket.AF_INET6, 0, 0, 0, 254, 4, 0, 1, 0) + _attribute(5, _LL) + _u32(4, 2) + _u32(15, 254),
    rtnetlink.RTMSG.pack(socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + _attribute(9, _HOPS) + _attribute(7, _V4),
    rtnetlink.RTMSG.pack(socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + _attribute(18, b"\x0a\0" + _LL) + _u32(30, 1),
)
_NEIGHBOURS = (
    struct.pack("=BxxxiHBB", socket.AF_INET, 2, 2, 0, 1) + _attribute(1, _V4) + _attribute(2, _MAC) + _u32(3, 100),
    struct.pack("=BxxxiHBB", socket.AF_INET6, 2, 2, 0, 1) + _attribute(1, _V6) + _attribute(2, _MAC),
)


class _Kernel:
    """A netlink socket that answers with these bytes, and then without end with the end of a dump."""

    def __init__(self, answer: bytes, sequence: bool) -> None:
        self._answer = answer
        self._number = sequence
        self._sent = b""
        self._waits = 0

    def __enter__(self) -> _Kernel:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def bind(self, _address: object) -> None:
        return

    def send(self, data: bytes) -> int:
        self._sent, self._waits = data, 0
        return len(data)

    def recv(self, _size: int, flags: int = 0) -> bytes:
        if flags:
            raise BlockingIOError
        self._waits += 1
        if self._waits > 3:
            raise OSError(11, "the kernel has sent everything")
        number = self._sent[8:12]
        done = struct.pack("=IHH", 20, 3, 2) + number + bytes(8)
        if self._waits > 1:
            return done
        return (self._answer[:8] + number + self._answer[12:] if self._number else self._answer) + done


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


_ANSWERS = (
    _message(16, _LINKS[0]),
    _message(2, struct.pack("=i", -22) + bytes(16) + _attribute(1, b"no such thing\0")),
    _message(3, struct.pack("=i", 0)),
)


def _links(body: bytes) -> None:
    memory: decode.Memory = {}
    for bodies in ([body, *_LINKS], [_LINKS[0], body]):
        found = decode.links(bodies, (), memory)
        decode.with_bridge_vlans(found, bodies)
        decode.with_parents_counts(found)
    decode.foreign_links([body], "other", {2: "eth0"}, 0)


def _addresses(body: bytes) -> None:
    decode.addresses([body])
    host_decode.addresses([body])


def _routes(body: bytes) -> None:
    list(decode.routes([body]))
    host_decode.routes([body])
    host_decode.route_of(body)


def _answer(data: bytes) -> None:
    sock = t.cast("socket.socket", _Kernel(data, sequence=True))
    with contextlib.suppress(OSError, MacvtapError):
        rtnetlink.dump_links(sock, statistics=True)
    with contextlib.suppress(OSError, MacvtapError):
        rtnetlink.nsid_of(sock, 1)
    with contextlib.suppress(OSError, MacvtapError):
        rtnetlink.route_between(sock, b"", _V4)


def _expression(name: str, *data: bytes) -> bytes:
    return _attribute(1, _attribute(1, name.encode() + b"\0") + _attribute(2, b"".join(data)))


def _be(kind: int, number: int, form: str = ">I") -> bytes:
    return _attribute(kind, struct.pack(form, number))


_EXPRESSIONS = b"".join(
    (
        _expression("meta", _be(2, 5), _be(1, 1)),
        _expression("cmp", _be(1, 1), _be(2, 0), _attribute(3, _attribute(1, _MAC))),
        _expression("counter", _be(1, 1500, ">Q"), _be(2, 3, ">Q")),
        _expression("dynset", _attribute(1, b"learned4_52540000000a\0")),
        _expression("immediate", _be(1, 0), _attribute(2, _attribute(2, _be(1, 0xFFFFFFFD) + _attribute(2, b"c\0")))),
        _expression("immediate", _be(1, 0), _attribute(2, _attribute(2, _be(1, 0)))),
        _expression("last", _be(1, 0), _be(2, 1, ">Q")),
    )
)
_RULE = _attribute(1, b"t\0") + _attribute(2, b"c\0") + _attribute(4, _EXPRESSIONS) + _attribute(7, b"\0\4mac\0")
_CHAIN = _attribute(1, b"t\0") + _attribute(3, b"c\0") + _attribute(4, _be(1, 0) + _be(2, 1))
_SET = _attribute(1, b"t\0") + _attribute(2, b"s\0") + _be(11, 60000, ">Q")
_ELEMENT = _attribute(1, _attribute(1, _attribute(1, _V4)) + _be(4, 60000, ">Q") + _be(5, 30000, ">Q"))
_ELEMENTS = _attribute(1, b"t\0") + _attribute(2, b"s\0") + _attribute(3, _ELEMENT)
_NFT = tuple(_message(0x0A00 | kind, b"\5\0\0\1" + body) for kind, body in (
    (3, _CHAIN), (6, _RULE), (9, _SET), (12, _ELEMENTS), (15, _be(1, 1))))  # fmt: skip


def _rules(message: bytes) -> None:
    name, rule = vars(dump)["_rule"](message)
    dump.digest([rule])
    dump.outline(rule)
    str(name)


def _table(data: bytes) -> None:
    reader = dump.Reader("t")
    answers = (lambda: _Kernel(data, sequence=False), lambda: _Kernel(data, sequence=True))
    for kernel in answers:
        for read in (reader.generation, reader.snapshot, lambda: reader.elements("s"), lambda: reader.ages("s")):
            patched = mock.patch.object(dump, "_socket", kernel), mock.patch.object(dump, "_ATTEMPTS", 3)
            with patched[0], patched[1], contextlib.suppress(OSError):
                read()


def _nd(kind: int, body: bytes, option: int) -> bytes:
    message = struct.pack("!BBHI", kind, 0, 0, 0x60000000) + body + struct.pack("!BB6s", option, 1, _MAC)
    head = struct.pack("!IHBB16s16s", 6 << 28, len(message), 58, 255, _LL, _V6)
    return b"\xff" * 6 + _MAC + b"\x86\xdd" + head + message


_PREFIX = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 86400, 14400, 0, _V6)
_COOKIE = b"12345678"
_FRAMES = (
    arp_frames.probe(_MAC, _V4),
    arp_frames.probe(_MAC, _V4, _V4),
    _nd(135, _V6, 1),
    _nd(136, _V6, 2),
    _nd(134, struct.pack("!II", 0, 0) + _PREFIX, 1),
    frames.echo_request(_MAC, _LL, 7),
    relay_frames.write("52:54:00:00:00:0a", "52:54:00:00:00:0b", _COOKIE, 3),
)


def _frame(data: bytes) -> None:
    frames.read(data)
    frames.advertised_prefixes(data)
    frames.solicited(data, {_V6})
    arp_frames.claim(data, _MAC, {_V4})
    relay_frames.read(data, _COOKIE)


def _types() -> bytes:
    """Return types (BTF) with a struct sk_buff and the function that is called, as small as can be."""
    names = ("sk_buff", "bpf_cast_to_kern_ctx", "ip_summed", "csum_start", "csum_offset", "head", "data")
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    at = {name: strings.index(b"\0" + name.encode() + b"\0") + 1 for name in names}
    bits = [(at["ip_summed"], 2 << 24 | 8), *((at[name], 32 * number) for number, name in enumerate(names[3:], 1))]
    members = b"".join(struct.pack("=III", name, 0, offset) for name, offset in bits)
    types = struct.pack("=III", at["sk_buff"], 1 << 31 | 4 << 24 | len(bits), 64) + members
    types += struct.pack("=III", at["bpf_cast_to_kern_ctx"], 12 << 24, 1)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


PARSERS: t.Sequence[Parser] = (
    Parser("links", _LINKS, _links),
    Parser("addresses of links", _ADDRESSES, _addresses),
    Parser("routes", _ROUTES, _routes),
    Parser("neighbours", _NEIGHBOURS, lambda data: host_decode.neighbours([data])),
    Parser("answers of netlink", _ANSWERS, _answer),
    Parser("rules of nftables", (_RULE,), _rules),
    Parser("tables of nftables", _NFT, _table),
    Parser("frames", _FRAMES, _frame, ()),
    Parser("types of the kernel", (_types(),), checksum_program.layout_of, (ValueError,)),
)
