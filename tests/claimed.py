# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Several pytest processes share the same files: each claims one file after the other, until none is left.

So they end at nearly the same time, and what one sets up for its session it sets up once. `.ci/stages.py` sets
MACVTAP_TEST_CLAIMS to an empty directory, and MACVTAP_TEST_PROGRESS to a file descriptor for a line about each file.
MACVTAP_TEST_FIRST and MACVTAP_TEST_LAST name files that this process claims before all others, or only when nothing
else is left.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
import typing as t

from shuffled import file_of

if t.TYPE_CHECKING:
    import pytest

CLAIMS = "MACVTAP_TEST_CLAIMS"
PROGRESS = "MACVTAP_TEST_PROGRESS"
FIRST, LAST = "MACVTAP_TEST_FIRST", "MACVTAP_TEST_LAST"
T = t.TypeVar("T")


def claimed(names: t.Iterable[str], directory: pathlib.Path) -> t.Iterator[str]:
    """Yield the names that nobody has claimed before; each is claimed when it is asked for."""
    for name in names:
        with contextlib.suppress(FileExistsError):
            (directory / name.replace("/", "_")).touch(exist_ok=False)
            yield name


def in_turn(names: t.Iterable[str], first: t.Sequence[str], last: t.Sequence[str]) -> list[str]:
    """Return the names in the order of the claims: ``first`` in its own order, ``last`` at the end."""
    ranks = {name: rank - len(first) for rank, name in enumerate(first)} | dict.fromkeys(last, 1)
    return sorted(names, key=lambda name: ranks.get(name, 0))


def pairs(items: t.Iterable[T]) -> t.Iterator[tuple[T, T | None]]:
    """Yield each item with the next one, by which pytest knows what to tear down. Items are taken one ahead."""
    remaining = iter(items)
    item = next(remaining, None)
    while item is not None:
        following = next(remaining, None)
        yield item, following
        item = following


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    directory = os.environ.get(CLAIMS)
    if not directory or session.config.option.collectonly or session.testsfailed:
        return None
    files: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        files.setdefault(file_of(item), []).append(item)
    first, last = (os.environ.get(variable, "").split() for variable in (FIRST, LAST))
    names = in_turn(files, first, last)
    mine = (item for name in claimed(names, pathlib.Path(directory)) for item in files[name])
    started, failed = time.monotonic(), 0
    for item, following in pairs(mine):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if following is None or file_of(following) != file_of(item):
            tell(file_of(item), session.testsfailed - failed, time.monotonic() - started)
            started, failed = time.monotonic(), session.testsfailed
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
    return True


def tell(file: str, failures: int, seconds: float) -> None:
    descriptor = os.environ.get(PROGRESS, "")
    if descriptor.isdigit():
        os.write(
            int(descriptor), f"== {file}: {f'{failures} FAILED' if failures else 'ok'}, {seconds:.0f} s\n".encode()
        )
