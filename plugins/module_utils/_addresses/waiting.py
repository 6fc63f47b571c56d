# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is still missing of the addresses that are waited for. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    STATES,
    Awaited,
    Found,
    Guest,
    family_of,
    is_link_local,
)

Known = t.Mapping[t.Tuple[str, int], t.Sequence[Found]]


class Lacking(t.NamedTuple):
    """What lacks addresses: a guest's NIC, a guest without any, or a MAC address; and what it has instead."""

    name: str
    state: str


def missing(
    guests: t.Iterable[Guest],
    known: Known,
    others: t.Mapping[str, t.Sequence[Found]],
    awaited: Awaited,
    named: t.Container[str] = (),
) -> list[Lacking]:
    """Return what lacks addresses.

    ``known`` has the addresses by the guest's name and the NIC's position. NICs of guests that do not run have none,
    and are missing: they may be about to start. So may be guests with the MAC addresses ``others``, which none of
    ``guests`` has. The guests ``named`` by the user are missing without a NIC too: it may be about to be attached.
    """
    found = []
    for guest in guests:
        for number, nic in enumerate(guest.nics):
            count = _count(known[guest.name, number], awaited)
            if count < awaited.count:
                found.append(Lacking(f"{guest.name} {nic.mac}", f"has {count}" if guest.runs else guest.state))
        if not guest.nics and guest.name in named:
            found.append(Lacking(guest.name, "has no NIC"))
    for mac, addresses in others.items():
        count = _count(addresses, awaited)
        if count < awaited.count:
            found.append(Lacking(mac, f"has {count}, and no selected guest of this host has this MAC address"))
    return found


def _count(addresses: t.Iterable[Found], awaited: Awaited) -> int:
    return sum(counts(one, awaited) for one in addresses)


def counts(found: Found, awaited: Awaited) -> bool:
    """Whether an address is one of those that are waited for; a link-local one never is."""
    if is_link_local(found.address) or awaited.family not in (None, family_of(found.address)):
        return False
    return STATES.index(found.state) <= STATES.index(awaited.state)


def message(lacking: t.Sequence[Lacking], awaited: Awaited) -> str:
    """Return the error that the time is over."""
    what = {None: "", "ipv4": " IPv4", "ipv6": " IPv6"}[awaited.family]
    names = [f"{one.name} ({one.state})" for one in lacking]
    return (
        f"after {awaited.timeout:.0f} seconds these NICs do not have {awaited.count}{what} "
        f"address{'es' if awaited.count > 1 else ''} that {'is' if awaited.count == 1 else 'are'} {awaited.state}: "
        f"{_text.join_names(names)}"
    )
