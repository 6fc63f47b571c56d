# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where what a link's guest sends cannot be filtered, by what versions of libnftables and the kernel answer."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Snapshot
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table

EMPTY = Snapshot(1, frozenset(), frozenset(), {}, frozenset())
ON_A_LINK = Snapshot(1, frozenset({"link_mt0"}), frozenset({"link_mt0"}), {}, frozenset())
# As a kernel before 5.16 answers, by a library that asks it.
OLD_KERNEL = "internal:0:0-0: Error: Could not process rule: Operation not supported\n\n"
NEEDS = "Filtering what a link sends needs Linux 5.16 or newer, and nftables 1.0.1 or newer"


class Library:
    """The library of python3-nftables, which carries nothing out."""

    def __init__(self, version: str, error: str = "") -> None:
        self._version, self._error = version, error
        self.hooks: list[str] = []

    def json_cmd(self, commands: t.Any) -> tuple[int, t.Any, str]:
        chains = [one["add"]["chain"] for one in commands["nftables"] if "chain" in one.get("add", {})]
        self.hooks += [one["hook"] for one in chains]
        listed = {"nftables": [{"metainfo": {"version": self._version, "json_schema_version": 1}}]}
        return (-1, "", self._error) if chains and self._error else (0, listed, "")

    def set_json_output(self, _on: bool) -> None:
        pass

    def set_handle_output(self, _on: bool) -> None:
        pass


def table(library: Library, monkeypatch: pytest.MonkeyPatch) -> Table:
    # The library is no real one, and needs no child to be asked in.
    monkeypatch.setattr(_child, "run", lambda work: work())
    monkeypatch.setattr(_child, "unshare", lambda _flags: None)
    monkeypatch.setattr(_deps, "load", lambda _name: types.SimpleNamespace(Nftables=lambda: library))
    return Table()


def test_a_library_that_would_abort_the_module_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library("0.9.8")
    with pytest.raises(MacvtapError, match=rf"^this host has nftables 0\.9\.8\. {NEEDS}$"):
        table(library, monkeypatch).require_egress(EMPTY)
    assert library.hooks == []


def test_a_kernel_without_the_hook_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MacvtapError, match=f"Operation not supported; the kernel does not support it. {NEEDS}$"):
        table(Library("1.0.2", OLD_KERNEL), monkeypatch).require_egress(EMPTY)


def test_where_both_are_new_enough_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0.1", "1.1.7"):
        library = Library(version)
        table(library, monkeypatch).require_egress(EMPTY)
        assert library.hooks == ["egress"]


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library("1.0.6")
    asked = table(library, monkeypatch)
    for _time in range(2):
        asked.require_egress(EMPTY)
    assert library.hooks == ["egress"]


def test_a_process_that_may_have_no_namespace_leaves_the_answer_to_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library("1.0.6", OLD_KERNEL)
    asked = table(library, monkeypatch)

    def refuse(_flags: int) -> None:
        raise PermissionError

    monkeypatch.setattr(_child, "unshare", refuse)
    asked.require_egress(EMPTY)
    assert library.hooks == []


def test_what_is_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    table(Library("0.9.8"), monkeypatch).require_egress(ON_A_LINK)
