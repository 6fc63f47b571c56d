# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From libvirt's domains and the host's links to guests and their NICs, and from these to return values. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import merging
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    PAUSED,
    RUNNING,
    SAVED,
    SHUT_OFF,
    Findings,
    Found,
    Guest,
    Nic,
    family_of,
    is_link_local,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    GUEST_MAC,
    LINK_MAC,
    Domain,
    Host,
    Iface,
    link_of_iface,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, link_of


class Clock(t.NamedTuple):
    """The seconds since the host was booted, and how many clock ticks a second has."""

    uptime: float
    ticks: int


def of_host(host: Host, macs: t.Collection[str] | None, clock: Clock | None = None) -> list[Guest]:
    """Return the guests of a host with all their NICs, or with ``macs`` those that have any of them, with these."""
    found = [_guest(domain, host, macs, clock) for domain in host.domains.values()]
    return [guest for guest in found if macs is None or guest.nics]


def _guest(domain: Domain, host: Host, macs: t.Collection[str] | None, clock: Clock | None) -> Guest:
    ifaces = domain.live if domain.running else domain.stored
    nics = (_nic(iface, host) for iface in ifaces)
    chosen = tuple(nic for nic in nics if macs is None or not nic.macs.isdisjoint(macs))
    return Guest(domain.name, domain.uuid, _state(domain), chosen, _runs_for(domain, clock))


def _runs_for(domain: Domain, clock: Clock | None) -> float | None:
    """Return for how many seconds a guest's QEMU runs, by its start time in the domain's instance."""
    words = domain.instance.split()
    began = _text.number(words[2]) if len(words) == 3 else None
    return None if clock is None or began is None else max(0.0, clock.uptime - began / clock.ticks)


def _state(domain: Domain) -> str:
    if domain.running:
        return PAUSED if domain.paused else RUNNING
    return SAVED if domain.saved is not None else SHUT_OFF


def _nic(iface: Iface, host: Host) -> Nic:
    links = host.links or {}
    link = link_of_iface(iface, links)
    certain = networks.certain_uplinks(iface, host.networks)
    uplink = (link.parent if link else None) or (certain[0] if len(certain) == 1 else None)
    found = link_of(uplink, links)
    return Nic(
        iface.mac,
        frozenset(filter(None, (iface.mac, iface.get(LINK_MAC), iface.get(GUEST_MAC)))),
        iface.type,
        iface.get("target"),
        link.index if link else 0,
        found.name if found else uplink,
        _vlan(uplink, iface, links),
        networks.mode(iface, host.networks),
        iface.get("network"),
        iface.get("portgroup"),
    )


def _vlan(uplink: str | None, iface: Iface, links: Links) -> int | None:
    """Return the VLAN that a NIC is in: its own tag, or that of the first VLAN link below it."""
    own = _text.number(iface.get("vlan") or "")
    if own is not None:
        return own
    visited: set[str] = set()
    link = link_of(uplink, links)
    while link is not None and link.name not in visited:
        if link.vlan_id is not None:
            return link.vlan_id
        visited.add(link.name)
        link = links.get(link.parent or "")
    return None


def known(guests: t.Sequence[Guest], findings: Findings, stale_after: float) -> dict[tuple[str, int], list[Found]]:
    """Return the addresses by the guest's name and the NIC's position; a guest that does not run has none."""
    shared = merging.shared_macs(guests)
    found: dict[tuple[str, int], list[Found]] = {}
    for guest in guests:
        nics = [
            merging.addresses(nic, findings, stale_after=stale_after, shared=nic.mac in shared, runs_for=guest.runs_for)
            if guest.runs
            else []
            for nic in guest.nics
        ]
        found.update(((guest.name, number), one) for number, one in enumerate(merging.of_one_nic(nics)))
    return found


def report(
    guests: t.Sequence[Guest],
    found: t.Mapping[tuple[str, int], t.Sequence[Found]],
    findings: Findings,
    reached_by: t.Mapping[str, tuple[str, str]],
) -> list[dict[str, t.Any]]:
    """Return the guests as the module returns them.

    ``reached_by`` are the shim and its uplink by which the host sends to an address.
    """
    return [
        {
            "name": guest.name,
            "uuid": guest.uuid,
            "state": guest.state,
            "interfaces": [
                {
                    **{name: getattr(nic, name) for name in _REPORTED},
                    "addresses": [address(one, shim_to(nic, one, reached_by)) for one in found[guest.name, number]],
                    "not_asked": findings.not_asked.get(merging.key_of(nic)),
                }
                for number, nic in enumerate(guest.nics)
            ],
        }
        for guest in guests
    ]


_REPORTED = ("mac", "type", "link", "uplink", "vlan", "mode", "network", "portgroup")


def shim_to(nic: Nic, found: Found, reached_by: t.Mapping[str, tuple[str, str]]) -> str | None:
    """Return the shim by which the host reaches an address of a NIC, None if it does not.

    A shim on another uplink may lead to another machine that has the same address. One in mode bridge exchanges frames
    only with links in mode bridge.
    """
    shim, uplink = reached_by.get(found.address, ("", ""))
    return shim if nic.mode == "bridge" and nic.uplink and nic.uplink == uplink else None


def address(found: Found, shim: str | None = None) -> dict[str, t.Any]:
    """Return one address as the module returns it."""
    return {
        "address": found.address,
        "family": family_of(found.address),
        "scope": "link" if is_link_local(found.address) else "global",
        "prefix": found.prefix,
        "state": found.state,
        "source": found.source,
        "sources": list(found.sources),
        "shim": shim,
        "age": None if found.age is None else round(found.age, 1),
    }


def others(
    macs: t.Iterable[str], guests: t.Iterable[Guest], findings: Findings, stale_after: float
) -> dict[str, list[Found]]:
    """Return the addresses of those of ``macs`` that none of ``guests`` has, by MAC address."""
    own = {mac for guest in guests for nic in guest.nics for mac in nic.macs}
    return {
        mac: merging.addresses(Nic(mac, frozenset({mac})), findings, stale_after=stale_after)
        for mac in macs
        if mac not in own
    }


def report_others(found: t.Mapping[str, t.Sequence[Found]]) -> list[dict[str, t.Any]]:
    """Return the addresses of MAC addresses that no guest has as the module returns them."""
    return [{"mac": mac, "addresses": [address(one) for one in addresses]} for mac, addresses in found.items()]
