# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Puts together what the sources say about addresses. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    AGENT,
    CLAIMED,
    LEARNED,
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
    own = [s for s in findings.sightings if s.mac in (nic.macs or {nic.mac}) and _fits(s, nic, shared=shared)]
    unanswered = findings.unanswered.get(key_of(nic), frozenset())
    elsewhere = {s.address for s in findings.sightings if s.source == PROBE and s.mac not in (nic.macs or {nic.mac})}
    found = [
        _merged(address, [_aged(s, stale_after, runs_for) for s in own if s.address == address], unanswered, elsewhere)
        for address in dict.fromkeys(s.address for s in own)
    ]
    return sorted(found, key=_order)


def _fits(sighting: Sighting, nic: Nic, *, shared: bool) -> bool:
    return not shared or (bool(sighting.uplink) and sighting.uplink == nic.uplink)


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


def _order(found: Found) -> tuple[int, bool, str, str]:
    return STATES.index(found.state), is_link_local(found.address), family_of(found.address), found.address


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
    """Return the addresses to ask for: those that any source has seen at ``macs``."""
    return tuple(dict.fromkeys(s.address for s in sightings if s.mac in macs))
