# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Puts together what the sources say about addresses. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    AGENT,
    CLAIMED,
    IPV4,
    LEARNED,
    MOST_ADDRESSES,
    NEIGHBOUR,
    PROBE,
    SOURCES,
    STALE,
    STATES,
    Findings,
    Found,
    Guest,
    Nic,
    Sighting,
    family_of,
    is_formed_of,
    is_link_local,
)

Key = t.Tuple[str, str]


def key_of(nic: Nic) -> Key:
    """Return what identifies a NIC in Findings."""
    return nic.mac, nic.uplink or ""


def addresses(
    nic: Nic, findings: Findings, *, stale_after: float, shared: bool = False, runs_for: float | None = None
) -> list[Found]:
    """Return the addresses of a NIC, the surest first.

    What was seen before its guest was started, ``runs_for`` seconds ago, is stale: it may get others. ``shared`` is
    whether another NIC has its MAC address too: then only what was seen on its own uplink counts.
    """
    macs, separate = nic.macs or {nic.mac}, findings.separate
    here = [s for s in findings.sightings if _fits(s, nic, separate, shared=shared)]
    own = [s for s in here if s.mac in macs]
    unanswered = findings.unanswered.get(key_of(nic), frozenset())
    elsewhere = {s.address for s in here if s.source == PROBE and s.mac not in macs}
    by_address: dict[str, list[Sighting]] = {}
    for one in own:
        by_address.setdefault(one.address, []).append(_aged(one, stale_after, runs_for))
    found = [_merged(address, seen, unanswered, elsewhere) for address, seen in by_address.items()]
    return sorted(found, key=lambda one: _order(one, nic.mac))[:MOST_ADDRESSES]


def _fits(sighting: Sighting, nic: Nic, separate: t.Container[str], *, shared: bool) -> bool:
    """Whether a sighting can be of a NIC, by where it was seen."""
    if sighting.uplink == nic.uplink:
        return bool(nic.uplink) or not shared
    return not shared and not (nic.uplink and sighting.uplink in separate)


def _aged(sighting: Sighting, stale_after: float, runs_for: float | None) -> Sighting:
    age = sighting.age
    if age is None or sighting.source not in (LEARNED, NEIGHBOUR):
        return sighting
    is_old = sighting.state == CLAIMED and age > stale_after
    is_before = runs_for is not None and age > runs_for
    return replace(sighting, state=STALE) if is_old or is_before else sighting


def _merged(
    address: str, seen: t.Sequence[Sighting], unanswered: t.Collection[str], elsewhere: t.Collection[str]
) -> Found:
    """Return what ``seen``, all of the same address and NIC, come to."""
    if address in unanswered and not any(s.source == PROBE for s in seen):
        # Its own system still lists it, so it is not stale. It does not answer for it.
        seen = [replace(s, state=CLAIMED if s.source == AGENT else STALE) for s in seen]
    elif address in elsewhere and not any(s.source in (PROBE, AGENT) for s in seen):
        seen = [replace(s, state=STALE) for s in seen]
    best = min(seen, key=_sureness)
    return Found(
        address,
        best.state,
        best.source,
        tuple(source for source in SOURCES if any(s.source == source for s in seen)),
        best.age,
        next((s.prefix for s in seen if s.prefix is not None), None),
    )


def _sureness(sighting: Sighting) -> tuple[int, float, int]:
    age = float("inf") if sighting.age is None else sighting.age
    return STATES.index(sighting.state), age, SOURCES.index(sighting.source)


def _order(found: Found, mac: str) -> tuple[int, bool, str, bool, str]:
    address = found.address
    state, family = STATES.index(found.state), family_of(address)
    return state, is_link_local(address), family, not is_formed_of(mac, address), address


class Origins(t.NamedTuple):
    """Of the IPv4 addresses that several NICs of a guest have, those that are another's, and those of either.

    Each is a set of the NIC's position and the address.
    """

    foreign: frozenset[tuple[int, str]]
    undecided: frozenset[tuple[int, str]]


def origins(nics: t.Sequence[t.Mapping[str, t.Collection[str]]]) -> Origins:
    """Return whose the addresses of a guest's ``nics`` are; each has the sources of its addresses.

    By default a guest answers on each of its NICs for the addresses of all (arp_ignore of Linux). So an answer is not
    enough where another source knows the address of another NIC.
    """
    foreign: set[tuple[int, str]] = set()
    undecided: set[tuple[int, str]] = set()
    for address in {address for nic in nics for address in nic if family_of(address) == IPV4}:
        having = [number for number, nic in enumerate(nics) if address in nic]
        certain = [number for number in having if set(nics[number][address]) - {PROBE}]
        if len(having) > 1:
            (foreign if certain else undecided).update((n, address) for n in having if n not in certain)
    return Origins(frozenset(foreign), frozenset(undecided))


def of_one_nic(nics: t.Sequence[t.Sequence[Found]]) -> list[list[Found]]:
    """Return the addresses of a guest's NICs without those that are another's; what is undecided is no more than a
    claim."""
    found = origins([{one.address: one.sources for one in nic} for nic in nics])
    return [
        [
            replace(one, state=CLAIMED) if (number, one.address) in found.undecided and one.state != STALE else one
            for one in nic
            if (number, one.address) not in found.foreign
        ]
        for number, nic in enumerate(nics)
    ]


def shared_macs(guests: t.Iterable[Guest]) -> frozenset[str]:
    """Return the MAC addresses that several NICs have."""
    seen: set[str] = set()
    twice: set[str] = set()
    for mac in (nic.mac for guest in guests for nic in guest.nics):
        (twice if mac in seen else seen).add(mac)
    return frozenset(twice)


def conflicts(guests: t.Iterable[Guest], findings: Findings) -> list[str]:
    """Return a warning for each address that answers from several MAC addresses, one of them a guest's."""
    names = {mac: f"{guest.name} {nic.mac}" for guest in guests for nic in guest.nics for mac in nic.macs or {nic.mac}}
    answers: dict[tuple[str, str], set[str]] = {}
    for one in findings.sightings:
        if one.source == PROBE:
            answers.setdefault((one.uplink, one.address), set()).add(one.mac)
    return [
        f"{address} is in use more than once on {uplink}: by {', '.join(sorted(names.get(mac, mac) for mac in macs))}"
        for (uplink, address), macs in sorted(answers.items())
        if len(macs) > 1 and macs & names.keys()
    ]


def candidates(macs: t.Container[str], sightings: t.Iterable[Sighting]) -> tuple[str, ...]:
    """Return the addresses to ask for: those that any source has seen at ``macs``, of each the first few."""
    found: dict[str, dict[str, None]] = {}
    for one in sightings:
        if one.mac in macs and len(found.setdefault(one.mac, {})) < MOST_ADDRESSES:
            found[one.mac][one.address] = None
    return tuple(dict.fromkeys(address for addresses in found.values() for address in addresses))
