# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host's libvirt networks as they will be after the role macvtap_networks, and what is on them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    ABSENT,
    ACTIVE,
    Desired,
    DesiredPortgroup,
    Network,
    Portgroup,
)

_PASSTHRU = "passthrough"


def made(desired: t.Iterable[Desired], current: t.Mapping[str, Network], links: Links) -> dict[str, Network]:
    """Return the networks after the ``desired`` ones are created, changed and removed, by name."""
    final = dict(current)
    for declared in desired:
        before = final.pop(declared.name, Network(name=declared.name))
        if declared.state != ABSENT:
            final[declared.name] = _merged(declared, before)
    return {name: replace(one, interfaces=_named(one.interfaces, links)) for name, one in final.items()}


def _merged(declared: Desired, before: Network) -> Network:
    pf = declared.pf or (before.pf if declared.interfaces is None else None)
    mode = _PASSTHRU if pf else declared.mode or before.mode or DEFAULT_MODE
    named = {group.name: group for group in declared.portgroups}
    groups = {group.name: group for group in before.portgroups}
    for name, group in named.items():
        if group.present:
            groups[name] = _merged_portgroup(group, groups.get(name, Portgroup(name)))
        else:
            groups.pop(name, None)
    return replace(
        before,
        mode=mode,
        interfaces=before.interfaces if declared.interfaces is None else declared.interfaces,
        pf=pf,
        portgroups=tuple(groups.values()),
        active=declared.state == ACTIVE,
    )


def _merged_portgroup(declared: DesiredPortgroup, before: Portgroup) -> Portgroup:
    values = {name: text for name, text in {**before.values, **declared.given}.items() if text is not None}
    default = before.default if declared.default is None else declared.default
    return Portgroup(declared.name, default, values)


def _named(interfaces: t.Iterable[str], links: Links) -> tuple[str, ...]:
    """Return the names of the links that ``interfaces`` stand for; what stands for none stays."""
    found = ((text, parents.lookup(text, links)) for text in interfaces)
    return tuple(text if link is None else link.name for text, link in found)


def of_nic(host: Host, nic: Nic) -> Network | None:
    """Return the direct network that a NIC will be on."""
    network = host.networks.get(nic.network or "")
    return network if network is not None and network.mode else None


def users(host: Host) -> dict[str, list[Nic]]:
    """Return the NICs of each network, by its name."""
    found: dict[str, list[Nic]] = {}
    for nic in host.nics:
        if nic.network is not None:
            found.setdefault(nic.network, []).append(nic)
    return found


def exclusive(host: Host, *, in_effect: bool = False) -> frozenset[str]:
    """Return the uplinks of networks in mode passthrough, which take one guest each.

    With ``in_effect`` only those of networks that are active: of others no guest has got one.
    """
    passed = (network for network in host.networks.values() if network.mode == _PASSTHRU)
    found = (network for network in passed if network.active or not in_effect)
    return frozenset(uplink for network in found for uplink in network.interfaces)
