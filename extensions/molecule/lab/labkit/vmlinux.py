# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The kernel inside of a bzImage. QEMU starts it at once (by the PVH entry that Debian's have): unpacking costs an
emulated guest a fifth of the time to its first answer."""

from __future__ import annotations

import struct

# Offsets of the header: Documentation/arch/x86/boot.rst of Linux.
_SETUP_SECTORS, _PAYLOAD = 0x1F1, 0x248
_SECTOR = 512
# The format of `lz4 -l`: blocks, each after its size.
_LZ4 = b"\x02\x21\x4c\x18"
_ELF = b"\x7fELF"


def unpacked(image: bytes) -> bytes:
    """Return the kernel, or the image as it is if its kernel is not packed by LZ4, as that of Debian 12 is."""
    start = (image[_SETUP_SECTORS] + 1) * _SECTOR
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    payload = image[start + offset : start + offset + length]
    if not payload.startswith(_LZ4):
        return image
    kernel = _lz4(payload)
    return kernel if kernel.startswith(_ELF) else image


def _lz4(stream: bytes) -> bytes:
    out, at = bytearray(), len(_LZ4)
    # The last four bytes are the size of the unpacked kernel.
    while at + 4 < len(stream):
        (size,) = struct.unpack_from("<I", stream, at)
        _block(stream[at + 4 : at + 4 + size], out)
        at += 4 + size
    return bytes(out)


def _block(block: bytes, out: bytearray) -> None:
    """Append what a block stands for: in turn bytes as they are, and others that are there already."""
    at = 0
    while True:
        token = block[at]
        count, at = _count(block, token >> 4, at + 1)
        out += block[at : at + count]
        at += count
        if at >= len(block):
            return
        distance = block[at] | block[at + 1] << 8
        count, at = _count(block, token & 15, at + 2)
        count += 4
        start = len(out) - distance
        # It may reach into what it brings itself.
        piece = out[start : start + count]
        out += (piece * (count // len(piece) + 1))[:count]


def _count(block: bytes, low: int, at: int) -> tuple[int, int]:
    if low == 15:
        while True:
            more = block[at]
            low, at = low + more, at + 1
            if more != 255:
                break
    return low, at
