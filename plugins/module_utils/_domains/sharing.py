# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates that an interface in mode passthrough is the only one on its source. Pure.

This is more than a guest that does not start. libvirt 9.0 gives the source the guest's MAC address before it creates
the link. If attaching then fails, the source keeps that address, and the host uses it.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.source_users import (
    Case,
    Use,
    name_of,
    uses_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate as links_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition


def validate(cases: t.Sequence[Case], host: Host, paused: t.Collection[str] = ()) -> list[str]:
    """Refuse interfaces whose link cannot exist beside others on the source, and return warnings.

    Refused are conflicts of running guests, and two NICs of one domain, which could never start. A stored NIC beside
    others is only a warning: it may be about to replace them. All links of the domains ``paused`` are new afterwards.

    :raises MacvtapError: with the path of the option.
    """
    placed = [case for case in cases if case[2].stored is not None and _is_placed(case, host)]
    renewed = _renewed(cases, host, paused)
    moves = _pool_moves(renewed, host)
    joining = [one for one in renewed if _gets_another(one, host)]
    if not placed and not moves and not joining:
        return []
    uses = uses_of(cases, host)
    for name, move in moves.items():
        _validate_moves(name, move, uses, host)
    alone = {source for source, those in uses.items() if any(use.mode in links_validate.PASSTHRU for use in those)}
    warnings = []
    for desired, _before, after in placed:
        stored = after.stored or after.live
        if stored is None:
            continue
        if networks.is_pool(stored, host.networks):
            warnings += _pool_warnings(after, uses, host)
            continue
        own = Use("", after.domain, after.mac, networks.mode(stored, host.networks), False)
        for source in (name_of(name, host) for name in networks.uplinks(stored, host.networks)):
            if own.mode not in links_validate.PASSTHRU and source not in alone:
                continue
            others = [use for use in uses.get(source, ()) if (use.domain, use.mac) != (own.domain, own.mac)]
            if links_validate.crowded([own.mode, *(use.mode for use in others)]):
                warnings += _validate_one(desired, own, others, source, host)
    for one in joining:
        _validate_renewed(one, uses, host)
    return list(dict.fromkeys(warnings))


def _is_placed(case: Case, host: Host) -> bool:
    """Whether a NIC is new on its source or changes its mode there, now or at its next start."""
    _desired, before, after = case
    before_iface, after_iface = before.stored, after.stored
    if before_iface is None or after_iface is None or before_iface.type != after_iface.type:
        return True
    if (before.live is None) != (after.live is None):
        return True
    if before_iface.get("network") != after_iface.get("network"):
        return True
    moved = not selection.same_source(before_iface.get("source"), after_iface.get("source"), host.links)
    return moved or before_iface.get("mode") != after_iface.get("mode")


def _validate_one(desired: Desired, own: Use, others: t.Sequence[Use], source: str, host: Host) -> list[str]:
    running = host.domains[own.domain].running
    clashing = [use for use in others if (use.active and running) or use.domain == own.domain]
    whose = f"{own.domain} {own.mac}"
    if links_validate.crowded([own.mode, *(use.mode for use in clashing)]):
        option = next((name for name in ("mode", "network") if desired.given.get(name) is not None), "source")
        raise _not_alone(source, whose, own.mode, clashing, join_path(desired.path, option))
    text = links_validate.not_alone(source, whose, own.mode, [(use.name, use.mode) for use in others])
    return [f"{whose}: {text}. The second of these guests or links does not start"]


def _not_alone(source: str, whose: str, mode: str | None, others: t.Sequence[Use], path: str) -> MacvtapError:
    return MacvtapError(
        f"{links_validate.not_alone(source, whose, mode, [(use.name, use.mode) for use in others])}. libvirt would "
        "fail, and some versions leave the guest's address on the source. Use another source, or mode: bridge for all "
        "of them",
        path=path,
    )


class _Moves(t.NamedTuple):
    """What a run changes of the NICs on a network that gives each an uplink for itself.

    ``joining`` are the NICs (domain, MAC address) that get an uplink, ``left`` the uplinks that NICs leave before that.
    ``path`` is the option's.
    """

    pool: Definition
    path: str
    joining: set[tuple[str, str]]
    left: t.Counter[str]


class _Renewed(t.NamedTuple):
    """A NIC of a running guest that gets a new link, or loses its link: plugged, replugged, paused or unplugged.

    ``after`` has no uplink and no mode if its network is to give it those. ``path`` is the entry's that does it, and
    ``option`` is the option of it that is to blame, "" if it is the entry itself.
    """

    domain: str
    before: Iface | None
    after: Iface | None
    path: str
    option: str


def _renewed(cases: t.Sequence[Case], host: Host, paused: t.Collection[str]) -> list[_Renewed]:
    """Return the NICs of running guests that change, and all NICs of the domains ``paused``, declared or not."""
    paths = {before.domain: desired.path for desired, before, _after in reversed(cases)}
    found = []
    gone = set()
    for desired, before, after in cases:
        if after.live is not before.live:
            gets = networks.without_port(after.live) if after.live and after.domain in paused else after.live
            option = "network" if desired.given.get("network") is not None else ""
            found.append(_Renewed(after.domain, before.live, gets, desired.path, option))
            gone.add(id(before.live))
    for name in paused:
        # A declared one too, although nothing of it is changed.
        others = (one for one in host.domains[name].live if id(one) not in gone)
        found += [_Renewed(name, one, networks.without_port(one), paths[name], "") for one in others]
    return found


def _gets_another(one: _Renewed, host: Host) -> bool:
    """Whether a network has another uplink or mode for a NIC with its new link than it gave it for the former one."""
    before, after = one.before, one.after
    if before is None or after is None or after.get("source") is not None or networks.is_pool(after, host.networks):
        return False
    given = networks.definition(after, host.networks)
    return given is not None and (before.get("mode") != given.mode or before.get("source") not in given.interfaces)


def _validate_renewed(one: _Renewed, uses: t.Mapping[str, t.Sequence[Use]], host: Host) -> None:
    """Refuse a new link that cannot exist beside what is on its uplink.

    :raises MacvtapError: with the path of the option.
    """
    if one.after is None:
        return
    mode, whose = networks.mode(one.after, host.networks), f"{one.domain} {one.after.mac}"
    for source in (name_of(name, host) for name in networks.uplinks(one.after, host.networks)):
        others = [
            use for use in uses.get(source, ()) if use.active and (use.domain, use.mac) != (one.domain, one.after.mac)
        ]
        if links_validate.crowded([mode, *(use.mode for use in others)]):
            raise _not_alone(source, whose, mode, others, join_path(one.path, one.option) if one.option else one.path)


def _pool_moves(renewed: t.Iterable[_Renewed], host: Host) -> dict[str, _Moves]:
    """Return by network the NICs that leave its uplinks, or get one."""
    found: dict[str, _Moves] = {}
    for domain, before, after, path, option in renewed:
        gets_one = after is not None and networks.is_pool(after, host.networks)
        stays = before is not None and after is not None and not gets_one and networks.same_network(before, after)
        for iface in (before, after):
            pool = networks.pool(iface, host.networks) if iface is not None else None
            if iface is None or pool is None or stays:
                continue
            where = join_path(path, option) if option else path
            move = found.setdefault(iface.values["network"], _Moves(pool, where, set(), collections.Counter()))
            if iface is before:
                move.left[iface.get("source") or ""] += 1
            elif gets_one:
                move.joining.add((domain, iface.mac))
    return {name: move for name, move in found.items() if move.joining}


def _validate_moves(name: str, move: _Moves, uses: t.Mapping[str, t.Sequence[Use]], host: Host) -> None:
    """Refuse that NICs get an uplink that is taken. libvirt knows only of its own guests on this very network.

    :raises MacvtapError: with the path of the option.
    """
    taken = _taken(move.pool, uses, host, move.joining)
    free = _free(move.pool, taken, move.left)
    path = move.path
    if len(free) < len(move.joining) or taken.keys() >= set(free):
        users = ", ".join(
            f"{source} by {taken.get(source, 'a guest')}"
            for source in move.pool.interfaces
            if source in taken or source not in free
        )
        left = len(set(free) - taken.keys())
        which = f"and has {left} left for {len(move.joining)} NICs, since others are" if left else "and all are"
        raise MacvtapError(
            f"the network {name!r} gives each NIC an uplink for itself, {which} taken: {users}. Add an uplink to it",
            path=path,
        )
    clash = next((source for source in free[: len(move.joining)] if source in taken), None)
    if clash is not None:
        raise MacvtapError(
            f"the network {name!r} gives each NIC an uplink for itself, and libvirt would choose {clash}, because it "
            f"does not know that this is taken by {taken[clash]}. It would fail, and some versions leave the guest's "
            f"address on {clash}. Remove that from {clash}, or take {clash} out of the network",
            path=path,
        )


def _taken(
    pool: Definition, uses: t.Mapping[str, t.Sequence[Use]], host: Host, exclude: t.Container[tuple[str, str]]
) -> dict[str, str]:
    """Return the uplinks of a network that something uses now, and who does."""
    found = {
        source: [
            use.name
            for use in uses.get(name_of(source, host), ())
            if use.active and (use.domain, use.mac) not in exclude
        ]
        for source in pool.interfaces
    }
    return {source: users[0] for source, users in found.items() if users}


def _free(pool: Definition, taken: t.Container[str], left: t.Mapping[str, int]) -> list[str]:
    """Return the uplinks that libvirt would give to the next NICs, in this order: it has a count of its own."""
    if pool.connections is None:
        return [source for source in pool.interfaces if source not in taken]
    return [source for source in pool.interfaces if pool.connections.get(source, 0) <= left.get(source, 0)]


def _pool_warnings(after: Nic, uses: t.Mapping[str, t.Sequence[Use]], host: Host) -> list[str]:
    """Warn if a network has more NICs than uplinks, or if the next guest gets an uplink that is taken."""
    stored = after.stored or after.live
    pool = networks.pool(stored, host.networks) if stored is not None else None
    if stored is None or pool is None:
        return []
    name, own = stored.get("network"), (after.domain, after.mac)
    taken = _taken(pool, uses, host, {own})
    waiting = [
        iface
        for domain in host.domains.values()
        for iface in domain.stored
        if iface.get("network") == name and (domain.name, iface.mac) != own and not domain.running
    ]
    what = f"{after.domain} {after.mac}: the network {name!r} gives each NIC an uplink for itself"
    if len(taken) + len(waiting) >= len(pool.interfaces):
        return [
            f"{what}, and has {len(pool.interfaces)} for more NICs: {len(taken)} taken, {len(waiting) + 1} of guests "
            "that do not have one yet. The last of these guests does not start"
        ]
    free = _free(pool, taken, {})
    has_one = after.live is not None and after.live.get("network") == name
    if free and free[0] in taken and not has_one:
        return [
            f"{what}, and libvirt would choose {free[0]} at the next start, because it does not know that this is "
            f"taken by {taken[free[0]]}. The guest would not start"
        ]
    return []
