# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that reads what the kernel's rules say of links: whose guard is on one, and which one gets copies."""

from __future__ import annotations

import contextlib
import socket
import sys
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_commands,
    guard_links,
    guard_recorders,
    model,
    rules,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    Binding,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Rule, Snapshot, outline
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table

# Of the kernel's expression meta, the link that a frame leaves by.
_OIF = 5


def asked(macs_and_links: t.Collection[str] | None, links: t.Mapping[str, GuestLink]) -> t.Callable[[str], bool] | None:
    """Return which chains to read for the guards of these NICs and links; None for all."""
    if macs_and_links is None:
        return None
    macs = {links[one].mac if one in links else one for one in macs_and_links}
    # A link that is gone is known by its chain alone.
    if any(one not in links and rules.mac_of(rules.chain_name(one)) is None for one in macs_and_links):
        return None
    names = {rules.chain_name(mac) for mac in macs}
    return lambda name: name in names or not name.startswith("guard_")


def bindings(name: str, snapshot: Snapshot) -> t.Iterator[Binding]:
    """Yield what the chain on a link says: see guard_commands.py."""
    if name.startswith("guard_"):
        return
    listed = [outline(rule) for rule in snapshot.rules[name]]
    for rule in listed:
        found = guard_commands.of_link(rule)
        if found is None:
            continue
        if found.closed is not None:
            yield Binding(found.link, found.mac, None, intact=False, closed=True)
        elif any("jump" in one for one in rule["expr"]):
            index = found.index
            same = [] if index is None else [{"meta": _OIF}, {"cmp": (0, index.to_bytes(4, sys.byteorder))}]
            expected: list[t.Any] = [*same, {"jump": {"target": rules.chain_name(found.mac)}}]
            intact = listed == [rule] and rule["expr"] == expected and name in snapshot.hooked
            yield Binding(found.link, found.mac, index, intact)


def orphans(snapshot: Snapshot, names: t.Collection[str], now: float) -> set[str]:
    """Return the names without a link whose chains do nothing any more: see guard_commands.py."""
    listed = [outline(rule) for name, found in snapshot.rules.items() if name.startswith("link_") for rule in found]
    found = [one for one in map(guard_commands.of_link, listed) if one is not None]
    return {one.link for one in found if one.link not in names and guard_commands.is_orphan(one, now)}


def owners(states: t.Sequence[State], host: Host) -> dict[tuple[str, int], str | None]:
    """Return whose links planned guards are on, and which of theirs have none any more, by name and index."""
    former = {link: None for state in states for link in host.state(state.mac).links}
    found = {**former, **{link: state.mac for state in states if state.active for link in state.links}}
    return {(link, host.links[link].index): mac for link, mac in found.items() if link in host.links}


def unrecorded(host: Host, records: guard_links.Known) -> dict[tuple[str, int], str | None]:
    """Return whose the links are that have a guard and no record, by name and index.

    They are of an older version, or of a run that was killed. Of guards that were not asked for it is known as well.
    """
    found = {link: state.mac for state in host.guards.values() for link in state.links if link not in records.owners}
    return {(link, host.links[link].index): mac for link, mac in found.items() if link in host.links}


def missing_recorders(policy: str, snapshot: Snapshot) -> list[str]:
    """Return those of the chains that guards of a policy hand forbidden frames to that are missing, or were changed."""
    return sorted(name for name in rules.recorders(policy) if not _is_recorder(name, snapshot))


def add_recorders(policies: t.Iterable[str], snapshot: Snapshot, of_table: rules.Object) -> list[rules.Object]:
    """Return the commands for what of these chains is missing or changed."""
    names = [name for policy in sorted(policies) for name in missing_recorders(policy, snapshot)]
    return [one for name in names for one in guard_recorders.add(name, of_table, has_set=name in snapshot.sets)]


def has_changed_recorder(policy: str, snapshot: Snapshot) -> bool:
    """Whether others have changed one of these chains, or keep the kernel from carrying them out.

    No guard uses one that is missing: the kernel sees to that.
    """
    return snapshot.dormant or any(name in snapshot.chains for name in missing_recorders(policy, snapshot))


def remove_recorders(table: Table, snapshot: Snapshot, after: t.Iterable[State | None]) -> None:
    """Remove all these chains and their sets if no guard is left after a change from ``snapshot``."""
    left = {name for name in snapshot.chains if name.startswith("guard_")}
    for state in after:
        if state is not None:
            (left.discard if state.active is None else left.add)(rules.chain_name(state.mac))
    names = sorted(name for policy in (model.DROP, model.COUNT) for name in rules.recorders(policy))
    of_table = {"family": table.family, "table": table.name}
    there = [{"chain": {**of_table, "name": name}} for name in names if name in snapshot.chains]
    sets = [{"set": {**of_table, "name": name}} for name in names if name in snapshot.sets]
    if there and not left:
        # The kernel refuses it if a guest that starts at this moment has got a guard that uses them.
        with contextlib.suppress(MacvtapError):
            table.replace([*({"flush": one} for one in there), *({"delete": one} for one in (*there, *sets))])


def _is_recorder(name: str, snapshot: Snapshot) -> bool:
    listed = [outline(rule)["expr"] for rule in snapshot.rules.get(name, ())]
    verdict: list[t.Any] = [[{"drop": None}]] if name.startswith(guard_recorders.DROPPED) else []
    return listed == [[{"meta": _OIF}, {"dynset": name}], *verdict]


class Ages:
    """When links have last sent forbidden frames, as the kernel knows."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._read: dict[str, dict[int, float]] = {}

    def add_to(
        self, counters: t.Mapping[str, t.Mapping[str, int]], policy: str, links: t.Iterable[GuestLink]
    ) -> dict[str, dict[str, t.Any]]:
        """Return the counters of a guard with the age of what was last counted of each kind, on these links."""
        indexes = [one.index for one in links]
        return {kind: {**one, "last_age": self._last(kind, one, policy, indexes)} for kind, one in counters.items()}

    def _last(self, kind: str, counted: t.Mapping[str, int], policy: str, links: t.Iterable[int]) -> float | None:
        if not counted["packets"]:
            return None
        name = rules.recorder(policy, kind)
        if name not in self._read:
            ages = self._table.ages(name)
            self._read[name] = {int.from_bytes(key, sys.byteorder): age for key, age in ages.items()}
        found = [self._read[name][index] for index in links if index in self._read[name]]
        return round(min(found), 1) if found else None


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
