# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Measures the file system to which libvirt saves guests: its free space, and how fast it writes and reads.

And how busy the processors are, which a pause needs too.

libvirt writes an image through the page cache and waits until it is on the disk (fdatasync in libvirt_iohelper). The
guest is restored right after that: from the page cache if there is room for the image, else from the disk.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import tempfile
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

DIRECTORY = "/var/lib/libvirt/qemu/save"
_CONFIGURATION = "/etc/libvirt/qemu.conf"
_BLOCK = 1 << 20
# A shorter run would fit into one time slice of the scheduler, and show nothing of what others do.
_LEAST, _MOST = 64 << 20, 256 << 20
# It is read into memory.
_MOST_READ = 64 << 20
# How long one direction is measured at most.
_SECONDS = 1.0


class Measured(t.NamedTuple):
    """``free`` bytes, rates in bytes per second, and the ``load``: how many processes share a processor."""

    free: int
    write_rate: float
    read_rate: float
    load: float


def measure(memory: int) -> Measured:
    """Write and read a file that has no name, for a guest that uses so many bytes of ``memory``.

    :raises MacvtapError: it cannot be measured.
    """
    format_ = _image_format()
    if format_ not in {"", "raw"}:
        raise MacvtapError(f"libvirt compresses images ({format_}), as {_CONFIGURATION} says")
    try:
        # QEMU is one more than in the last minute.
        load = (os.getloadavg()[0] + 1) / (os.cpu_count() or 1)
        state = os.statvfs(DIRECTORY)
        free = state.f_bavail * state.f_frsize
        size = min(max(_LEAST, memory // 8), _MOST, free // 4) // _BLOCK * _BLOCK
        if not size:
            return Measured(free, 0, 0, 1)
        with _nameless() as file:
            written, write_seconds = _write(file, size)
            if memory >= _available() // 2:
                # Otherwise it is still in the page cache, as a guest's image is.
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            read_rate = _read(file, min(written, _MOST_READ))
    except OSError as exc:
        raise MacvtapError(f"{DIRECTORY} cannot be measured: {exc.strerror or exc}") from exc
    return Measured(free, written / write_seconds, read_rate, load)


@contextlib.contextmanager
def _nameless() -> t.Iterator[int]:
    """Open a file of the directory that has no name, so that nothing stays of it whatever happens."""
    try:
        file = os.open(DIRECTORY, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Not every file system has that.
        file, name = tempfile.mkstemp(dir=DIRECTORY)
        os.unlink(name)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, size: int) -> tuple[int, float]:
    """Write up to ``size`` bytes that no file system can compress, and wait for the disk."""
    block = bytearray(os.urandom(_BLOCK))
    started = time.monotonic()
    written = 0
    while written < size and (written < _LEAST or time.monotonic() - started < _SECONDS):
        # Another block each time, and not a copy: the processor's time for it would count.
        block[:8] = written.to_bytes(8, "big")
        written += os.write(file, block)
    os.fdatasync(file)
    return written, max(time.monotonic() - started, 1e-6)


def _read(file: int, size: int) -> float:
    """Read so many bytes into memory that was not in use, as QEMU does, and return the rate."""
    with mmap.mmap(-1, size) as memory, memoryview(memory) as view:
        started = time.monotonic()
        at = 0
        while at < size:
            end = at + _BLOCK
            with view[at:end] as block:
                at += os.preadv(file, [block], at) or size
        return size / max(time.monotonic() - started, 1e-6)


def _available() -> int:
    """Return the memory that the page cache may take, in bytes."""
    with open("/proc/meminfo", encoding="ascii", errors="replace") as file:
        found = re.search(r"^MemAvailable:\s+([0-9]{1,18}) kB", file.read(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _image_format() -> str:
    """Return the format of images that libvirt is configured to write, "" for its default."""
    try:
        with open(_CONFIGURATION, encoding="utf-8", errors="replace") as file:
            found = re.findall(r'^\s*save_image_format\s*=\s*"(.*?)"', file.read(), re.MULTILINE)
    except OSError:
        return ""
    return found[-1] if found else ""
