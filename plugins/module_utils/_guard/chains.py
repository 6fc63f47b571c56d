# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that reads what the kernel's rules say of links: whose guard is on one, and which one gets copies."""

from __future__ import annotations

import socket
import sys
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands, model, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Binding, Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Rule, Snapshot, outline

# Of the kernel's expression meta, the link that a frame leaves by.
_OIF = 5


def bindings(name: str, snapshot: Snapshot) -> t.Iterator[Binding]:
    """Yield what the chain on a link says: see guard_commands.py."""
    if name.startswith("guard_"):
        return
    listed = [outline(rule) for rule in snapshot.rules[name]]
    for rule in listed:
        parts = str(rule.get("comment", "")).split(" ", 2)
        jumps = [one["jump"]["target"] for one in rule["expr"] if "jump" in one]
        if len(parts) == 3 and jumps:
            index = int(parts[1]) if parts[1].isdigit() else None
            of_link = [] if index is None else [{"meta": _OIF}, {"cmp": (0, index.to_bytes(4, sys.byteorder))}]
            expected: list[t.Any] = [*of_link, {"jump": {"target": rules.chain_name(parts[0])}}]
            intact = listed == [rule] and rule["expr"] == expected and name in snapshot.hooked
            yield Binding(parts[2], parts[0], index, intact)
        elif len(parts) == 3 and parts[1] == guard_commands.CLOSED:
            yield Binding(parts[2], parts[0], None, intact=False, closed=True)


def mirror(listed: t.Sequence[Rule]) -> tuple[str, t.Sequence[Rule]]:
    """Return the link that a guard's first rule sends copies to, "" if there is no such rule, and the other rules.

    The rule has the index of the link. Of a link that is gone, that is returned.
    """
    first = outline(listed[0])
    names = [name for one in first["expr"] for name in one]
    if first.get("comment") != model.MIRROR or names != ["immediate", "dup"]:
        return "", listed
    index = int.from_bytes(first["expr"][0]["immediate"] or b"", sys.byteorder)
    try:
        return socket.if_indextoname(index), listed[1:]
    except OSError:
        return str(index), listed[1:]


def with_mirror(guard: Guard | None, link: str) -> Guard | None:
    return guard and replace(guard, mirror_to=link)
