# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where is asked for which NICs, and what no answer means. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import merging
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    PAUSED,
    PROBE,
    Findings,
    Guest,
    Nic,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links

_PRIVATE = (
    "in mode private a guest receives nothing from its own uplink's other links. Another host of its LAN can ask: "
    "probe there, with its MAC address in macs"
)
_VEPA = (
    "in mode vepa a guest receives questions of its own host only if the switch port reflects them. Otherwise another "
    "host of its LAN can ask: probe there, with its MAC address in macs"
)


class Answers(t.Protocol):
    """What was answered on one uplink."""

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """The addresses that were seen."""

    @property
    def asked(self) -> frozenset[str]:
        """The addresses that were asked for."""

    @property
    def failure(self) -> str:
        """Why nothing was asked, "" if something was."""


def uplinks(guests: t.Iterable[Guest], links: Links, declared: t.Sequence[str]) -> list[Link]:
    """Return the uplinks to ask on: ``declared``, or without any those of the running guests.

    :raises MacvtapError: a declared one does not exist, or is ambiguous.
    """
    if declared:
        found = [parents.find(name, links, path=f"probe_uplinks[{index}]") for index, name in enumerate(declared)]
    else:
        names = {nic.uplink for guest in guests if guest.runs for nic in guest.nics if nic.type == "direct"}
        found = [links[name] for name in sorted(filter(None, names)) if name in links]
    return list({link.index: link for link in found}.values())


def macs_by_uplink(
    guests: t.Iterable[Guest], asked: t.Iterable[Link], others: t.Collection[str]
) -> dict[str, frozenset[str]]:
    """Return the MAC addresses whose answers matter, by uplink: its running guests', and ``others``."""
    nics = [nic for guest in guests if guest.runs for nic in guest.nics]
    return {
        link.name: frozenset({*others, *(mac for nic in nics if nic.uplink == link.name for mac in nic.macs)})
        for link in asked
    }


def separate(links: Links, declared: t.Sequence[str]) -> frozenset[str]:
    """Return the uplinks of links and shims of this host, each of which may be a network of its own.

    Not those that are ``declared`` for questions: whoever asks there says that guests of other uplinks are there too.
    """
    uplinks = {link.parent for link in links.values() if link.kind in MACVLAN_KINDS and link.parent}
    named = {link.name for link in (parents.lookup(name, links) for name in declared) if link is not None}
    return frozenset(uplinks - named)


def findings(
    guests: t.Iterable[Guest],
    sightings: t.Sequence[Sighting],
    answers: t.Mapping[str, Answers],
    *,
    asked: bool,
    separate: frozenset[str] = frozenset(),
) -> Findings:
    """Return what the sources say, with what it means that a NIC has not answered."""
    unanswered: dict[tuple[str, str], frozenset[str]] = {}
    not_asked: dict[tuple[str, str], str] = {}
    for guest in guests if asked else ():
        for nic in guest.nics if guest.runs else ():
            key, its = merging.key_of(nic), answers.get(nic.uplink or "")
            reason = _reason(guest, nic, its)
            replied = {s.address for s in sightings if s.source == PROBE and s.mac in nic.macs}
            if reason and not replied:
                not_asked[key] = reason
            elif its is not None and not reason:
                unanswered[key] = its.asked - replied
    return Findings(tuple(sightings), unanswered, not_asked, separate)


def _reason(guest: Guest, nic: Nic, answers: Answers | None) -> str:
    """Return why nothing follows from a NIC's silence, "" if something does."""
    if guest.state == PAUSED:
        return "the guest is paused"
    if nic.type != "direct":
        return f"it is of type {nic.type}, and only direct interfaces are asked"
    if nic.link_index == 0 or answers is None:
        return "its uplink is not one of those that are asked on" if nic.uplink else "its uplink is not known"
    if answers.failure:
        return answers.failure
    return {"private": _PRIVATE, "vepa": _VEPA}.get(nic.mode or "", "")
