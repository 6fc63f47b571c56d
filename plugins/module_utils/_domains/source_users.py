# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who is on each source of interfaces, or will be: links of the host, and NICs of domains. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, link_of

Case = t.Tuple[Desired, Nic, Nic]


@dataclass(frozen=True)
class Use:
    """A user of a source: a link that exists or will exist (``active``), or only a stored NIC."""

    name: str
    domain: str
    mac: str
    mode: str | None
    active: bool


def uses_of(cases: t.Sequence[Case], host: Host) -> dict[str, list[Use]]:
    """Return the users of each source after all of ``cases`` are applied."""
    found: dict[str, list[Use]] = {}
    for source, use in (*_uses_by_links(host), *_uses_by_others(host), *_uses_by_nics(cases, host)):
        found.setdefault(source, []).append(use)
    return found


def _uses_by_links(host: Host) -> t.Iterator[tuple[str, Use]]:
    """Yield each link that no guest of ``host`` has, with the link that it is on."""
    observed = [iface for domain in host.domains.values() for iface in domain.live]
    # By name: a trusted guest may have given its link another address.
    guests = {iface.get("target") for iface in observed if iface.type == "direct"}
    for link in (host.links or {}).values():
        if link.kind in MACVLAN_KINDS and link.parent and link.name not in guests:
            yield link.parent, Use(f"the link {link.name}", "", link.name, link.mode, True)


def _uses_by_others(host: Host) -> t.Iterator[tuple[str, Use]]:
    """Yield each stored NIC of the domains that were not read, with its source."""
    for text, others in host.stored_by_source.items():
        for name, mac, mode in others:
            yield name_of(text, host), Use(f"{name} {mac}", name, mac, mode, False)


def _uses_by_nics(cases: t.Sequence[Case], host: Host) -> t.Iterator[tuple[str, Use]]:
    """Yield each NIC as it is after all of ``cases``, with each link that it certainly uses."""
    final: dict[tuple[str, str], list[Nic]] = {}
    for domain in host.domains.values():
        for pair in selection.pairs(domain):
            final.setdefault((domain.name, selection.stored_or_live(pair).mac), []).append(
                selection.nic_of(domain, pair)
            )
    for _desired, before, after in cases:
        final.setdefault((before.domain, before.mac), [])[:] = [after]
    for (name, mac), nics in final.items():
        for nic in nics:
            for source, (mode, active) in _sources(nic, host).items():
                yield source, Use(f"{name} {mac}", name, mac, mode, active)


def _sources(nic: Nic, host: Host) -> dict[str, tuple[str | None, bool]]:
    """Return the links that a NIC certainly uses, each with the mode and whether it runs there."""
    ifaces: list[tuple[Iface | None, bool]] = [(nic.live, True), (nic.stored, False)]
    return {
        name_of(uplink, host): (networks.mode(iface, host.networks), active)
        for iface, active in reversed(ifaces)
        if iface is not None and iface.type == "direct"
        for uplink in networks.certain_uplinks(iface, host.networks)
        # One that runs has the uplink that its network gave it.
        if active or not _is_on(nic.live, iface)
    }


def _is_on(live: Iface | None, stored: Iface) -> bool:
    """Whether a running interface is on the network of the stored one."""
    return live is not None and live.get("network") is not None and live.get("network") == stored.get("network")


def name_of(source: str | None, host: Host) -> str:
    link = link_of(source, host.links or {})
    return link.name if link is not None else source or ""
