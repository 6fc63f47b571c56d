# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the table of guards is asked for, where the kernel and other runs are not as usual."""

from __future__ import annotations

import os
import pathlib
import sys
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_library,
    guard_links,
    guard_parts,
    guard_recorders,
    guard_table,
    rules,
    store,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

A = "52:54:00:00:0a:01"


class Library:
    """A library of nftables that accepts everything, and has nothing."""

    def __init__(self) -> None:
        self.sent: list[nft.Object] = []
        # Its error for whatever is to be listed, but for the rules of these chains.
        self.error = "internal:0:0-0: Error: No such file or directory"
        self.chains: dict[str, list[nft.Object]] = {}

    def set_json_output(self, _on: bool) -> None:
        pass

    def cmd(self, _text: str) -> tuple[int, str, str]:
        return -1, "", "Error: syntax error"

    def json_cmd(self, commands: t.Mapping[str, t.Any]) -> tuple[int, t.Any, str]:
        if all("list" in one for one in commands["nftables"]):
            name = commands["nftables"][0]["list"].get("chain", {}).get("name")
            if name not in self.chains:
                return -1, "", self.error
            listed = [{"rule": {"chain": name, **one}} for one in self.chains[name]]
            return 0, {"nftables": [{"metainfo": {}}, {"chain": {"name": name}}, *listed]}, ""
        self.sent += commands["nftables"]
        for one in commands["nftables"]:
            rule = one.get("add", {}).get("rule", {})
            if nft.is_claim(rule):
                self.chains[rule["chain"]] = [*self.chains[rule["chain"]], {**rule, "handle": 999}]
        return 0, "", ""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Library:
    made = Library()
    monkeypatch.setattr(guard_table, "LOCK", str(tmp_path / os.path.basename(guard_table.LOCK)))
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


def listed(rule: nft.Object) -> nft.Object:
    """Return a rule as it is listed: it has counted."""
    return {
        **rule,
        "handle": 7,
        "expr": [{"counter": {"packets": 7, "bytes": 700}} if "counter" in one else one for one in rule["expr"]],
    }


GUARD = Guard(A, addresses=("192.0.2.10", "fe80::/10"), rate=5)
CHAIN = rules.chain_name(A)
LOADED = {
    CHAIN: [listed(one) for one in rules.render(GUARD)],
    **{name: guard_recorders.rules(name) for name in rules.recorders(GUARD.policy)},
}
ACCEPT: nft.Object = {"expr": [{"accept": None}], "handle": 8}


def stored() -> dict[str, nft.Object]:
    return {A: store.entry_of(GUARD)}


def filled(library: Library, *, known: bool, stored: guard_table.Stored | None = stored) -> list[str]:
    """Return the chains that get other rules for the guard, from what the library has, or from what is known of it."""
    table = guard_table.GuardTable()
    found = table.add([store.entry_of(GUARD)], {**library.chains} if known else None, stored)
    return list(dict.fromkeys(one["add"]["rule"]["chain"] for one in found if "rule" in one.get("add", ())))


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


@pytest.mark.parametrize("known", [True, False], ids=["load", "start"])
def test_what_a_task_has_loaded_and_not_stored_yet_is_not_replaced(
    library: Library, tmp_path: pathlib.Path, known: bool
) -> None:
    other = {**LOADED, CHAIN: [*LOADED[CHAIN][:-1], ACCEPT]}
    library.chains = {**other}
    assert filled(library, known=known) == [CHAIN]
    with _lock.held("guards", timeout=0, directory=str(tmp_path)):
        with pytest.raises(guard_parts.ChangedError, match="task"):
            filled(library, known=known)
        # What no task loads.
        library.chains = {**LOADED, CHAIN: [], "dropped_mac": [ACCEPT]}
        assert sorted(filled(library, known=known)) == ["dropped_mac", CHAIN]
    # The file stays.
    library.chains = {**other}
    assert filled(library, known=known) == [CHAIN]


@pytest.mark.parametrize("known", [True, False], ids=["load", "start"])
@pytest.mark.parametrize(
    "current",
    [{}, {A: {**store.entry_of(GUARD), "required": False}}, {A: {}}, None],
    ids=["removed", "other", "damaged", "unreadable"],
)
@pytest.mark.parametrize(
    "there",
    [{**LOADED, CHAIN: [ACCEPT]}, {**LOADED, CHAIN: []}, {}],
    ids=["others", "empty", "missing"],
)
def test_what_is_not_stored_any_more_is_not_loaded(
    library: Library, there: dict[str, list[nft.Object]], current: dict[str, nft.Object] | None, known: bool
) -> None:
    """A task has loaded and stored another guard, and has ended, since the guards were read."""

    def read() -> dict[str, nft.Object]:
        if current is None:
            raise ValueError("damaged")
        return current

    library.chains = {**there}
    with pytest.raises(guard_parts.ChangedError):
        filled(library, known=known, stored=read)
    assert library.sent == []


def test_the_lock_is_looked_at_after_the_rules_and_the_file_after_the_lock(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another order a task may load, store and end in between, unseen."""
    library.chains = {**LOADED, CHAIN: [ACCEPT]}
    asked: list[str] = []
    monkeypatch.setattr(guard_table, "_is_task_running", lambda: asked.append("lock"))
    listing = guard_recorders.listed
    monkeypatch.setattr(guard_recorders, "listed", lambda *what: [asked.append("rules"), listing(*what)][1])

    def read() -> dict[str, nft.Object]:
        asked.append("file")
        return stored()

    assert filled(library, known=False, stored=read) == [CHAIN]
    assert asked[: asked.index("file") + 1] == ["rules", "lock", "file"]


def test_without_the_file_only_what_has_no_rules_is_filled(library: Library) -> None:
    library.chains = {**LOADED, CHAIN: [ACCEPT]}
    table = guard_table.GuardTable()
    assert table.add([store.entry_of(GUARD)]) == []
    assert table.left == {CHAIN}
    library.chains = {**LOADED, CHAIN: []}
    assert filled(library, known=True, stored=None) == [CHAIN]


@pytest.mark.parametrize(
    ("there", "begin"),
    [
        ([ACCEPT], [{"delete": {"rule": {**nft.OF_TABLE, "chain": CHAIN, "handle": 8}}}]),
        # By what it has been given, so that the kernel knows.
        ([], [{"delete": {"rule": {**nft.OF_TABLE, "chain": CHAIN, "handle": 999}}}]),
        (None, [{"create": {"chain": {**nft.OF_TABLE, "name": CHAIN}}}]),
    ],
    ids=["others", "empty", "missing"],
)
def test_the_kernel_refuses_to_replace_what_has_come_since(
    library: Library, there: list[nft.Object] | None, begin: list[nft.Object]
) -> None:
    library.chains = {**LOADED} if there is None else {**LOADED, CHAIN: there}
    if there is None:
        del library.chains[CHAIN]
    found = guard_table.GuardTable().add([store.entry_of(GUARD)], None, stored)
    kinds = [next(iter(one)) for one in found]
    assert found[: len(begin)] == begin
    assert {*kinds[len(begin) :]} == {"add"}


def test_what_fills_a_chain_at_the_same_moment_is_not_replaced(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.chains = {**LOADED, CHAIN: []}
    plain = library.json_cmd

    def answer(commands: t.Mapping[str, t.Any]) -> tuple[int, t.Any, str]:
        if any(nft.is_claim(one.get("add", {}).get("rule", {})) for one in commands["nftables"]):
            library.chains[CHAIN] = LOADED[CHAIN]
        return plain(commands)

    monkeypatch.setattr(library, "json_cmd", answer)
    with pytest.raises(RuntimeError, match="meanwhile"):
        filled(library, known=True)
    # Nothing is left of it beside what another has loaded.
    deleted = [one["delete"]["rule"]["handle"] for one in library.sent if "delete" in one]
    assert deleted == [999]
    # Nor of what was killed then.
    found = guard_table.GuardTable().add([store.entry_of(GUARD)], None, stored)
    assert [one["delete"]["rule"]["handle"] for one in found] == [999]


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


@pytest.mark.parametrize(
    ("errors", "sent"),
    [
        ([""], ["commands"]),
        # A dormant table, to which nothing can be added at a hook before it is awake.
        (["Error: Could not process rule: Invalid argument", "", ""], ["commands", "wake", "commands"]),
        (["Error: Invalid argument", "", "Error: busy"], ["commands", "wake", "commands"]),
        (["Error: Invalid argument", "Error: not permitted"], ["commands", "wake"]),
        (["Error: busy"], ["commands"]),
    ],
)
def test_a_table_is_woken_before_it_gets_chains_at_hooks(
    library: Library, monkeypatch: pytest.MonkeyPatch, errors: list[str], sent: list[str]
) -> None:
    asked: list[str] = []

    def answer(commands: t.Mapping[str, t.Any]) -> tuple[int, str, str]:
        asked.append("commands" if len(commands["nftables"]) > 1 else "wake")
        error = errors[len(asked) - 1]
        return (-1 if error else 0), "", error

    monkeypatch.setattr(library, "json_cmd", answer)
    table = guard_table.GuardTable()
    table.run([])
    assert asked == []
    if errors[-1]:
        with pytest.raises(RuntimeError, match=r"busy|argument"):
            table.run([{"add": {}}])
    else:
        table.run([{"add": {}}])
    assert asked == sent
