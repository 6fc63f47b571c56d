# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Damaged samples of what hosts, guests and other programs write: the short version of make torture."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from torture.mutations import apply, apply_changes
from torture.parsers import Parser, all_parsers, fuzz
from torture.violations import ViolationError

PARSERS = {parser.name: parser for parser in all_parsers()}


@pytest.mark.parametrize("name", PARSERS)
def test_a_damaged_sample_is_a_clear_error_or_none(name: str) -> None:
    parser = PARSERS[name]
    for sample in parser.samples:
        # Whole, it is read, and not refused.
        parser.read(sample)
    fuzz(parser, examples=60)


def test_a_parser_that_fails_is_found() -> None:
    def read(data: bytes) -> None:
        if b"\0" in data:
            raise KeyError("x")
        raise MacvtapError("no")

    with pytest.raises(ViolationError, match="defect: a with b") as caught:
        fuzz(Parser("a", (b"number 7\n",), read), examples=500)
    assert "KeyError: 'x'" in str(caught.value)


def test_damages_of_bytes_and_of_values() -> None:
    whole = b"a=1\nb=2\n"
    assert apply(whole, []) == whole
    assert apply(whole, [("number", 1, 0, b"99")]) == b"a=1\nb=99\n"
    assert apply(whole, [("cut", 5, 0, b"")]) == b"a=1\nb"
    value = {"a": [{"b": "c"}]}
    assert apply_changes(value, []) == value
    assert apply_changes(value, [("text", 0, "../x")]) == {"a": [{"b": "../x"}]}
    assert apply_changes(value, [("replace", 1, None)]) == {"a": None}
    assert value == {"a": [{"b": "c"}]}
