# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Undeclared links, NICs and guards of the kinds that the roles manage. Only purge removes them. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks as networks_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.fleet import hosts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import is_managed as is_shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import is_managed as is_managed_vlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names, printable

_KINDS = {"macvtap": "link", "macvlan": "host interface", "vlan": "VLAN link"}


def lines(fleet: t.Any) -> list[str]:
    """Return a line for each host with undeclared links or NICs.

    :raises MacvtapError: ``fleet`` is not a dictionary of dictionaries.
    """
    return [f"{name}: {', '.join(parts)}" for name, parts in by_host(fleet).items() if parts]


def by_host(fleet: t.Any) -> dict[str, list[str]]:
    """Return what each host has and does not declare.

    :raises MacvtapError: ``fleet`` is not a dictionary of dictionaries.
    """
    return {host.name: list(map(printable, of_host(host))) for host in hosts(fleet)}


def of_host(host: Host) -> t.Iterator[str]:
    """Yield each undeclared link, network, NIC and guard of one host."""
    for nic in host.nics:
        if nic.desired is None and (nic.type == "direct" or networks_of.of_nic(host, nic) is not None):
            yield f"NIC {nic.mac} of {nic.domain} on {_where(nic)}"
    yield from _links(host)
    networks = {network.name for network in host.declared_networks}
    for network in host.networks.values():
        if network.mode and network.name not in networks:
            yield f"network {network.name} on {join_names(network.interfaces or [network.pf or 'no uplink'])}"
    guarded = {one.guard.mac for one in host.guards}
    yield from (f"guard of {one.mac}" for one in host.found_guards or () if one.mac not in guarded)
    names = {link.name for link in host.declared_links} | {vlan.name or vlan.default_name for vlan in host.vlans}
    for name, kind in host.written:
        if name not in names and name not in host.links:
            yield f"{_KINDS[kind]} {name} at the next boot"


def _links(host: Host) -> t.Iterator[str]:
    declared = {link.key for link in host.declared_links}
    for link in host.unmanaged_links():
        if link.key not in declared and (link.kind == "macvtap" or is_shim(link)):
            yield f"{_KINDS[link.kind or '']} {link.name} on {link.parent}"
    vlans = {(vlan.parent, vlan.id) for vlan in host.vlans} | {(None, vlan.default_name) for vlan in host.vlans}
    for link in host.links.values():
        if is_managed_vlan(link) and not {(link.parent, link.vlan_id), (None, link.name)} & vlans:
            yield f"VLAN link {link.name}"


def _where(nic: Nic) -> str:
    return f"network {nic.network}" if nic.network else str(nic.final("source"))
