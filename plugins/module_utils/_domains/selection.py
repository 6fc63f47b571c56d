# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Selects a NIC of a domain, by a declaration or by its earlier state. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import is_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import suggest

same_source = uplinks.same

Pair = t.Tuple[t.Optional[Iface], t.Optional[Iface]]
# The fields that distinguish NICs with one MAC address, the most reliable first.
_DISTINGUISHING = ("pci_address", "alias", "target", "source", "network", "type")


def pairs(domain: Domain) -> list[Pair]:
    """Return the NICs of ``domain``, each as (stored, live).

    Stored NICs come first, in their order, then those that only the running guest has. Of several with one MAC address,
    the most similar ones form a pair.
    """
    if not domain.live:
        return [(one, None) for one in domain.stored]
    lived = {one.mac: one for one in domain.live}
    macs = {one.mac for one in domain.stored}
    if len(lived) == len(domain.live) and len(macs) == len(domain.stored):
        # No two of them have one address.
        return [
            *((one, lived.get(one.mac)) for one in domain.stored),
            *((None, one) for one in domain.live if one.mac not in macs),
        ]
    unpaired = list(enumerate(domain.live))
    stored = list(enumerate(domain.stored))
    alike = sorted(
        (
            (-_likeness(one, other), here, there)
            for here, one in stored
            for there, other in unpaired
            if one.mac == other.mac
        ),
    )
    partner: dict[int, int] = {}
    for _score, here, there in alike:
        if here not in partner and there not in partner.values():
            partner[here] = there
    taken = set(partner.values())
    return [
        *((one, domain.live[partner[here]] if here in partner else None) for here, one in stored),
        *((None, one) for there, one in unpaired if there not in taken),
    ]


def stored_or_live(pair: Pair) -> Iface:
    """Return the stored interface of a NIC, or the live one if it is not stored."""
    iface = pair[0] or pair[1]
    if iface is None:
        raise ValueError("a NIC that is neither stored nor live")
    return iface


def nic_of(domain: Domain, pair: Pair) -> Nic:
    stored, live = pair
    mac = stored_or_live(pair).mac
    shared = any(sum(iface.mac == mac for iface in side) > 1 for side in (domain.stored, domain.live))
    return Nic(
        domain.name,
        mac,
        stored,
        live if domain.running else None,
        domain.document,
        uuid=domain.uuid,
        instance=domain.instance,
        shared=shared,
    )


def current_nic(domain: Domain, before: Nic, path: str) -> Nic:
    """Return the NIC ``before`` as ``domain`` has it now; with neither stored nor live if it is gone.

    :raises MacvtapError: several have its MAC address, and it cannot be identified.
    """
    found = [pair for pair in pairs(domain) if stored_or_live(pair).mac == before.mac]
    known = before.stored or before.live
    if before.shared and known is not None:
        # A NIC that is gone must not be mistaken for another one of its address.
        found = [pair for pair in found if _same_device(stored_or_live(pair), known)]
    if len(found) > 1:
        raise _ambiguous(domain, [stored_or_live(pair) for pair in found], "mac", before.mac, path)
    if not found:
        return replace(new_nic(domain, before.mac), shared=before.shared)
    return nic_of(domain, found[0])


def new_nic(domain: Domain, mac: str) -> Nic:
    """Return a NIC that ``domain`` does not have."""
    return Nic(domain.name, mac, None, None, domain.document, uuid=domain.uuid, instance=domain.instance)


def find_in(ifaces: t.Iterable[Iface], before: Nic) -> Iface | None:
    """Return the interface of the NIC ``before`` in ``ifaces``, None if it is not there."""
    known = before.stored or before.live
    return next(
        (i for i in ifaces if i.mac == before.mac and (not before.shared or known is None or _same_device(i, known))),
        None,
    )


def matching(desired: Desired, ifaces: t.Iterable[Iface], links: Links | None) -> list[Iface]:
    """Return the ``ifaces`` that ``desired`` selects; several if it is ambiguous."""
    if desired.by != "mac":
        return [iface for iface in ifaces if matches(iface, desired.by, desired.key, links)]
    found = [iface for iface in ifaces if iface.mac == desired.key]
    # Of several with one address, as in a teaming pair, the other selectors decide.
    for name in ("alias", "target", "source", "network"):
        message = desired.given.get(name)
        if len(found) > 1 and message:
            found = [iface for iface in found if matches(iface, name, message, links)] or found
    direct = [iface for iface in found if iface.type == "direct"]
    return direct if len(direct) == 1 else found


def matches(iface: Iface, by: str, key: str, links: Links | None) -> bool:
    """Whether ``iface`` has the value ``key`` of the selector ``by``."""
    if by == "mac":
        return iface.mac == key
    if by == "source":
        # For another type, source means something else. A running one on a network has the network's.
        own = iface.type == "direct" and iface.get("network") is None
        return own and same_source(iface.get("source"), key, links)
    if by == "network":
        return iface.type == "direct" and iface.get("network") == key
    return iface.get(by) == key


def on_uplink_of(desired: Desired, iface: Iface, host: Host) -> bool:
    """Whether ``iface`` is on the uplink that ``desired`` selects, or on one of the network that it selects.

    It is then connected in another way: by a network, by none, or by another one.
    """
    selected = {desired.key} if desired.by == "source" else networks.uplinks_of([desired.key], host.networks)
    own = networks.uplinks(iface, host.networks)
    return any(same_source(one, other, host.links) for one in own for other in selected)


def validate_unique(desired: Desired, domain: Domain, found: t.Sequence[Iface]) -> None:
    """Refuse a declaration that selects several NICs, or one NIC without a MAC address."""
    if len(found) > 1:
        raise _ambiguous(domain, found, desired.by, desired.key, desired.path)
    if found and not found[0].mac:
        raise MacvtapError(
            f"domain {domain.name!r}: the interface {describe(found[0])} has no MAC address, and libvirt "
            "generates a new one each time it reads the file. Add one to the file first",
            path=join_path(desired.path, desired.by),
        )


def owners(host: Host, mac: str, *, exclude: str) -> list[str]:
    """Return the names of the other domains that have this address."""
    # A saved guest is restored with the address that it was saved with.
    found = {d.name: (*d.stored, *d.live, *(d.saved or ())) for d in host.domains.values()}
    observed = [name for name, ifaces in found.items() if any(iface.mac == mac for iface in ifaces)]
    return sorted({*observed, *(host.macs or {}).get(mac, ())} - {exclude})


def describe(iface: Iface) -> str:
    place = iface.get("network") or iface.get("source") or iface.origin
    words = [iface.mac, iface.type, place, iface.get("alias"), iface.get("target")]
    return " ".join(word for word in words if word)


def without_missing(declared: t.Sequence[Desired], host: Host) -> tuple[tuple[Desired, ...], tuple[str, ...]]:
    """Return what is declared without that of domains that the host does not have, and which these are.

    What is declared absent stays if the host has a rule for its address, and is no reason to name a domain.
    """
    missing = {desired.domain for desired in declared if desired.present} - host.domains.keys()
    staying = tuple(
        desired
        for desired in declared
        if desired.domain in host.domains or (not desired.present and desired.mac in host.rules)
    )
    return staying, tuple(sorted(missing))


def unknown_domain(name: str, host: Host) -> str:
    """Return the message that there is no such domain, with similar names."""
    similar = suggest(name, host.known, most=5, cutoff=0.5) or sorted(host.known)[:5]
    more = len(host.known) - len(similar)
    listed = ", ".join(similar) + (f" and {more} more" if more else "") if similar else "none"
    return f"no domain {name!r} on {host.uri} (known: {listed})"


def _ambiguous(domain: Domain, found: t.Sequence[Iface], by: str, key: str, path: str) -> MacvtapError:
    listed = "; ".join(map(describe, found))
    if by == "mac":
        message = (
            f"domain {domain.name!r} has {len(found)} interfaces with {key}: {listed}. "
            "Set its alias, target or source as well, whichever only one of them has"
        )
    else:
        alike = len({iface.mac for iface in found}) < len(found)
        message = (
            f"domain {domain.name!r} has {len(found)} direct interfaces with the {by} {key}: {listed}. "
            f"Select one by its {'alias or target' if alike else 'MAC address'}"
        )
    return MacvtapError(message, path=join_path(path, by))


def _distinguishing(iface: Iface, name: str) -> str | None:
    """Return a value that is the NIC's own, and not generated for the running guest."""
    text = iface.type if name == "type" else iface.get(name)
    return None if text is None or is_generated(name, text) else text


def _likeness(one: Iface, other: Iface) -> int:
    same = (
        _distinguishing(one, name) is not None and _distinguishing(one, name) == _distinguishing(other, name)
        for name in _DISTINGUISHING
    )
    return sum(alike << place for place, alike in enumerate(reversed(list(same))))


def _same_device(one: Iface, other: Iface) -> bool:
    for name in _DISTINGUISHING:
        here, there = _distinguishing(one, name), _distinguishing(other, name)
        if here is not None and there is not None:
            return here == there
    return True
