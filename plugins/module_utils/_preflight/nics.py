# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The NICs that the domains of a host have or are to have, and which domains of several hosts are one. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    auto,
    merging,
    multicast,
    resolution,
    selection,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host as DomainHost
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic as DomainNic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Host, Nic, Place, Problem
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay import choice

# By these a guest sees no network of its host's.
_APART = {"null", "user", "internal", "mcast", "server", "client", "udp"}
_WAYS = {"allmulticast", "trust_guest_rx_filters"}
_CORRECT = "Correct the variable"
# A NIC by its domain, its address, and which of those with the same.
_Key = t.Tuple[str, str, int]


class Identities:
    """Which domains of several hosts are one that can live on each of them.

    Those of one UUID; and where it is known on one of the hosts only, those of one name on hosts that share a network.
    """

    def __init__(self, hosts: t.Sequence[Host]) -> None:
        self._sites = segments.sites(hosts)
        self._known: dict[tuple[str, str], set[str]] = {}
        for host in hosts:
            for domain in host.domains.values():
                if domain.uuid:
                    self._known.setdefault((self._sites[host.name], domain.name), set()).add(domain.uuid)

    def uuid(self, host: Host, name: str) -> str:
        """Return the domain's UUID, "" if it is not known."""
        domain = host.domains.get(name)
        if domain is not None and domain.uuid:
            return domain.uuid
        known = self._known.get((self._sites[host.name], name), ())
        return next(iter(known)) if len(known) == 1 else ""

    def of(self, host: Host, name: str) -> str:
        return self.uuid(host, name) or f"{self._sites[host.name]}/{name}"


def with_nics(host: Host, declared: t.Sequence[Desired], identity: Identities, *, purge: bool) -> Host:
    """Return ``host`` with its NICs as they are to be, and with what cannot be of those that are declared."""
    nics = _found(host, identity)
    meant: dict[_Key, Desired] = {}
    problems = list(host.problems)
    observed = DomainHost(host.uri, host.domains, known=tuple(host.domains), links=host.links or None)
    keys = {id(iface): key for key, nic in nics.items() for iface in (nic.stored, nic.live) if iface is not None}
    meaning = assign(declared, observed, _with_declared(host, declared, identity), purge=purge)
    for index, desired in enumerate(declared):
        place = Place(host.name, desired.domain, desired.mac, seen="declared")
        found = meaning.get(index)
        if isinstance(found, MacvtapError):
            problems.append(Problem(place, str(found)))
            continue
        mac = found.mac if found is not None else desired.mac or ""
        settled = _settled(desired, found, observed, always=host.nics_follow)
        refused = _refused(desired, found, observed)
        if refused and host.version is not None:
            remedy = _CORRECT if desired.domain in host.domains else f"{_CORRECT}, or define the domain first"
            problems.append(Problem(place, refused, remedy))
        known = found and (found.stored or found.live)
        key = keys.get(id(known)) or (desired.domain, mac, 0 if mac else index)
        meant[key] = desired
        if not desired.present:
            nics.update(_left(nics, key, host))
            continue
        there = nics.get(key)
        stored, live = (there.stored, there.live) if there is not None else (None, None)
        whose = identity.of(host, desired.domain)
        nics[key] = Nic(desired.domain, whose, mac, 0, stored, live, settled.given, desired.by == "mac")
    if purge:
        named = {domain for domain, _mac, _number in meant}
        twice = [(domain, mac) for domain, mac, number in nics if number]
        for key in [k for k, nic in nics.items() if k[0] in named and k not in meant and nic.type == "direct"]:
            # One of two that have one address is left alone.
            if key[:2] not in twice:
                nics.update(_left(nics, key, host))
    saved = [
        Nic(domain.name, identity.of(host, domain.name), iface.mac, stored=iface)
        for domain in host.domains.values()
        for iface in domain.saved or ()
    ]
    return replace(host, nics=tuple(nics.values()), saved=tuple(saved), problems=tuple(problems))


def _left(nics: dict[_Key, Nic], key: _Key, host: Host) -> dict[_Key, Nic]:
    """Take a NIC out of ``nics``, and return what is left of it: a running guest may have it until it stops."""
    nic = nics.pop(key, None)
    return {key: replace(nic, stored=None)} if nic is not None and nic.live is not None and host.guests_keep else {}


def on_wire(nic: Nic) -> bool:
    return nic.type not in _APART


def _found(host: Host, identity: Identities) -> dict[_Key, Nic]:
    nics: dict[_Key, Nic] = {}
    for domain in host.domains.values():
        seen: dict[str, int] = {}
        for stored, live in selection.pairs(domain):
            mac = (stored or live).mac  # type: ignore[union-attr]  # one of a pair is there
            number = seen[mac] = seen.get(mac, -1) + 1
            nics[domain.name, mac, number] = Nic(domain.name, identity.of(host, domain.name), mac, number, stored, live)
    return nics


def _with_declared(host: Host, declared: t.Sequence[Desired], identity: Identities) -> dict[str, Domain]:
    """Return the host's domains, and those that are still to be defined, as far as it is known which they are."""
    domains = dict(host.domains)
    for name in {desired.domain for desired in declared} - domains.keys():
        # It is the UUID that an address is made of.
        uuid = identity.uuid(host, name)
        if uuid:
            domains[name] = Domain(name, uuid)
    return domains


def _refused(desired: Desired, found: DomainNic | None, observed: DomainHost) -> str | None:
    """Say why libvirt_direct_iface would refuse what is ``desired``: its domain or NIC is not there, say; else None."""
    domain = observed.domains.get(desired.domain)
    stored = found.stored if found is not None else None
    is_there = stored.type == "direct" if stored is not None else desired.given.get("source") or not desired.present
    try:
        if desired.present:
            _check_multicast(desired, stored)
        # Quicker than all that the module would look at.
        # A transient domain is no mistake in the variable, and said apart: see fleet.gaps().
        if domain is None or (domain.persistent and not is_there):
            resolution.resolve([desired], observed)
    except MacvtapError as exc:
        return str(exc)
    return None


def _check_multicast(desired: Desired, was: Iface | None) -> None:
    if not _WAYS & desired.given.keys() and (was is None or not _WAYS & was.values.keys()):
        return
    values = merging.merged({"model": resolution.DEFAULT_MODEL} if was is None else was.values, desired.given)
    changed = {name for name, text in values.items() if was is None or was.get(name) != text}
    multicast.check_ways(desired, Iface(was.mac if was else desired.mac or "", "direct", values), changed)


def _settled(desired: Desired, found: DomainNic | None, observed: DomainHost, *, always: bool) -> Desired:
    """Return what is declared with the mode that the NIC keeps where auto leaves it alone."""
    if desired.given.get("mode") != choice.AUTO:
        return desired
    mode = choice.AUTO
    if found is not None and desired.present:
        mode = choice.left(auto.case(desired, found, observed), always=always) or mode
    return auto.settled([desired], {desired.path: mode})[0]
