# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A library of nftables for unit tests, which has the chains that it is given, and a guard that is loaded."""

from __future__ import annotations

import os
import pathlib
import sys
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
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
