# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How processes share the files of the tests."""

from __future__ import annotations

import pathlib
import typing as t

import claimed


def test_each_file_is_claimed_once_and_only_when_its_turn_comes(tmp_path: pathlib.Path) -> None:
    files = [f"tests/{name}.py" for name in "abcd"]
    one, other = (claimed.claimed(files, tmp_path) for _number in range(2))
    assert [next(one), next(other), next(other)] == files[:3]
    assert [*one] == files[3:]
    assert [*other] == []


def test_some_files_come_first_and_some_when_nothing_else_is_left() -> None:
    assert claimed.in_turn("abcdef", first="ec", last="ad") == [*"ecbfad"]
    assert claimed.in_turn("abc", first=(), last=()) == [*"abc"]
    assert claimed.in_turn("ab", first="xb", last="y") == [*"ba"]


def test_items_are_taken_one_ahead() -> None:
    taken: list[str] = []

    def items() -> t.Iterator[str]:
        for item in "abc":
            taken.append(item)
            yield item

    found = claimed.pairs(items())
    assert (next(found), taken) == (("a", "b"), ["a", "b"])
    assert [*found] == [("b", "c"), ("c", None)]
    assert [*claimed.pairs("")] == []
