# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From what hypervisors report to hosts of an inventory: names, groups, and what others have found. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import connections, merging
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.connections import (
    GROUPINGS,
    InventoryGuest,
    Rules,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import STALE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.reports import is_usable

# What is a guest's, not a NIC's.
_OF_GUEST = ("hypervisor", "state")

Values = t.Mapping[str, t.Any]


def guests(reports: t.Mapping[str, t.Sequence[Values]], rules: Rules) -> tuple[list[InventoryGuest], list[str]]:
    """Return the guests of all hypervisors, and warnings; ``reports`` are the guests that each has, by its name.

    A guest that several hypervisors have defined is where it runs. Different guests of one name have their hypervisor's
    name added.
    """
    by_uuid: dict[str, list[tuple[str, Values]]] = {}
    for hypervisor in sorted(reports):
        for guest in reports[hypervisor]:
            by_uuid.setdefault(str(guest["uuid"]), []).append((hypervisor, guest))
    chosen = [min(places, key=_runs_last) for places in by_uuid.values()]
    warnings = [_twice(places) for places in by_uuid.values() if sum(_runs(guest) for _hv, guest in places) > 1]
    names, unclear = _names([(str(guest["name"]), hypervisor) for hypervisor, guest in chosen])
    found = []
    for hypervisor, guest in sorted(chosen, key=lambda one: (str(one[1]["name"]), one[0])):
        own = names.get((str(guest["name"]), hypervisor))
        if own is not None:
            values = {**guest, "hypervisor": hypervisor}
            found.append(InventoryGuest(own, hypervisor, values, groups=groups(values, rules.groupings)))
    warnings += unclear
    found, ambiguous = connections.addressed(found, rules)
    return found, warnings + ambiguous


def _names(listed: t.Sequence[tuple[str, str]]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Return the names of guests in the inventory by their own name and their hypervisor's, and warnings.

    No guest gets the name that another one has or is given: it would be taken for that one. What has no name of its
    own is left out.
    """
    by_name: dict[str, list[str]] = {}
    for name, hypervisor in listed:
        by_name.setdefault(name, []).append(hypervisor)
    shared = {name for name, hypervisors in by_name.items() if len(hypervisors) > 1}
    given = {f"{name}_{hypervisor}" for name in shared for hypervisor in by_name[name]}
    names = {one: "_".join(one) if one[0] in shared | given else one[0] for one in listed}
    having: dict[str, list[str]] = {}
    for (name, hypervisor), own in names.items():
        having.setdefault(own, []).append(f"{name} on {hypervisor}")
    warnings = [
        f"{len(by_name[name])} guests are called {name}, on {_text.join_names(by_name[name])}. Their hypervisor's name "
        f"is added, as in {name}_{by_name[name][0]}"
        for name in sorted(shared)
    ]
    warnings += [
        f"{name} on {by_name[name][0]} is called as another guest is in the inventory. Its hypervisor's name is added"
        for name in sorted(given & by_name.keys() - shared)
    ]
    warnings += [
        f"{_text.join_names(guests_of)} would be one host, {own}; left out"
        for own, guests_of in sorted(having.items())
        if len(guests_of) > 1
    ]
    return {one: own for one, own in names.items() if len(having[own]) == 1}, warnings


@dataclass(frozen=True)
class Names:
    """Names that guests must not take from others; ``merged`` are those of ``hosts`` that may be guests."""

    hypervisors: frozenset[str]
    groups: frozenset[str]
    hosts: frozenset[str]
    merged: frozenset[str]
    local: frozenset[str]


def problem_of(name: str, names: Names) -> str | None:
    """Return why a guest cannot be a host of this name, None if it can."""
    if not is_usable(name):
        return "cannot be a host's name"
    if name in names.hypervisors:
        return "is called as a hypervisor"
    if name.lower() in names.local:
        return "is called as the controller itself"
    if name in names.groups:
        return "is called as a group"
    if name in names.hosts and name not in names.merged:
        return "is called as a host of another source, and merge does not have that"
    return None


def _runs(guest: Values) -> bool:
    return guest["state"] in ("running", "paused")


def _runs_last(place: tuple[str, Values]) -> tuple[bool, bool, str]:
    hypervisor, guest = place
    return not _runs(guest), guest["state"] != "saved", hypervisor


def _twice(places: t.Sequence[tuple[str, Values]]) -> str:
    names = [hypervisor for hypervisor, guest in places if _runs(guest)]
    return f"{places[0][1]['name']} runs on {_text.join_names(names)} at the same time; {names[0]} is used"


def macs_for_others(reports: t.Mapping[str, t.Sequence[Values]]) -> tuple[str, ...]:
    """Return the MAC addresses of running NICs that their own host could not ask, or of which it knows no address.

    An address that several NICs have is left out: the answers would not say whose they are.
    """
    nics = [nic for guests_of in reports.values() for guest in guests_of if _runs(guest) for nic in guest["interfaces"]]
    macs = [nic["mac"] for nic in nics]
    return tuple(
        nic["mac"]
        for nic in nics
        if macs.count(nic["mac"]) == 1 and (nic.get("not_asked") or not any(map(_is_sure, nic["addresses"])))
    )


def _is_sure(address: Values) -> bool:
    return address["scope"] != "link" and address["state"] != STALE


def with_others(
    reports: t.Mapping[str, t.Sequence[Values]], others: t.Mapping[str, t.Sequence[Values]]
) -> dict[str, list[Values]]:
    """Return ``reports`` with what other hypervisors have found; ``others`` is that of each.

    Those addresses have ``asked_by``, the hypervisor that has found them. They replace what the guest's own host knows.
    """
    found: dict[str, dict[str, Values]] = {}
    for hypervisor in sorted(others):
        for one in others[hypervisor]:
            for address in one["addresses"]:
                if address["state"] != STALE:
                    found.setdefault(one["mac"], {}).setdefault(address["address"], {**address, "asked_by": hypervisor})
    return {
        name: [
            {**guest, "interfaces": _of_one_nic([_asked(nic, found) for nic in guest["interfaces"]])}
            for guest in guests_of
        ]
        for name, guests_of in reports.items()
    }


def _of_one_nic(nics: t.Sequence[Values]) -> list[Values]:
    """Return a guest's NICs without the addresses that others have found at one and that are another's."""
    found = merging.origins([{one["address"]: one.get("sources", ()) for one in nic["addresses"]} for nic in nics])
    return [
        {**nic, "addresses": [one for one in nic["addresses"] if (number, one["address"]) not in found.foreign]}
        for number, nic in enumerate(nics)
    ]


def _asked(nic: Values, found: t.Mapping[str, t.Mapping[str, Values]]) -> Values:
    by_others = found.get(nic["mac"], {})
    own = [one for one in nic["addresses"] if one["address"] not in by_others]
    return {**nic, "addresses": [*by_others.values(), *own]}


def with_segments(guests_of: t.Sequence[Values], segment: str, own: t.Mapping[str, str]) -> list[Values]:
    """Return the guests of a hypervisor with the segments of their NICs.

    ``own`` are the segments of its networks and links, ``segment`` that of the others.
    """
    return [
        {
            **guest,
            "interfaces": [
                {**nic, "segment": own.get(nic.get("network") or "") or own.get(nic.get("uplink") or "") or segment}
                for nic in guest["interfaces"]
            ],
        }
        for guest in guests_of
    ]


def groups(guest: Values, groupings: t.Collection[str]) -> tuple[str, ...]:
    """Return the names of the groups that a guest is in, such as ``uplink_eth0``."""
    found = []
    for grouping in GROUPINGS:
        if grouping in groupings:
            sources = [guest] if grouping in _OF_GUEST else guest["interfaces"]
            found += [f"{grouping}_{value}" for one in sources if (value := one.get(grouping)) not in (None, "")]
    return tuple(dict.fromkeys(found))
