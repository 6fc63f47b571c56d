# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What nftables is asked for where links have come, or have got other links' names, since they were planned."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import changes, rules, transaction
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    Binding,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Rule, Snapshot

A = "52:54:00:00:0a:01"
GUARD = Guard(A)
CHAIN, LINK = rules.chain_name(A), nft.chain_of("macvtap0")
TABLE = t.cast("t.Any", SimpleNamespace(family=nft.FAMILY, name=nft.TABLE))
REMOVED = [
    {"delete": {"rule": {**nft.OF_TABLE, "chain": LINK, "handle": 5}}},
    {"delete": {"chain": {**nft.OF_TABLE, "name": LINK}}},
]


def commands(host: Host, before: State, after: State, on_link: t.Sequence[Rule] | None) -> list[t.Any]:
    listed = {CHAIN: [Rule(b"", b"")], **({} if on_link is None else {LINK: on_link})}
    snapshot = Snapshot(1, frozenset(listed), frozenset(), listed, frozenset())
    return transaction.commands([changes.step_between(before, after)], host, snapshot, TABLE)


@pytest.mark.parametrize("new", [True, False])
def test_a_link_that_has_come_since_keeps_its_guard_until_that_goes(new: bool) -> None:
    links = {"macvtap0": GuestLink("macvtap0", 9, A)}
    on = Host({}, links, (Binding("macvtap0", A, 9),), new=frozenset({"macvtap0"} if new else ()))
    rule = Rule(b"", b"", (5).to_bytes(8, "big"))
    before = State(A, None, GUARD)
    assert commands(on, before, State(A, GUARD, GUARD), [rule]) == ([] if new else REMOVED)
    assert commands(on, before, State(A), [rule])[:2] == REMOVED


@pytest.mark.parametrize(
    ("on_link", "begin"),
    [
        (None, ["create"]),
        ([], ["delete", "create"]),
        ([Rule(b"", b"", (5).to_bytes(8, "big"))], ["add", "delete"]),
    ],
)
def test_a_chain_is_changed_by_what_was_seen_of_it(on_link: list[Rule] | None, begin: list[str]) -> None:
    before, after = State(A, GUARD, GUARD), State(A, GUARD, GUARD, ("macvtap0",))
    found = commands(Host({}, {"macvtap0": GuestLink("macvtap0", 9, A)}), before, after, on_link)
    assert [verb for one in found for verb in one] == [*begin, "add"]
    # A link that is gone, or whose name another has got, is not among them.
    assert commands(Host({}, {}), before, after, on_link) == []
