# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs the program of a guard as the kernel does, for a frame and the place where a checksum is to be written."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.checksum_program import Field, Layout

_HEAD, _DATA, _ROOM = 0x10000, 0x10040, 0x40
LAYOUT = Layout(
    {
        "ip_summed": Field(2, 5, 2),
        "csum_start": Field(4),
        "csum_offset": Field(6),
        "head": Field(8),
        "data": Field(16),
    },
    77,
)
_STACK = 512
# The time, in nanoseconds.
TIME = 4711
_WIDTHS = {0x71: "B", 0x69: "H", 0x61: "I", 0x79: "Q"}


class Machine:
    """``counted`` is how often the program has counted the frame, ``last`` when, 0 for never."""

    def __init__(self, code: bytes, frame: bytes) -> None:
        self._code = [struct.unpack_from("<BBhi", code, at) for at in range(0, len(code), 8)]
        self._frame = frame
        self._stack = bytearray(_STACK)
        self.counted, self.last = 0, 0

    def run(self, place: tuple[int, int] | None) -> int:
        """Return the verdict. ``place`` is where the sum begins, and how far from there it goes; None without any."""
        start, offset = place or (0, 0)
        packed = struct.pack("<xxBxHHQQ", 3 << 5 if place else 0, start + _ROOM, offset, _HEAD, _DATA)
        registers: list[t.Any] = [0, "context", *([0] * 8), _STACK]
        at = 0
        while True:
            operation, both, jump, value = self._code[at]
            to, source = both & 15, both >> 4
            at += 1
            if operation == 0x95:
                return int(registers[0])
            if operation in _WIDTHS:
                memory = {"skb": packed, "context": bytes(60)}.get(registers[source], self._stack)
                base = 0 if isinstance(registers[source], str) else registers[source]
                (registers[to],) = struct.unpack_from("<" + _WIDTHS[operation], memory, base + jump)
            elif operation == 0x85:
                registers[0] = self._call(source, value, registers)
                registers[1:6] = [None] * 5
            elif operation == 0x18:
                registers[to], at = "map", at + 1
            elif operation == 0xDB:
                self.counted += jump == 0
            elif operation in (0x62, 0x7B):
                self._store(registers[to], jump, value if operation == 0x62 else registers[source])
            elif operation & 7 == 5:
                other = registers[source] if operation & 8 else value
                if _JUMPS[operation](registers[to], other):
                    at += jump
            else:
                other = registers[source] if operation & 8 else value
                registers[to] = _ARITHMETIC[operation](registers[to], other)

    def _store(self, to: t.Any, offset: int, value: int) -> None:
        if to == "element":
            assert offset == 16
            self.last = value
        else:
            struct.pack_into("<I", self._stack, to + offset, value)

    def _call(self, source: int, function: int, registers: t.Sequence[t.Any]) -> t.Any:
        if source == 2:
            assert function == LAYOUT.function
            return "skb"
        if function == 1:
            return "element"
        if function == 5:
            return TIME
        _context, offset, to, count = registers[1:5]
        found = self._frame[offset : offset + count]
        if len(found) < count:
            return -14
        self._stack[to : to + count] = found
        return 0


_JUMPS: t.Mapping[int, t.Callable[[t.Any, t.Any], bool]] = {
    0x05: lambda _left, _right: True,
    0x15: lambda left, right: left == right,
    0x1D: lambda left, right: left == right,
    0x55: lambda left, right: left != right,
    0x3D: lambda left, right: left >= right,
    0xC5: lambda left, right: left < right,
}
_ARITHMETIC: t.Mapping[int, t.Callable[[t.Any, t.Any], t.Any]] = {
    0xB7: lambda _left, right: right,
    0xBF: lambda _left, right: right,
    0x07: lambda left, right: left + right,
    0x0F: lambda left, right: left + right,
    0x1F: lambda left, right: left - right,
    0x57: lambda left, right: left & right,
    0x67: lambda left, right: left << right,
    0x77: lambda left, right: left >> right,
}
