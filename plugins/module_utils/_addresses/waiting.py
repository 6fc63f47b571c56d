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
    Nic,
    family_of,
    is_link_local,
)

Known = t.Mapping[t.Tuple[str, int], t.Sequence[Found]]


def missing(guests: t.Iterable[Guest], known: Known, awaited: Awaited) -> list[tuple[Guest, Nic, int]]:
    """Return the NICs that lack addresses, with how many they have.

    ``known`` has the addresses by the guest's name and the NIC's position. NICs of guests that do not run have none,
    and are missing: they may be about to start.
    """
    found = []
    for guest in guests:
        for number, nic in enumerate(guest.nics):
            count = sum(counts(one, awaited) for one in known[guest.name, number])
            if count < awaited.count:
                found.append((guest, nic, count))
    return found


def counts(found: Found, awaited: Awaited) -> bool:
    """Whether an address is one of those that are waited for; a link-local one never is."""
    if is_link_local(found.address) or awaited.family not in (None, family_of(found.address)):
        return False
    return STATES.index(found.state) <= STATES.index(awaited.state)


def message(lacking: t.Sequence[tuple[Guest, Nic, int]], awaited: Awaited) -> str:
    """Return the error that the time is over."""
    what = {None: "", "ipv4": " IPv4", "ipv6": " IPv6"}[awaited.family]
    names = [
        f"{guest.name} {nic.mac} ({'has ' + str(has) if guest.runs else guest.state})" for guest, nic, has in lacking
    ]
    return (
        f"after {awaited.timeout:.0f} seconds these NICs do not have {awaited.count}{what} "
        f"address{'es' if awaited.count > 1 else ''} that {'is' if awaited.count == 1 else 'are'} {awaited.state}: "
        f"{_text.join_names(names)}"
    )
