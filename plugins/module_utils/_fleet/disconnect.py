# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Declarations that would disconnect the host itself, or Ansible from it. Pure."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    DeclaredLink,
    Host,
    Nic,
    Place,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.validate import PASSTHRU
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan

# Kind, message and remedy.
_Finding = t.Tuple[str, str, str]
ROLES = ("macvtap_links", "macvtap_networks", "macvtap_domains", "macvtap_host_access")


def conflicts(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    """Find what would remove addresses or routes of the host, or cut off Ansible, unless its role allows that."""
    for vlan, lost in host.lost_by_vlans:
        if "macvtap_links" not in host.may_disconnect:
            yield _finding("macvtap_links", lost), Place(host.name, link=vlan.default_name, seen="declared")
    for role, disruption, place in _all(host):
        loss = reachability.cut_off(disruption, host.reach, host.links) if role not in host.may_disconnect else None
        if loss is not None:
            yield _finding(role, loss), place


def _finding(role: str, lost: tuple[str, str]) -> _Finding:
    message, hint = lost
    return "disconnect", message, f"{hint}, or set {role}_{ALLOW}: true"


def by_vlans(
    desired: t.Iterable[DesiredVlan], links: Links, reach: Reach
) -> t.Iterator[tuple[DesiredVlan, tuple[str, str]]]:
    """Yield what creating the VLAN links takes from the host, and a hint. ``links`` are the current ones."""
    for vlan in desired:
        # vlans.py reports VLAN links that cannot be created.
        with contextlib.suppress(MacvtapError):
            for disruption in reachability.of_steps(vlans.plan([vlan], links, force=True).steps):
                lost = reachability.cut_off(disruption, reach, links)
                if lost is not None:
                    yield vlan, lost


def _all(host: Host) -> t.Iterator[tuple[str, Disruption, Place]]:
    for name in sorted(host.purged_links - {link.key for link in host.declared_links}):
        shim = host.links[name].kind == "macvlan"
        role = "macvtap_host_access" if shim else "macvtap_links"
        yield role, Disruption(name, Loss.REMOVED, declared=shim), Place(host.name, link=name, seen="found")
    shims = {shim.name for shim in host.shims}
    for desired in host.declared_links:
        shim = desired.key in shims
        for disruption in _of_link(desired, host, declared=shim):
            yield "macvtap_host_access" if shim else "macvtap_links", disruption, desired.place(host.name)
    declared_networks = {network.name for network in host.declared_networks}
    for nic in host.nics:
        network = networks.of_nic(host, nic)
        # network_checks.py checks the declared ones.
        if nic.desired is not None and network is not None and network.mode in PASSTHRU:
            running = nic.live is not None and nic.live.get("network") == network.name
            if network.name not in declared_networks and not running:
                yield from (
                    ("macvtap_domains", Disruption(u, Loss.PASSTHRU), nic.place(host.name)) for u in network.interfaces
                )
            continue
        source = parents.lookup(nic.final("source") or "", host.links)
        if nic.desired is not None and source and nic.final("mode") in PASSTHRU and not _has(nic, source, host.links):
            yield "macvtap_domains", Disruption(source.name, Loss.PASSTHRU), nic.place(host.name)


def _has(nic: Nic, source: Link, links: Links) -> bool:
    current = nic.current
    if current is None or current.type != "direct" or current.get("mode") != PASSTHRU[1]:
        return False
    return link_of(current.get("source"), links) is source


def _of_link(desired: DeclaredLink, host: Host, *, declared: bool) -> t.Iterator[Disruption]:
    kind = "macvlan" if declared else "macvtap"
    current = host.link_of(desired)
    current = current if current is not None and current.kind == kind else None
    loss = _loss(desired, current, host)
    if current is not None and loss is not None and not (declared and loss is Loss.MTU):
        yield Disruption(current.name, loss, mtu=desired.mtu, declared=declared)
    parent = parents.lookup(host.parent_of(desired) or "", host.links)
    passthru = desired.mode in PASSTHRU and not desired.absent
    same = current is not None and parent is not None and current.mode in PASSTHRU and current.parent == parent.name
    if passthru and parent is not None and not same:
        yield Disruption(parent.name, Loss.PASSTHRU)


def _loss(desired: DeclaredLink, current: Link | None, host: Host) -> Loss | None:
    """Return what the declaration does to the existing link."""
    if current is None:
        return None
    if desired.absent:
        return Loss.REMOVED
    parent = parents.lookup(desired.parent, host.links) if desired.parent else None
    moves = parent is not None and parent.name != current.parent
    passthru = {mode in PASSTHRU for mode in (desired.mode or current.mode, current.mode)}
    if moves or len(passthru) > 1:
        return Loss.RECREATED
    if desired.down and current.up:
        return Loss.DOWN
    if desired.mac not in (None, current.mac):
        return Loss.MAC
    return Loss.MTU if desired.mtu not in (None, current.mtu) else None
