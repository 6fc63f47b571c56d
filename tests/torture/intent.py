# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a run was asked for, as its documentation says: which NICs are meant, and what may become of them."""

from __future__ import annotations

import typing as t

from torture.nics import Nic
from torture.world import Guest, LiveNic, World

_SELECTORS = ("mac", "alias", "target", "source")


def entries(params: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the declared interfaces, each with what it takes from the top level."""
    if params.get("interfaces") is None:
        return [dict(params)]
    defaults = {name: value for name, value in params.items() if name != "interfaces"}
    return [{**defaults, **entry} for entry in params["interfaces"]]


def meant(entry: t.Mapping[str, t.Any], guest: Guest, named: t.Collection[str] = ()) -> set[str]:
    """Return the addresses of the NICs that an entry means; none where it is still to be made.

    Those that are ``named`` by other entries may count as found, or not.
    """
    by = _selector(entry)
    if by == "mac":
        return {entry["mac"].lower()}
    found = {nic.mac for nic in guest.stored or () if _fits(nic, by, entry[by])}
    if found - set(named):
        return found
    kept = {nic.mac for nic in guest.stored or ()}
    live = {one.nic.mac for one in guest.live or () if _fits(one.nic, by, entry[by])}
    return found | (live - kept)


def _selector(entry: t.Mapping[str, t.Any]) -> str:
    return next(name for name in _SELECTORS if entry.get(name))


def _named(entry: t.Mapping[str, t.Any], others: t.Iterable[t.Mapping[str, t.Any]], guest: Guest) -> set[str]:
    """Return the addresses of what ``others`` mean that go before ``entry``, since what they select by is surer."""
    before = _SELECTORS[: _SELECTORS.index(_selector(entry))]
    found: set[str] = set()
    for other in others:
        if other is not entry and other["domain"] == guest.name and _selector(other) in before:
            found |= meant(other, guest)
    return found


def _fits(nic: Nic, by: str, value: str) -> bool:
    return getattr(nic, by) == value and (by != "source" or nic.type == "direct")


class Scope:
    """The NICs that a run may touch, by UUID and address: those meant at its start, and since others last acted."""

    def __init__(self, params: t.Mapping[str, t.Any], world: World) -> None:
        self._entries = entries(params)
        self._purge = bool(params.get("purge"))
        self._replugs = params.get("live") == "replug"
        self.present: set[tuple[str, str]] = set()
        self.absent: set[tuple[str, str]] = set()
        # Addresses that others have given, so that another one is one that the run has made up.
        self._others = addresses(world)
        self._makes: set[str] = set()
        self.widen(world)

    def widen(self, world: World, others: t.Collection[tuple[str, str]] = ()) -> None:
        """Take in what the entries mean now; ``others`` are the addresses that others have just given."""
        self._others |= set(others)
        for guest in world.guests.values():
            for entry in self._entries:
                if entry["domain"] != guest.name:
                    continue
                absent = entry.get("state") == "absent"
                named = _named(entry, self._entries, guest)
                found = {(guest.uuid, mac) for mac in meant(entry, guest, named)}
                (self.absent if absent else self.present).update(found)
                if not absent and not entry.get("mac"):
                    self._makes.add(guest.uuid)
                if self._purge:
                    nics = [*(guest.stored or ()), *(one.nic for one in guest.live or ())]
                    self.absent |= {(guest.uuid, nic.mac) for nic in nics if nic.type == "direct"}

    def means(self, uuid: str, mac: str) -> bool:
        key = (uuid, mac)
        return key in self.present or key in self.absent or (uuid in self._makes and key not in self._others)

    def may_go(self, uuid: str, mac: str) -> bool:
        """Whether a running guest may be asked for it."""
        return (uuid, mac) in self.absent or (self._replugs and self.means(uuid, mac))

    def returns(self, uuid: str, mac: str) -> bool:
        """Whether it is to come back if a guest has been asked for it."""
        return (uuid, mac) not in self.absent


def addresses(world: World) -> set[tuple[str, str]]:
    """Return the addresses of all NICs, each with its domain's UUID."""
    return {
        (guest.uuid, nic.mac)
        for guest in world.guests.values()
        for nic in [*(guest.stored or ()), *(one.nic for one in guest.live or ())]
    }


def transfer(before: World, after: World, shadow: World) -> None:
    """Do to ``shadow`` what has happened between ``before`` and ``after``."""
    for uuid, now in after.guests.items():
        was, there = before.guests.get(uuid), shadow.guests.get(uuid)
        if was is None or there is None:
            continue
        if there.stored is not None and now.stored is not None:
            old = {nic.mac: nic for nic in was.stored or ()}
            new = {nic.mac: nic for nic in now.stored}
            changed = {mac for mac in {*old, *new} if old.get(mac) != new.get(mac)}
            there.stored = [nic for nic in there.stored if nic.mac not in changed]
            there.stored += [nic for nic in now.stored if nic.mac in changed]
        if there.live is not None and now.live is not None:
            old_live, new_live = _by_mac(was.live or ()), _by_mac(now.live)
            moved = {mac for mac in {*old_live, *new_live} if old_live.get(mac) != new_live.get(mac)}
            there.live = [one for one in there.live if one.nic.mac not in moved]
            there.live += [one for one in after.copy().guests[uuid].live or () if one.nic.mac in moved]


def _by_mac(live: t.Iterable[LiveNic]) -> dict[str, LiveNic]:
    return {one.nic.mac: one for one in live}
