# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What of the declarations would cut off the host itself, or Ansible's connection to it. Pure."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import ALLOW, Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import PASSTHRU
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import (
    DeclaredLink,
    Host,
    Nic,
    Place,
)

# Kind, message and remedy.
_Said = t.Tuple[str, str, str]
ROLES = ("macvtap_links", "macvtap_domains", "macvtap_host_access")


def conflicts(host: Host) -> t.Iterator[tuple[_Said, Place]]:
    """Find what takes away addresses or routes of the host, or cuts off Ansible, and is not allowed by its role."""
    for want, found in host.lost_by_vlans:
        if "macvtap_links" not in host.may_disconnect:
            yield _said("macvtap_links", found), Place(host.name, link=want.said_name, seen="declared")
    for role, disruption, place in _all(host):
        lost = reachability.cut_off(disruption, host.reach, host.links) if role not in host.may_disconnect else None
        if lost is not None:
            yield _said(role, lost), place


def _said(role: str, lost: tuple[str, str]) -> _Said:
    message, mend = lost
    return "disconnect", message, f"{mend}, or set {role}_{ALLOW}: true"


def by_vlans(
    wanted: t.Iterable[WantedVlan], links: Links, reach: Reach
) -> t.Iterator[tuple[WantedVlan, tuple[str, str]]]:
    """Yield what making the VLAN links takes from the host, and what to do; ``links`` are those that there are now."""
    for want in wanted:
        # What it cannot be made for is told by vlans.py.
        with contextlib.suppress(MacvtapError):
            for disruption in reachability.of_steps(vlans.plan([want], links, force=True).steps):
                lost = reachability.cut_off(disruption, reach, links)
                if lost is not None:
                    yield want, lost


def _all(host: Host) -> t.Iterator[tuple[str, Disruption, Place]]:
    for name in sorted(host.purged_links - {link.key for link in host.declared_links}):
        shim = host.links[name].kind == "macvlan"
        role = "macvtap_host_access" if shim else "macvtap_links"
        yield role, Disruption(name, Loss.REMOVED, declared=shim), Place(host.name, link=name, seen="found")
    companions = {companion.name for companion in host.companions}
    for wanted in host.declared_links:
        shim = wanted.key in companions
        for disruption in _of_link(wanted, host, declared=shim):
            yield "macvtap_host_access" if shim else "macvtap_links", disruption, wanted.place(host.name)
    for nic in host.nics:
        source = nic.final("source")
        if nic.given is not None and source and nic.final("mode") in PASSTHRU and not _has(nic, source):
            yield "macvtap_domains", Disruption(source, Loss.PASSTHRU), nic.place(host.name)


def _has(nic: Nic, source: str) -> bool:
    found = nic.found
    direct = found is not None and found.type == "direct"
    return found is not None and direct and (found.get("source"), found.get("mode")) == (source, PASSTHRU[1])


def _of_link(wanted: DeclaredLink, host: Host, *, declared: bool) -> t.Iterator[Disruption]:
    kind = "macvlan" if declared else "macvtap"
    now = host.link_of(wanted)
    now = now if now is not None and now.kind == kind else None
    loss = _loss(wanted, now, host)
    if now is not None and loss is not None and not (declared and loss is Loss.MTU):
        yield Disruption(now.name, loss, mtu=wanted.mtu, declared=declared)
    parent = parents.lookup(host.parent_of(wanted) or "", host.links)
    alone = wanted.mode in PASSTHRU and not wanted.absent
    if alone and parent is not None and not (now and now.mode in PASSTHRU and now.parent == parent.name):
        yield Disruption(parent.name, Loss.PASSTHRU)


def _loss(wanted: DeclaredLink, now: Link | None, host: Host) -> Loss | None:
    """Return what the declaration does to the link that there is."""
    if now is None:
        return None
    if wanted.absent:
        return Loss.REMOVED
    parent = parents.lookup(wanted.parent, host.links) if wanted.parent else None
    moves = parent is not None and parent.name != now.parent
    passes = {mode in PASSTHRU for mode in (wanted.mode or now.mode, now.mode)}
    if moves or len(passes) > 1:
        return Loss.RECREATED
    if wanted.down and now.up:
        return Loss.DOWN
    if wanted.mac not in (None, now.mac):
        return Loss.MAC
    return Loss.MTU if wanted.mtu not in (None, now.mtu) else None
