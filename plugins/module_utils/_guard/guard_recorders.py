# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The chains that guards hand forbidden frames to: one of each kind and policy, for all guards. They know when.

Each has a set of its own name, by link. A guard's own rule could not record it without a risk: where the kernel has no
room for a record, it goes on with the next rule, and the frame would pass. Here the next rule is the one that drops.

It is installed on the host as it is here, beside loader.py, and imports the standard library alone.
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


def add(name: str, of_table: Object, *, has_set: bool) -> list[Object]:
    """Return the commands that give the chain ``name`` its rules, whatever it has. Its set must be missing for it."""
    chain = {"chain": {**of_table, "name": name}}
    last = {**of_table, "name": name, "type": "iface_index", "size": SIZE, "flags": ["timeout"], "timeout": SECONDS}
    record = {"set": {"op": "update", "elem": {"meta": {"key": "oif"}}, "set": f"@{name}"}}
    verdict = [{"drop": None}] if name.startswith(DROPPED) else []
    return [
        {"add": chain},
        {"flush": chain},
        *([] if has_set else [{"add": {"set": last}}]),
        *({"add": {"rule": {**of_table, "chain": name, "expr": [one]}}} for one in (record, *verdict)),
    ]


def missing(library: t.Any, of_table: Object, rules: t.Iterable[Object], added: set[str]) -> list[Object]:
    """Return the commands for those that rules use and the kernel lacks, but for those ``added``; add them to these."""
    names = used(rules) - added
    added |= names
    chains = listed(library, {"chains": {"family": of_table["family"]}}) if names else []
    there = {one["chain"]["name"] for one in chains if one.get("chain", {}).get("table") == of_table["table"]}
    commands = []
    for name in sorted(names - there):
        # Others may have removed the chain alone. The kernel refuses to add a set again that rules update.
        has_set = bool(listed(library, {"set": {**of_table, "name": name}}))
        commands += add(name, of_table, has_set=has_set)
    return commands


def afresh(load: t.Callable[[bool], _Result], refused: type[Exception]) -> _Result:
    """Return what ``load`` does, which lists what there is, and adds the rest.

    Several may do so at once: when nftables was flushed, and when a guest starts. What is there by then for one of them
    is ``refused``, and what is gone. So it is called again with true, to list afresh.
    """
    for attempt in range(_ATTEMPTS - 1):
        with contextlib.suppress(refused):
            return load(attempt > 0)
    return load(True)


class PartError(Exception):
    """Some of several guards could not be loaded: why, by MAC address. The others are loaded."""

    def __init__(self, reasons: t.Mapping[str, Exception]) -> None:
        super().__init__("; ".join(dict.fromkeys(map(str, reasons.values()))))
        self.reasons = reasons


def in_parts(load: t.Callable[[t.Collection[str]], None], macs: t.Collection[str]) -> None:
    """Call ``load`` with all these MAC addresses, and with each alone if that fails.

    One transaction has all or nothing: no guard is to be missing because another is damaged, or its link is odd.

    :raises PartError: some could not be loaded.
    """
    try:
        afresh(lambda _again: load(macs), RuntimeError)
    except Exception as exc:  # pylint: disable=broad-except  # a damaged file may have anything
        if len(macs) < 2:
            raise
        reasons: dict[str, Exception] = {}
        for mac in macs:
            try:
                load([mac])
            except Exception as one:  # pylint: disable=broad-except
                reasons[mac] = one
        if reasons:
            raise PartError(reasons) from exc


def reasons(exc: Exception, macs: t.Iterable[str]) -> t.Mapping[str, Exception]:
    """Return why which of these guards are not loaded: all, if the error does not name some."""
    return exc.reasons if isinstance(exc, PartError) else dict.fromkeys(macs, exc)


def listed(library: t.Any, what: Object) -> list[Object]:
    """Return what the library lists of ``what``, [] if the kernel does not have it.

    :raises RuntimeError: it cannot be listed, so that this is not known.
    """
    code, output, error = library.json_cmd({"nftables": [{"list": what}]})
    if code and _MISSING not in error:
        raise RuntimeError(" ".join(error.split())[:500])
    return [one for one in output["nftables"] if "metainfo" not in one] if not code and output else []
