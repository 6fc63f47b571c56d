# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The kernel inside of a bzImage."""

from __future__ import annotations

import struct

import pytest
from labkit import vmlinux

LZ4 = b"\x02\x21\x4c\x18"


def image(payload: bytes) -> bytes:
    """A bzImage with two sectors of set-up, whose payload begins 16 bytes behind them."""
    made = bytearray(3 * 512 + 16)
    made[0x1F1] = 2
    struct.pack_into("<II", made, 0x248, 16, len(payload))
    return bytes(made) + payload + b"rest"


def packed(*blocks: bytes) -> bytes:
    return image(LZ4 + b"".join(struct.pack("<I", len(block)) + block for block in blocks) + struct.pack("<I", 99))


@pytest.mark.parametrize(
    ("blocks", "kernel"),
    [
        ([b"\x60\x7fELF12"], b"\x7fELF12"),
        # Four bytes of before; then the last ones as they are.
        ([b"\x60\x7fELF12\x02\x00\x20ab"], b"\x7fELF12" + b"1212" + b"ab"),
        ([b"\x50\x7fELFx\x01\x00\x10y"], b"\x7fELF" + b"x" * 5 + b"y"),
        # Counts that do not fit into the token.
        ([b"\xf0\x05\x7fELF" + b"z" * 16], b"\x7fELF" + b"z" * 16),
        ([b"\x5f\x7fELFx\x01\x00\xff\x01\x10y"], b"\x7fELFx" + b"x" * (15 + 256 + 4) + b"y"),
        # A block may bring back what an earlier one had.
        ([b"\x40\x7fELF", b"\x10a\x05\x00\x10b"], b"\x7fELFa\x7fELFb"),
    ],
)
def test_the_kernel_is_unpacked(blocks: list[bytes], kernel: bytes) -> None:
    assert vmlinux.unpacked(packed(*blocks)) == kernel


@pytest.mark.parametrize("other", [image(b"\xfd7zXZ\x00 and so on"), packed(b"\x50noELF")])
def test_another_image_stays_as_it_is(other: bytes) -> None:
    assert vmlinux.unpacked(other) == other
