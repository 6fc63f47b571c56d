# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The order of tests: shuffled, and the same each time for the same tests.

The seed is a digest of the tests' names, so that no run depends on chance and each new test changes the order.
MACVTAP_TEST_SEED sets another one.
"""

from __future__ import annotations

import itertools
import os
import random
import typing as t
import zlib

import pytest

VARIABLE = "MACVTAP_TEST_SEED"
SEED = pytest.StashKey[int]()
T = t.TypeVar("T")


def seed_of(names: t.Iterable[str]) -> int:
    return zlib.crc32("\n".join(sorted(names)).encode())


def shuffle(items: t.Sequence[T], file_of: t.Callable[[T], str], seed: int) -> list[T]:
    """Shuffle the files, and the items within each: what a file sets up for all its tests is set up once."""
    drawn = random.Random(seed)
    files = [list(group) for _file, group in itertools.groupby(items, file_of)]
    for group in files:
        drawn.shuffle(group)
    drawn.shuffle(files)
    return [item for group in files for item in group]


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


# First: pytest itself then brings together what shares a parameter of its file's fixtures, so that no fixture is set up
# again and again.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    given = os.environ.get(VARIABLE, "")
    seed = int(given) if given.isdigit() else seed_of(item.nodeid for item in items)
    items[:] = shuffle(items, file_of, seed)
    config.stash[SEED] = seed


def pytest_terminal_summary(terminalreporter: t.Any, config: pytest.Config) -> None:
    seed = config.stash.get(SEED, None)
    if seed is not None:
        terminalreporter.write_line(f"order: {VARIABLE}={seed}")
