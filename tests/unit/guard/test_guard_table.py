# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the table of guards is asked for, where the kernel and other runs are not as usual."""

from __future__ import annotations

import os
import typing as t

import pytest
from guard_library_fake import ACCEPT, CHAIN, LOADED, A, Library, filled, library, listed

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_library,
    guard_links,
    guard_recorders,
    guard_table,
    rules,
    store,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

__all__ = ["library"]


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


@pytest.mark.parametrize("known", [True, False], ids=["load", "start"])
def test_a_guard_that_does_what_it_should_keeps_its_counters(library: Library, known: bool) -> None:
    library.chains = LOADED
    assert filled(library, known=known) == []


@pytest.mark.parametrize("known", [True, False], ids=["load", "start"])
@pytest.mark.parametrize(
    "change",
    [
        lambda _listed: [],
        lambda listed: listed[:-1],
        lambda listed: listed[1:],
        lambda listed: [ACCEPT, *listed],
        lambda listed: [*listed, ACCEPT],
        lambda listed: [*listed[:-1], ACCEPT],
    ],
    ids=["flushed", "last", "first", "before", "after", "instead"],
)
@pytest.mark.parametrize("name", [CHAIN, "dropped_mac", "dropped_malformed"])
def test_what_others_have_changed_is_loaded_again(
    library: Library, name: str, change: t.Callable[[list[nft.Object]], list[nft.Object]], known: bool
) -> None:
    library.chains = {**LOADED, name: change(LOADED[name])}
    assert filled(library, known=known) == [name]
    library.chains = {one: found for one, found in LOADED.items() if one != name}
    assert filled(library, known=known) == [name]


@pytest.mark.parametrize("key", ["op", "set"])
def test_a_record_of_something_else_is_no_record(library: Library, key: str) -> None:
    (record,) = guard_recorders.rules("dropped_mac")[0]["expr"]
    other = {"expr": [{"set": {**record["set"], key: "add" if key == "op" else "@dropped_arp"}}]}
    library.chains = {**LOADED, "dropped_mac": [other, *LOADED["dropped_mac"][1:]]}
    assert filled(library, known=False) == ["dropped_mac"]
    # Other versions may list what is recorded in other words.
    same = {"expr": [{"set": {**record["set"], "elem": {"elem": {"val": record["set"]["elem"], "timeout": 5}}}}]}
    library.chains = {**LOADED, "dropped_mac": [same, *LOADED["dropped_mac"][1:]]}
    assert filled(library, known=False) == []


def test_copies_begin_again_once_their_link_is_there(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the guard has no such rule, or one with the index of a link that is gone, and keeps its counters."""
    guard = Guard(A, mirror_to="mirror0")
    library.chains = {**LOADED, CHAIN: [listed(one) for one in rules.render(guard)]}
    entry, table = store.entry_of(guard), guard_table.GuardTable()

    def add() -> list[nft.Object]:
        return table.add([entry], None, lambda: {A: entry})

    monkeypatch.setattr(guard_links, "index_of", lambda _link: None)
    assert add() == []
    library.chains[CHAIN][0] = {"comment": "mirror", "handle": 7, "expr": [{"dup": {"addr": "77"}}]}
    assert add() == []
    monkeypatch.setattr(guard_links, "index_of", lambda link: 7 if link == "mirror0" else None)
    assert [one["delete"]["rule"]["chain"] for one in add() if "delete" in one] == [CHAIN] * len(library.chains[CHAIN])


def test_a_field_that_a_version_has_a_name_for_is_the_same_field(library: Library) -> None:
    named = {"payload": {"protocol": "icmpv6", "field": "taddr"}}

    def in_its_words(found: t.Any) -> t.Any:
        if found == guard_library.TARGET:
            return named
        if isinstance(found, dict):
            return {key: in_its_words(value) for key, value in found.items()}
        return [in_its_words(one) for one in found] if isinstance(found, list) else found

    library.chains = {**LOADED, CHAIN: in_its_words(LOADED[CHAIN])}
    assert library.chains[CHAIN] != LOADED[CHAIN]
    assert filled(library, known=False) == []
