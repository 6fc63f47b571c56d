# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A range of interface indexes for each network namespace.

The kernel names a macvtap's device node after the link's interface index (/dev/tapN). Indexes are counted per
network namespace, but /dev is one devtmpfs for all of them: two links of the same index in two namespaces fight
over one node. Nothing lets a namespace's counter be set (it moves only when a link is made without
a wish for an index: dev_index_reserve() in net/core/dev.c), so links are made, and deleted again, until it is
where it should be.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
from pathlib import Path

from labkit import rtnetlink
from labkit.model import BASE
from labkit.shell import LabError, locked

REGISTRY = BASE / ".indexes.json"
# The machine's own namespace counts up from 1 and has no range; it is left this much room above its highest. Each
# namespace pays for it, some 0.2 ms an index.
ROOT_MARGIN = 1024
COUNT = 2048


@dataclasses.dataclass(frozen=True)
class Range:
    netns: str
    inode: int
    start: int
    count: int

    @property
    def end(self) -> int:
        """The first index that is not in it any more."""
        return self.start + self.count


def netns_path(netns: str) -> Path:
    """A name as `ip netns` knows it, or a path such as /proc/PID/ns/net."""
    return Path(netns) if "/" in netns else Path("/run/netns") / netns


def reserve(netns: str, count: int = COUNT) -> Range:
    """Give a namespace a range of its own and move its counter there; the same range when called again.

    Raises LabError where there is no such namespace.
    """
    try:
        inode = netns_path(netns).stat().st_ino
    except OSError as error:
        raise LabError(f"network namespace {netns}: {error.strerror}") from error
    with locked(REGISTRY) as fd:
        ranges = _alive(_read(fd))
        mine = next((r for r in ranges if r.inode == inode), None)
        if mine is None:
            mine = first_fit(netns, inode, count, ranges, _highest_index() + ROOT_MARGIN)
            ranges.append(mine)
        _write(fd, ranges)
    try:
        rtnetlink.advance_index(netns_path(netns), mine.start)
    except OSError as error:
        release([netns])
        raise LabError(f"interface indexes of {netns}: {error.strerror or error}") from error
    return mine


def left(netns: str) -> int:
    """How many indexes of its range a namespace has left. Looking uses up one or two.

    Raises LabError where it has no range.
    """
    mine = next((r for r in reserved() if r.netns == netns), None)
    if mine is None:
        raise LabError(f"network namespace {netns} has no range of interface indexes")
    return mine.end - rtnetlink.use_index(netns_path(netns)) - 1


def release(netns: t.Collection[str]) -> None:
    """Free the ranges of these namespaces, and of all that are gone."""
    with locked(REGISTRY) as fd:
        _write(fd, [r for r in _alive(_read(fd)) if r.netns not in netns])


def reserved() -> list[Range]:
    with locked(REGISTRY) as fd:
        return _alive(_read(fd))


def first_fit(netns: str, inode: int, count: int, taken: t.Iterable[Range], lowest: int) -> Range:
    start = lowest
    for other in sorted(taken, key=lambda r: r.start):
        if start + count <= other.start:
            break
        start = max(start, other.end)
    return Range(netns, inode, start, count)


def _highest_index() -> int:
    return max(int(path.read_text()) for path in Path("/sys/class/net").glob("*/ifindex"))


def _alive(ranges: t.Iterable[Range]) -> list[Range]:
    """Whoever was killed before it could free its range is noticed here: its namespace is gone."""
    kept = []
    for r in ranges:
        try:
            if netns_path(r.netns).stat().st_ino == r.inode:
                kept.append(r)
        except OSError:
            continue
    return kept


def _read(fd: int) -> list[Range]:
    text = os.pread(fd, os.fstat(fd).st_size, 0).decode()
    return [Range(**entry) for entry in json.loads(text)] if text else []


def _write(fd: int, ranges: t.Sequence[Range]) -> None:
    os.ftruncate(fd, 0)
    if ranges:  # an empty file is removed with its lock
        os.pwrite(fd, json.dumps([dataclasses.asdict(r) for r in ranges], indent=1).encode(), 0)
