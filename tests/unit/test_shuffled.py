# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The order of the tests themselves."""

from __future__ import annotations

import itertools

import shuffled

TESTS = [f"{file}::{number}" for file in "abcde" for number in range(20)]


def file_of(test: str) -> str:
    return test.partition("::")[0]


def test_a_seed_gives_one_order_and_another_seed_another() -> None:
    orders = [shuffled.shuffle(TESTS, file_of, seed) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert all(sorted(order) == sorted(TESTS) != order for order in orders)


def test_the_tests_of_a_file_stay_together() -> None:
    order = shuffled.shuffle(TESTS, file_of, 3)
    files = [file for file, _tests in itertools.groupby(order, file_of)]
    assert sorted(files) == list("abcde")


def test_the_seed_depends_on_the_tests_and_not_on_their_order() -> None:
    assert shuffled.seed_of(TESTS) == shuffled.seed_of(TESTS[::-1]) != shuffled.seed_of(TESTS[1:])
