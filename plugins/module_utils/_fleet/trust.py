# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NICs with trust_guest_rx_filters, whose guests may take any MAC address, and what their guards do about it. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import FoundGuard, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.options import TRUST
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import DROP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# It was measured: the kernel hands frames from one link of an uplink to another by their addresses.
KEPT = (
    "{}: {} cannot pose as others, because their guards drop what is not from their own MAC address. But a guest that "
    "takes another address still receives what guests in mode bridge on its uplink send to that"
)
_LISTS = ("macvtap_domains_interfaces", "macvtap_networks_networks")


def mentioned(data: t.Mapping[str, t.Any]) -> bool:
    """Whether anything that a host declares or has says that guests are trusted. To read all of it takes a while."""
    variables, found = data.get("declared") or {}, data.get("found") or {}
    if variables.get(f"macvtap_domains_{TRUST}") or any(TRUST in str(variables.get(name)) for name in _LISTS):
        return True
    interfaces = (one for domain in found.get("domains") or () for one in domain.get("interfaces") or ())
    if any((one.get(side) or {}).get(TRUST) for one in interfaces for side in ("stored", "live")):
        return True
    networks_ = found.get("networks") or ()
    groups = (group for network in networks_ for group in network.get("portgroups") or ())
    return any(one.get(TRUST) for one in (*networks_, *groups))


def notes(host: Host) -> t.Iterator[str]:
    """Return for each trusted NIC without a guard that keeps it to its MAC address why not, and which ones have one."""
    declared = {one.guard.mac: one for one in host.guards}
    guards: dict[str, FoundGuard | None] = {one.mac: one for one in host.found_guards or ()}
    # They will be as declared.
    for mac, one in declared.items():
        guards[mac] = FoundGuard(mac, one.guard.policy, one.guard.other_macs) if one.present else None
    kept = []
    for nic in host.nics:
        if not _is_trusted(nic, host):
            continue
        label = f"{nic.domain} {nic.mac}".strip()
        guard = guards.get(nic.mac)
        unknown = host.found_guards is None and nic.mac not in declared
        why = _why_not(guard, unknown=unknown)
        if why:
            yield f"{label}: {TRUST} lets the guest take any MAC address. {why}"
        else:
            kept.append(label)
    if kept:
        yield KEPT.format(TRUST, join_names(kept))


def _is_trusted(nic: Nic, host: Host) -> bool:
    value = nic.final(TRUST)
    network = networks.of_nic(host, nic) if value is None else None
    if network is None:
        return value == "yes"
    group = network.portgroup(nic.portgroup)
    given = {**network.values, **(group.values if group is not None else {})}
    # A running guest keeps what it got from its network when it started.
    return "yes" in (given.get(TRUST), nic.live.get(TRUST) if nic.live is not None else None)


def _why_not(guard: FoundGuard | None, *, unknown: bool) -> str:
    """Return why a guard does not keep its guest to its MAC address, "" if it does."""
    if guard is None:
        return "Add a guard to keep it to its own" + (", unless macvtap_guard manages one" if unknown else "")
    if guard.policy != DROP:
        return "Its guard only counts. Set policy: drop to keep it to its own"
    if guard.other_macs:
        return "Its guard allows other MAC addresses. Set other_macs: false to keep it to its own"
    if guard.modified:
        return "Others have changed the rules of its guard. Run macvtap_guard to keep it to its own"
    return "" if guard.persistent else "Its guard is not stored, and is gone after the next start of the host"
