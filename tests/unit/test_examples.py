# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Tests that draw examples give the same result in each run, in any order, regardless of other changes."""

from __future__ import annotations

import importlib.util
import sys
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def drawn() -> list[int]:
    found = []

    @settings(max_examples=200, derandomize=True, database=None)
    @given(st.integers(0, 10**9))
    def note(number: int) -> None:
        found.append(number)

    note()
    return found


@pytest.fixture
def another_file(tmp_path: Path) -> t.Callable[[], None]:
    path = tmp_path / "constants_of_another_file.py"
    path.write_text("".join(f"C{number} = {number}\n" for number in range(700000, 700200)))

    def load() -> None:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])

    return load


def test_examples_are_the_same_whatever_files_are_loaded(another_file: t.Callable[[], None]) -> None:
    before = drawn()
    another_file()
    try:
        assert drawn() == before
    finally:
        del sys.modules["constants_of_another_file"]
