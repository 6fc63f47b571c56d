# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads the mounts of a process, /proc/PID/mountinfo: see proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
import typing as t

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(t.NamedTuple):
    """A mount: its ID, the directory ``root`` of its file system, and where that is mounted, with which options.

    ``kind`` is the type of the file system, ``of_filesystem`` that one's own options.
    """

    number: str
    root: str
    place: str
    options: frozenset[str]
    kind: str
    of_filesystem: str


def read(path: str = "/proc/self/mountinfo") -> list[Mount]:
    """Return the mounts in the file, without lines that are no mount.

    :raises OSError: it cannot be read.
    """
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def parse(text: str) -> list[Mount]:
    """Return the mounts in a file's text. Of those at one place, the last one is what a path there leads to."""
    # The kernel escapes a newline in a path, but no other end of a line that Python knows.
    return [mount for mount in map(_mount, text.split("\n")) if mount is not None]


def _mount(line: str) -> Mount | None:
    # Before the dash there are any number of other fields.
    before, _dash, after = line.partition(" - ")
    fields, filesystem = before.split(" "), after.split(" ")
    if len(fields) < 6 or len(filesystem) < 3:
        return None
    number, _parent, _device, root, place, options = fields[:6]
    kind, _source, of_filesystem = filesystem[:3]
    return Mount(number, _unescaped(root), _unescaped(place), frozenset(options.split(",")), kind, of_filesystem)


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), path)
