# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Disks of guests: qcow2 images without qemu-img, disks for a domain, and a block device that all hypervisors see."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import typing as t

if t.TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
_CLUSTER = 1 << 16
# docs/interop/qcow2.txt of QEMU.
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_BACKING_FORMAT = 0xE2792ACA


def overlay(backing: str, size: int) -> bytes:
    """Return an empty qcow2 image of ``size`` bytes over a raw backing file."""
    name = backing.encode()
    extensions = struct.pack(">II8s", _BACKING_FORMAT, 3, b"raw") + struct.pack(">II", 0, 0)
    at = _HEADER.size + len(extensions)
    # Header, refcount table, refcount block, L1 table: a cluster each.
    table, block, level1 = (_CLUSTER * number for number in (1, 2, 3))
    header = _HEADER.pack(
        b"QFI\xfb", 3, at, len(name), 16, size, 0, 1, level1, table, 1, 0, 0, 0, 0, 0, 4, _HEADER.size
    )  # fmt: skip
    image = bytearray(4 * _CLUSTER)
    image[: at + len(name)] = header + extensions + name
    image[table : table + 8] = struct.pack(">Q", block)
    image[block : block + 8] = struct.pack(">4H", 1, 1, 1, 1)
    return bytes(image)


def element(path: str, kind: str = "raw", *, block: bool = False) -> str:
    """Return a disk of a domain, in a file or on a block device. The guest has it as vda."""
    type_, attribute = ("block", "dev") if block else ("file", "file")
    return (
        f"<disk type='{type_}' device='disk'><driver name='qemu' type='{kind}' cache='none'/>"
        f"<source {attribute}='{path}'/><target dev='vda' bus='virtio'/></disk>"
    )


@contextlib.contextmanager
def block_device(file: Path, size: int) -> t.Iterator[str]:
    """Make a block device of a file, which all hypervisors see, as they do the machine's /dev."""
    with file.open("wb") as made:
        made.truncate(size)
    find = ["losetup", "--find", "--show", str(file)]
    device = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
    opened = os.open(device, os.O_RDONLY)
    try:
        # It goes when nobody has it open any more, whatever ends this process.
        subprocess.run(["losetup", "--detach", device], check=True)
        yield device
    finally:
        os.close(opened)
