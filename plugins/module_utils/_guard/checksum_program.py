# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program of BPF that checks where a guest has the host write a checksum. Pure.

A virtio NIC says for each frame where its checksum begins and where it goes (struct virtio_net_hdr). The host writes it
after nftables has seen the frame, and nftables does not see that it will. So a guest could have any two bytes from byte
20 on changed after the check. The program drops a frame whose two bytes the guard has checked: of ARP any, of IP the
headers up to the ports of UDP, and of ICMPv6 all but its checksum. All other frames pass.

It is a part of the program of loader.py, and imports the standard library alone.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import sys
import typing as t

DROP, COUNT = "drop", "count"
# Programs of BPF have names of 15 characters. That of this one ends with a digest, so that another version differs.
PREFIX = "macvtap_"
_KFUNC = "bpf_cast_to_kern_ctx"
_FIELDS = ("ip_summed", "csum_start", "csum_offset", "head", "data")
_CHECKSUM_PARTIAL = 3
# linux/bpf.h: verdicts and functions.
_TCX_NEXT, _TCX_DROP = -1, 2
_LOOKUP, _TIME, _LOAD_BYTES = 1, 5, 26


class Field(t.NamedTuple):
    """Where a field of the kernel's struct sk_buff is: its byte, and of a field of bits the first and how many."""

    byte: int
    bit: int = 0
    bits: int = 0


class Layout(t.NamedTuple):
    """What the program needs to know of the running kernel: the fields by name, and the number of a function."""

    fields: t.Mapping[str, Field]
    function: int


# Instructions of BPF: code, destination and source register, a jump's label or an offset, and a value.
_Code = t.Tuple[int, int, int, t.Union[str, int], int]
_MOVE, _MOVE_REGISTER, _ADD, _ADD_REGISTER, _SUBTRACT_REGISTER = 0xB7, 0xBF, 0x07, 0x0F, 0x1F
_AND, _SHIFT_LEFT, _SHIFT_RIGHT, _CALL, _EXIT, _ATOMIC_ADD = 0x57, 0x67, 0x77, 0x85, 0x95, 0xDB
_LOAD1, _LOAD2, _LOAD4, _LOAD8, _STORE4, _STORE8, _WIDE = 0x71, 0x69, 0x61, 0x79, 0x62, 0x7B, 0x18
_JUMP, _IF_EQUAL, _IF_NOT, _IF_SAME, _IF_AT_LEAST, _IF_LESS_SIGNED = 0x05, 0x15, 0x55, 0x1D, 0x3D, 0xC5
_FRAME = 10
# The headers of IPv6 that nftables reads over, each with another after it, and how many are read.
_EXTENSIONS, _FRAGMENT, _AUTHENTICATION, _MOST_EXTENSIONS = (0, 43, 60), 44, 51, 8


def program(layout: Layout, policy: str, counters: int) -> bytes:
    """Return the program's instructions. ``counters`` is the file of an array with one element: frames, bytes, and
    when the last one was, in nanoseconds of CLOCK_MONOTONIC.
    """
    code: list[_Code | str] = [
        (_MOVE_REGISTER, 6, 1, 0, 0),
        (_CALL, 0, 2, 0, layout.function),
        (_MOVE_REGISTER, 7, 0, 0, 0),
        *_place(layout.fields),
        # Into -16: the EtherType and what follows it, up to the protocol of IPv4.
        *_bytes(12, -16, 12),
        (_LOAD2, 1, _FRAME, -16, 0),
        (_IF_EQUAL, 1, 0, "forged", _network(0x0806)),
        (_IF_EQUAL, 1, 0, "ip4", _network(0x0800)),
        (_IF_NOT, 1, 0, "pass", _network(0x86DD)),
        (_MOVE, 9, 0, 0, 54),
        (_LOAD1, 7, _FRAME, -8, 0),
        *(one for number in range(_MOST_EXTENSIONS) for one in _extension(number)),
        (_JUMP, 0, 0, "forged", 0),
        "ip4",
        (_LOAD1, 9, _FRAME, -14, 0),
        (_AND, 9, 0, 0, 15),
        (_SHIFT_LEFT, 9, 0, 0, 2),
        (_ADD, 9, 0, 0, 14),
        (_LOAD1, 7, _FRAME, -5, 0),
        # Register 8 has the place, 9 the end of the headers, and 7 the protocol after them.
        "transport",
        (_IF_NOT, 7, 0, "not-icmp6", 58),
        (_ADD, 9, 0, 0, 2),
        (_IF_SAME, 8, 9, "pass", 0),
        (_JUMP, 0, 0, "forged", 0),
        "not-icmp6",
        (_IF_NOT, 7, 0, "compare", 17),
        (_ADD, 9, 0, 0, 4),
        "compare",
        (_IF_AT_LEAST, 8, 9, "pass", 0),
        "forged",
        *_count(counters),
        (_MOVE, 0, 0, 0, _TCX_DROP if policy == DROP else _TCX_NEXT),
        (_EXIT, 0, 0, 0, 0),
        "pass",
        (_MOVE, 0, 0, 0, _TCX_NEXT),
        (_EXIT, 0, 0, 0, 0),
    ]
    return _assembled(code)


def _place(fields: t.Mapping[str, Field]) -> list[_Code | str]:
    """Load the place of the checksum in the frame into register 8; pass without any."""
    summed = fields["ip_summed"]
    shift = summed.bit if sys.byteorder == "little" else 8 - summed.bit - summed.bits
    return [
        (_LOAD1, 1, 7, summed.byte, 0),
        (_SHIFT_RIGHT, 1, 0, 0, shift),
        (_AND, 1, 0, 0, (1 << summed.bits) - 1),
        (_IF_NOT, 1, 0, "pass", _CHECKSUM_PARTIAL),
        (_LOAD2, 8, 7, fields["csum_start"].byte, 0),
        (_LOAD8, 1, 7, fields["head"].byte, 0),
        (_ADD_REGISTER, 8, 1, 0, 0),
        (_LOAD8, 1, 7, fields["data"].byte, 0),
        (_SUBTRACT_REGISTER, 8, 1, 0, 0),
        (_LOAD2, 1, 7, fields["csum_offset"].byte, 0),
        (_ADD_REGISTER, 8, 1, 0, 0),
    ]


def _bytes(offset: int | None, to: int, count: int) -> list[_Code | str]:
    """Load bytes of the frame onto the stack, at an offset or at that in register 9; forged if they are missing."""
    return [
        (_MOVE_REGISTER, 1, 6, 0, 0),
        (_MOVE_REGISTER, 2, 9, 0, 0) if offset is None else (_MOVE, 2, 0, 0, offset),
        (_MOVE_REGISTER, 3, _FRAME, 0, 0),
        (_ADD, 3, 0, 0, to),
        (_MOVE, 4, 0, 0, count),
        (_CALL, 0, 0, 0, _LOAD_BYTES),
        (_IF_LESS_SIGNED, 0, 0, "forged", 0),
    ]


def _extension(number: int) -> list[_Code | str]:
    """Go over one extension header of IPv6, or on if there is none."""
    known, length, authentication, end = (f"{name}-{number}" for name in ("known", "length", "authentication", "end"))
    return [
        *((_IF_EQUAL, 7, 0, known, one) for one in (*_EXTENSIONS, _FRAGMENT, _AUTHENTICATION)),
        (_JUMP, 0, 0, "transport", 0),
        known,
        *_bytes(None, -16, 2),
        (_LOAD1, 1, _FRAME, -15, 0),
        (_IF_EQUAL, 7, 0, authentication, _AUTHENTICATION),
        # The length of a fragment's header is always 8, and has no field.
        (_IF_NOT, 7, 0, length, _FRAGMENT),
        (_MOVE, 1, 0, 0, 0),
        length,
        (_ADD, 1, 0, 0, 1),
        (_SHIFT_LEFT, 1, 0, 0, 3),
        (_JUMP, 0, 0, end, 0),
        authentication,
        (_ADD, 1, 0, 0, 2),
        (_SHIFT_LEFT, 1, 0, 0, 2),
        end,
        (_ADD_REGISTER, 9, 1, 0, 0),
        (_LOAD1, 7, _FRAME, -16, 0),
    ]


def _count(counters: int) -> list[_Code | str]:
    return [
        (_STORE4, _FRAME, 0, -16, 0),
        (_WIDE, 1, 1, 0, counters),
        (0, 0, 0, 0, 0),
        (_MOVE_REGISTER, 2, _FRAME, 0, 0),
        (_ADD, 2, 0, 0, -16),
        (_CALL, 0, 0, 0, _LOOKUP),
        (_IF_EQUAL, 0, 0, "counted", 0),
        (_MOVE, 1, 0, 0, 1),
        (_ATOMIC_ADD, 0, 1, 0, 0),
        (_LOAD4, 1, 6, 0, 0),
        (_ATOMIC_ADD, 0, 1, 8, 0),
        (_MOVE_REGISTER, 8, 0, 0, 0),
        (_CALL, 0, 0, 0, _TIME),
        (_STORE8, 8, 0, 16, 0),
        "counted",
    ]


def _assembled(code: t.Sequence[_Code | str]) -> bytes:
    labels: dict[str, int] = {}
    real: list[_Code] = []
    for one in code:
        if isinstance(one, str):
            labels[one] = len(real)
        else:
            real.append(one)
    found = []
    for at, (operation, to, source, offset, value) in enumerate(real):
        registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
        jump = labels[offset] - at - 1 if isinstance(offset, str) else offset
        found.append(struct.pack("=BBhi", operation, registers, jump, value))
    return b"".join(found)


def _network(number: int) -> int:
    """Return what two bytes of the frame are as a number of this machine."""
    return int.from_bytes(number.to_bytes(2, "big"), sys.byteorder)


def name(policy: str) -> str:
    """Return the name of the program: that of this version, whatever the kernel is."""
    layout = Layout({one: Field(0, 0, 2) for one in _FIELDS}, 0)
    return PREFIX + policy[0] + hashlib.sha256(program(layout, policy, 0)).hexdigest()[:6]


# Kinds of types in BTF (linux/btf.h): how many bytes follow, and how many more for each member.
_BTF_HEADER = struct.Struct("=HBBIIIII")
_BTF_TYPE = struct.Struct("=III")
_FOLLOWING = {1: 4, 3: 12, 14: 4, 17: 4}
_OF_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_STRUCT, _UNION, _FUNCTION = 4, 5, 12


def layout_of(btf: bytes) -> Layout:
    """Return what the types of a kernel say, /sys/kernel/btf/vmlinux.

    :raises ValueError: it is not a kernel that the program is for.
    """
    try:
        _magic, _version, _flags, size, types, length, strings, _end = _BTF_HEADER.unpack_from(btf)
        first = size + strings
        texts = {btf.index(f"\0{one}\0".encode(), first) + 1 - first: one for one in ("sk_buff", _KFUNC)}
        places, named = _types(btf, size + types, length, texts)
        fields: dict[str, Field] = {}
        for text, field in _members(btf, places, named["sk_buff", _STRUCT], 0):
            start = first + text
            end = btf.index(b"\0", start)
            fields[btf[start:end].decode()] = field
        if not fields["ip_summed"].bits:
            raise ValueError("the bits of ip_summed")
        return Layout({one: fields[one] for one in _FIELDS}, named[_KFUNC, _FUNCTION])
    except (KeyError, IndexError, ValueError, struct.error) as exc:
        raise ValueError(f"the kernel's types lack what is needed: {exc}") from exc


def _types(
    btf: bytes, start: int, length: int, texts: t.Mapping[int, str]
) -> tuple[list[int], dict[tuple[str, int], int]]:
    """Return where each type is, by its number, and the numbers of those with these names, by name and kind."""
    following = [_FOLLOWING.get(kind, 0) + _BTF_TYPE.size for kind in range(32)]
    of_each = [_OF_EACH.get(kind, 0) for kind in range(32)]
    places, named, at, read = [0], {}, start, _BTF_TYPE.unpack_from
    while at < start + length:
        text, info, _size = read(btf, at)
        kind = info >> 24 & 31
        if text in texts:
            named[texts[text], kind] = len(places)
        places.append(at)
        at += following[kind] + (info & 0xFFFF) * of_each[kind]
    return places, named


def _members(btf: bytes, places: t.Sequence[int], number: int, base: int) -> t.Iterator[tuple[int, Field]]:
    """Yield the fields of a struct with the places of their names, those of structs without a name in it as its own."""
    _name, info, _size = _BTF_TYPE.unpack_from(btf, places[number])
    if info >> 24 & 31 not in (_STRUCT, _UNION):
        return
    for member in range(info & 0xFFFF):
        text, kind, offset = _BTF_TYPE.unpack_from(btf, places[number] + _BTF_TYPE.size * (member + 1))
        bits = offset >> 24 if info >> 31 else 0
        first = base + (offset & 0xFFFFFF if info >> 31 else offset)
        if text:
            yield text, Field(first // 8, first % 8, bits)
        else:
            yield from _members(btf, places, kind, first)


def compiler(btf: bytes) -> t.Callable[[str, int], bytes]:
    """Return :func:`program` for the kernel with these types.

    :raises ValueError: it is not a kernel that the program is for.
    """
    return functools.partial(program, layout_of(btf))
