# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The chains that guards hand forbidden frames to: one of each kind and policy, for all guards. They know when.

Each has a set of its own name, by link. A guard's own rule could not record it without a risk: where the kernel has no
room for a record, it goes on with the next rule, and the frame would pass. Here the next rule is the one that drops.

It is a part of the program of loader.py, and imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import typing as t

# How the names of chains begin that drop what they get.
DROPPED, COUNTED = "dropped_", "counted_"
# For how long the kernel knows when a link has last sent a forbidden frame of a kind, and of how many links.
SECONDS, SIZE = 30 * 86400, 65535
# libvirt's hook, udev and a task put guards on at the same time.
_ATTEMPTS = 4
# In the library's error if the kernel does not have what is to be listed.
_MISSING = "No such file or directory"
Object = t.Dict[str, t.Any]
_Result = t.TypeVar("_Result")


def used(rules: t.Iterable[Object]) -> set[str]:
    """Return the names of the chains that a guard's rules hand frames to."""
    return {one["jump"]["target"] for rule in rules for one in rule["expr"] if "jump" in one}


def names(chains: t.Iterable[str]) -> set[str]:
    """Return the names of such chains among those of ``chains``."""
    return {one for one in chains if one.startswith((DROPPED, COUNTED))}


def rules(name: str) -> list[Object]:
    """Return the rules of the chain ``name``."""
    record = {"set": {"op": "update", "elem": {"meta": {"key": "oif"}}, "set": f"@{name}"}}
    verdict = [{"drop": None}] if name.startswith(DROPPED) else []
    return [{"expr": [one]} for one in (record, *verdict)]


def add(name: str, of_table: Object, *, has_set: bool) -> list[Object]:
    """Return the commands that give the chain ``name`` its rules, whatever it has. Its set must be missing for it."""
    chain = {"chain": {**of_table, "name": name}}
    last = {**of_table, "name": name, "type": "iface_index", "size": SIZE, "flags": ["timeout"], "timeout": SECONDS}
    return [
        {"add": chain},
        {"flush": chain},
        *([] if has_set else [{"add": {"set": last}}]),
        *({"add": {"rule": {**of_table, "chain": name, **one}}} for one in rules(name)),
    ]


def is_whole(name: str, listed: t.Sequence[Object]) -> bool:
    """Whether the ``listed`` rules of the chain ``name`` are its own, so that it drops what it gets."""
    return [_outline(one) for one in listed] == [_outline(one) for one in rules(name)]


def _outline(rule: Object) -> list[Object]:
    """Return what of such a rule versions of the library list in the same words."""
    return [{"set": {key: one["set"][key] for key in ("op", "set")}} if "set" in one else one for one in rule["expr"]]


def missing(
    read: t.Callable[[str], t.Sequence[Object]],
    has_set: t.Callable[[str], bool],
    of_table: Object,
    names: t.Iterable[str],
) -> list[Object]:
    """Return the commands for those of the chains ``names`` that do not do what they should: others have changed them.

    ``read`` returns the rules that a chain has, [] without it, and ``has_set`` whether there is a set: others may have
    removed the chain alone, and the kernel refuses to add a set again that rules update.
    """
    changed = [name for name in sorted(names) if not is_whole(name, read(name))]
    return [one for name in changed for one in add(name, of_table, has_set=has_set(name))]


def afresh(load: t.Callable[[bool], _Result], refused: type[Exception]) -> _Result:
    """Return what ``load`` does, which lists what there is, and adds the rest.

    Several may do so at once: when nftables was flushed, and when a guest starts. What is there by then for one of them
    is ``refused``, and what is gone. So it is called again with true, to list afresh.
    """
    for attempt in range(_ATTEMPTS - 1):
        with contextlib.suppress(refused):
            return load(attempt > 0)
    return load(True)


def listed(library: t.Any, what: Object) -> list[Object]:
    """Return what the library lists of ``what``, [] if the kernel does not have it.

    :raises RuntimeError: it cannot be listed, so that this is not known.
    """
    code, output, error = library.json_cmd({"nftables": [{"list": what}]})
    if code and _MISSING not in error:
        raise RuntimeError(" ".join(error.split())[:500])
    return [one for one in output["nftables"] if "metainfo" not in one] if not code and output else []
