# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Archives in cpio's newc format, which is what the kernel unpacks as its initramfs."""

from __future__ import annotations

import dataclasses
import os
import stat
import typing as t
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Entry:
    path: str
    mode: int
    data: bytes = b""
    mtime: int = 0
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    return Entry(path, stat.S_IFDIR | 0o755)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def file(path: str, source: Path, *, executable: bool = False) -> Entry:
    # With its time: Python takes a .pyc only for the .py of the time that is noted in it.
    mode = stat.S_IFREG | (0o755 if executable else 0o644)
    return Entry(path, mode, source.read_bytes(), int(source.stat().st_mtime))


def with_parents(entries: t.Iterable[Entry]) -> list[Entry]:
    """Each entry after the directories above it, and each path once: the first wins."""
    ordered: dict[str, Entry] = {}
    for entry in entries:
        above = entry.path.split("/")[:-1]
        for depth in range(1, len(above) + 1):
            parent = "/".join(above[:depth])
            ordered.setdefault(parent, directory(parent))
        ordered.setdefault(entry.path, entry)
    return list(ordered.values())


def write(path: Path, entries: t.Iterable[Entry]) -> None:
    with open(path, "wb") as out:
        for inode, entry in enumerate(with_parents(entries), 1):
            out.write(_record(inode, entry))
        out.write(_record(0, Entry("TRAILER!!!", 0)))
        out.flush()
        os.fsync(out.fileno())


def _record(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    major, minor = entry.device
    fields = [inode, entry.mode, 0, 0, links, entry.mtime, len(entry.data), 0, 0, major, minor, len(name), 0]
    header = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return _padded(header) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
