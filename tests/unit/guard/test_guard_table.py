# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the table of guards is asked for, where the kernel and other runs are not as usual."""

from __future__ import annotations

import os
import sys
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_links, guard_table

A = "52:54:00:00:0a:01"


class Library:
    """A library of nftables that accepts everything, and has nothing."""

    def __init__(self) -> None:
        self.sent: list[nft.Object] = []
        # Its error for whatever is to be listed.
        self.error = "internal:0:0-0: Error: No such file or directory"

    def set_json_output(self, _on: bool) -> None:
        pass

    def cmd(self, _text: str) -> tuple[int, str, str]:
        return -1, "", "Error: syntax error"

    def json_cmd(self, commands: t.Mapping[str, t.Any]) -> tuple[int, t.Any, str]:
        if all("list" in one for one in commands["nftables"]):
            return -1, "", self.error
        self.sent += commands["nftables"]
        return 0, "", ""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setitem(sys.modules, "nftables", SimpleNamespace(Nftables=lambda: made))
    return made


def test_a_nic_gets_a_name_that_no_link_has(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [bytes(6), bytes(6), bytes(range(6))]
    monkeypatch.setattr(os, "urandom", lambda _size: numbers.pop(0))
    monkeypatch.setattr(guard_links, "index_of", lambda link: 7 if link == "mvg000000000000" else None)
    assert guard_table.GuardTable().close(A) == "mvg000102030405"
    assert [one["add"]["rule"]["expr"][-1] for one in library.sent if "rule" in one.get("add", {})] == [{"drop": None}]


def test_a_name_that_a_link_has_is_not_closed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_links, "index_of", lambda _link: 7)
    assert guard_table.GuardTable().close(A, "web0") == ""
    assert library.sent == []


def test_a_chain_that_was_not_listed_is_not_removed(library: Library) -> None:
    """It may have been closed for a NIC since. What deletes a chain also deletes its rules."""
    for error in (library.error, "internal:0:0-0: Error: Device or resource busy"):
        library.error = error
        table = guard_table.GuardTable()
        table.remove_orphans(["mvg000000000000"])
        table.free(["mvg000000000000"])
        assert library.sent == []


def test_what_cannot_be_listed_is_not_taken_for_missing(library: Library) -> None:
    table = guard_table.GuardTable()
    assert table.rules() == {}
    library.error = "internal:0:0-0: Error: Device or resource busy"
    for read in (table.rules, lambda: table.chain_on("web0"), lambda: table.is_closed("web0")):
        with pytest.raises(RuntimeError, match="busy"):
            read()
