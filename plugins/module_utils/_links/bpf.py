# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Classic BPF programs, by which the kernel drops what a socket is not to receive. Pure."""

from __future__ import annotations

import struct
import typing as t

# include/uapi/linux/bpf_common.h
LD_WORD, LD_HALF, LD_BYTE, JUMP_EQUAL, RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
SIZE = _INSTRUCTION.size
# The code, how many instructions to skip if equal and if not, the number.
Instruction = t.Tuple[int, int, int, int]
_ACCEPT, _DROP = (RETURN, 0, 0, 0xFFFF), (RETURN, 0, 0, 0)


def program(*instructions: Instruction) -> bytes:
    """Return a program. After its ``instructions`` comes one that accepts the frame, and one that drops it."""
    return b"".join(_INSTRUCTION.pack(*one) for one in (*instructions, _ACCEPT, _DROP))
