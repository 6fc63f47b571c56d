# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Chains of guards that get their rules again, while tasks change guards at the same time."""

from __future__ import annotations

import os
import pathlib
import typing as t
from types import SimpleNamespace

import pytest
from guard_library_fake import ACCEPT, CHAIN, GUARD, LOADED, A, Library, filled, library, stored

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_parts,
    guard_recorders,
    guard_table,
    store,
)

__all__ = ["library"]


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


@pytest.mark.parametrize("denied", ["/run/lock", "/proc/locks"])
@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_where_it_cannot_be_seen_a_task_may_be_running(
    library: Library, monkeypatch: pytest.MonkeyPatch, denied: str, error: type[OSError]
) -> None:
    def refuse(path: str, *_how: t.Any, **_more: t.Any) -> t.Any:
        if path == denied:
            raise error(1, "denied", path)
        return os.stat_result(range(10))

    library.chains = {**LOADED, CHAIN: [ACCEPT]}
    monkeypatch.setattr(guard_table, "LOCK", "/run/lock")
    monkeypatch.setattr(guard_table, "os", SimpleNamespace(stat=refuse, major=os.major, minor=os.minor))
    monkeypatch.setattr(guard_table, "open", refuse, raising=False)
    # Without a lock there has been no task since the host has booted.
    if (denied, error) == ("/run/lock", FileNotFoundError):
        assert filled(library, known=False) == [CHAIN]
    else:
        with pytest.raises(guard_parts.ChangedError, match="task"):
            filled(library, known=False)


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

    def listed(*what: t.Any) -> list[nft.Object]:
        asked.append("rules")
        return listing(*what)

    monkeypatch.setattr(guard_recorders, "listed", listed)

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
