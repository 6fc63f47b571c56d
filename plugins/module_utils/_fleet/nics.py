# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The current and desired NICs of a host's domains, and which domains of several hosts are the same. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    auto,
    merging,
    multicast,
    resolution,
    selection,
    sources,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.desired import DEFAULT_MODEL
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host as DomainHost
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic as DomainNic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host, Nic, Place, Problem
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import choice

# Interface types that connect to no network of the host.
_OFF_WIRE = {"null", "user", "internal", "mcast", "server", "client", "udp"}
_MULTICAST = {"allmulticast", "trust_guest_rx_filters"}
# A NIC by its domain, its address, and its number among NICs with that address.
_Key = t.Tuple[str, str, int]


class Identities:
    """Which domains of several hosts are one domain that can migrate between them.

    Those with the same UUID. If only one of the hosts knows the UUID: those of the same name on hosts that share a
    network.
    """

    def __init__(self, hosts: t.Sequence[Host]) -> None:
        self._sites = segments.sites(hosts)
        self._known: dict[tuple[str, str], set[str]] = {}
        for host in hosts:
            for domain in host.domains.values():
                if domain.uuid:
                    self._known.setdefault((self._sites[host.name], domain.name), set()).add(domain.uuid)

    def uuid(self, host: Host, name: str) -> str:
        """Return the domain's UUID, or "" if it is not known."""
        domain = host.domains.get(name)
        if domain is not None and domain.uuid:
            return domain.uuid
        known = self._known.get((self._sites[host.name], name), ())
        return next(iter(known)) if len(known) == 1 else ""

    def of(self, host: Host, name: str) -> str:
        return self.uuid(host, name) or f"{self._sites[host.name]}/{name}"


def with_nics(host: Host, declared: t.Sequence[Desired], identity: Identities, *, purge: bool) -> Host:
    """Return ``host`` with its desired NICs, and with problems of those that are impossible."""
    observed = _observed(host)
    host = replace(host, domains=observed.domains)
    nics = _current_nics(host, identity)
    declared_keys: dict[_Key, Desired] = {}
    problems = list(host.problems)
    # Without a report of the host's links, sources are compared as they are declared.
    declared = sources.named(declared, observed)
    keys = {id(iface): key for key, nic in nics.items() for iface in (nic.stored, nic.live) if iface is not None}
    assigned = assign(declared, observed, _with_declared(host, declared, identity), purge=purge)
    for index, desired in enumerate(declared):
        place = Place(host.name, desired.domain, desired.mac, seen="declared")
        current = assigned.get(index)
        if isinstance(current, MacvtapError):
            problems.append(Problem(place, str(current)))
            continue
        mac = current.mac if current is not None else desired.mac or ""
        defaulted = multicast.with_default(desired, current, observed)
        resolved = _with_final_mode(defaulted, current, observed, always=host.nics_follow)
        desired_values = sources.as_stored(resolved, current.stored if current is not None else None, observed.links)
        refusal = _refusal(desired, defaulted, current, observed)
        is_elsewhere = host.skips_missing and desired.domain not in observed.domains
        if refusal and host.version is not None and not is_elsewhere:
            problems.append(Problem(place, refusal))
        known = current and (current.stored or current.live)
        key = keys.get(id(known)) or (desired.domain, mac, 0 if mac else index)
        declared_keys[key] = desired
        if not desired.present:
            nics.update(_after_removal(nics, key, host))
            continue
        existing = nics.get(key)
        stored, live = (existing.stored, existing.live) if existing is not None else (None, None)
        identity_of_domain = identity.of(host, desired.domain)
        nics[key] = Nic(desired.domain, identity_of_domain, mac, 0, stored, live, desired_values, desired.by == "mac")
    if purge:
        for key in _purged(nics, declared_keys):
            nics.update(_after_removal(nics, key, host))
    saved = [
        Nic(domain.name, identity.of(host, domain.name), iface.mac, stored=iface)
        for domain in host.domains.values()
        for iface in domain.saved or ()
    ]
    return replace(host, nics=tuple(nics.values()), saved=tuple(saved), problems=tuple(problems))


def _purged(nics: t.Mapping[_Key, Nic], declared: t.Collection[_Key]) -> list[_Key]:
    """Return the NICs that no entry declares, of the domains that entries are about."""
    named = {domain for domain, _mac, _number in declared}
    # If two NICs have the same address, both are left alone.
    duplicates = [(domain, mac) for domain, mac, number in nics if number]
    return [
        key
        for key, nic in nics.items()
        if key[0] in named and key not in declared and nic.type == "direct" and key[:2] not in duplicates
    ]


def _observed(host: Host) -> DomainHost:
    """Return what the planner of libvirt_direct_iface gets, with the networks as they will be."""
    unknown = uris.unknown_links(host.uri) if uris.names_host(host.uri) else ""
    direct = {name for name, network in host.networks.items() if network.mode}
    return DomainHost(
        host.uri,
        {name: _on_direct(domain, direct) for name, domain in host.domains.items()},
        known=tuple(host.domains),
        links=None if unknown else host.links or None,
        links_unknown=unknown,
        networks=host.networks if host.networks_known else None,
    )


def _on_direct(domain: Domain, direct: t.Collection[str]) -> Domain:
    """Return a domain whose stored interfaces on networks that are only created now are direct ones, too."""
    if not any(iface.type == "network" and iface.get("network") in direct for iface in domain.stored):
        return domain
    stored = (
        replace(one, type="direct", origin=None) if one.type == "network" and one.get("network") in direct else one
        for one in domain.stored
    )
    return replace(domain, stored=tuple(stored))


def _after_removal(nics: dict[_Key, Nic], key: _Key, host: Host) -> dict[_Key, Nic]:
    """Remove a NIC from ``nics``, and return what remains: a running guest may keep it until it stops."""
    nic = nics.pop(key, None)
    return {key: replace(nic, stored=None)} if nic is not None and nic.live is not None and host.guests_keep else {}


def on_wire(nic: Nic) -> bool:
    return nic.type not in _OFF_WIRE


def _current_nics(host: Host, identity: Identities) -> dict[_Key, Nic]:
    nics: dict[_Key, Nic] = {}
    for domain in host.domains.values():
        counts: dict[str, int] = {}
        for stored, live in selection.pairs(domain):
            mac = (stored or live).mac  # type: ignore[union-attr]  # one of a pair is there
            number = counts[mac] = counts.get(mac, -1) + 1
            nics[domain.name, mac, number] = Nic(domain.name, identity.of(host, domain.name), mac, number, stored, live)
    return nics


def _with_declared(host: Host, declared: t.Sequence[Desired], identity: Identities) -> dict[str, Domain]:
    """Return the host's domains, and domains to be defined whose UUID is known from other hosts."""
    domains = dict(host.domains)
    for name in {desired.domain for desired in declared} - domains.keys():
        # Generated addresses are derived from the UUID.
        uuid = identity.uuid(host, name)
        if uuid:
            domains[name] = Domain(name, uuid)
    return domains


def _refusal(desired: Desired, defaulted: Desired, current: DomainNic | None, observed: DomainHost) -> str | None:
    """Return why libvirt_direct_iface would refuse ``desired``, such as a missing domain, or None."""
    domain = observed.domains.get(desired.domain)
    stored = current.stored if current is not None else None
    is_there = stored.type == "direct" if stored is not None else desired.given.get("source") or not desired.present
    try:
        if desired.present:
            _check_multicast(defaulted, stored)
        # Where the links are known, checks.py looks at the sources of those that are present.
        if observed.links_unknown or (not desired.present and observed.links is not None):
            sources.validated([desired], observed)
        # Faster than all checks of the module.
        # A transient domain is not an error in the variable. fleet.gaps() reports it.
        if domain is None or (domain.persistent and not is_there):
            resolution.resolve([desired], observed)
    except MacvtapError as exc:
        return str(exc)
    return None


def _check_multicast(desired: Desired, before: Iface | None) -> None:
    if not _MULTICAST & desired.given.keys() and (before is None or not _MULTICAST & before.values.keys()):
        return
    values = merging.merged({"model": DEFAULT_MODEL} if before is None else before.values, desired.given)
    changed = {name for name, text in values.items() if before is None or before.get(name) != text}
    multicast.check_ways(desired, Iface(before.mac if before else desired.mac or "", "direct", values), changed)


def _with_final_mode(desired: Desired, current: DomainNic | None, observed: DomainHost, *, always: bool) -> Desired:
    """Return the declaration with the NIC's current mode, if mode auto leaves that alone."""
    if desired.given.get("mode") != choice.AUTO:
        return desired
    mode = choice.AUTO
    if current is not None and desired.present:
        mode = choice.left(auto.case(desired, current, observed), always=always) or mode
    return auto.resolve_modes([desired], {desired.path: mode})[0]
