# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Duplicate MAC addresses, and duplicate IP addresses of hosts, in one layer-2 segment. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import COMMON
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    Conflict,
    DeclaredLink,
    Host,
    Nic,
    Place,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.nics import on_wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.validate import PASSTHRU

# The owner of an address: a domain's NIC, on any host; a link; or a host with all its links of that address.
Owner = t.Tuple[str, ...]
# Where the owner has it. A Place is created only for conflicts, which are few among thousands of claims.
Holder = t.Union[Nic, DeclaredLink, Place]
# Segment, address, owner and holder.
Claim = t.Tuple[str, str, Owner, Holder]
_HINT = (
    "Give all but one another address (the filter mac_address makes them), or name separate networks in macvtap_segment"
)


def conflicts(fleet: t.Collection[Host]) -> t.Iterator[Conflict]:
    yield from _mac_conflicts(fleet)
    for host in fleet:
        yield from _same_host_conflicts(host)
    yield from _shim_conflicts(fleet)


def _shim_conflicts(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    """Find IP addresses of several macvlan shims, such as one declared for a whole group of hosts."""
    used: dict[tuple[str, str], list[Place]] = {}
    for host in fleet:
        for shim in host.shims:
            for address in shim.addresses if shim.state != "absent" else ():
                place = Place(host.name, link=shim.name, seen="declared")
                used.setdefault((segments.of_link(host, shim.parent), address), []).append(place)
    for (segment, address), where in used.items():
        if len(where) > 1:
            message = f"{address} is the address of {len(where)} host interfaces {_location(segment)}"
            yield Conflict("address", message, "Declare addresses for each host separately", tuple(where), segment)


def _mac_conflicts(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    used: dict[tuple[str, str], list[tuple[Owner, Holder, str]]] = {}
    for host in fleet:
        for segment, mac, owner, holder in _claims(host):
            used.setdefault((segment, mac), []).append((owner, holder, host.name))
    for (segment, mac), claims in used.items():
        if len(claims) == 1:
            continue
        owners = {owner for owner, _holder, _name in claims}
        where = tuple(holder if isinstance(holder, Place) else holder.place(name) for _owner, holder, name in claims)
        if len(owners) > 1:
            times = {2: "twice"}.get(len(owners), f"{len(owners)} times")
            yield Conflict("mac", f"{mac} is used {times} {_location(segment)}", _HINT, where, segment)
        elif len({place.host for place in where if "live" in place.seen}) > 1:
            yield Conflict(
                "mac",
                f"{mac} is used by one domain that runs on several hosts at once, {_location(segment)}",
                "If the domain is migrating, wait until that has finished. Otherwise stop it on all but one host, or "
                "give each copy its own UUID and addresses",
                where,
                segment,
            )


def _same_host_conflicts(host: Host) -> t.Iterator[Conflict]:
    """Find addresses of two domains of one host in different segments, which libvirt_direct_iface refuses."""
    users: dict[str, list[Nic]] = {}
    for nic in host.nics if host.segments else ():
        if nic.mac and on_wire(nic):
            users.setdefault(nic.mac, []).append(nic)
    for mac, nics in users.items():
        on = {segments.of_nic(host, nic) for nic in nics}
        separate = len(on) == len({nic.domain for nic in nics}) == len(nics) > 1
        declared = [nic for nic in nics if nic.desired is not None]
        # A single declaration that is already stored is not checked by the module.
        if separate and (len(declared) > 1 or any(nic.stored is None for nic in declared)):
            yield Conflict(
                "mac",
                f"{mac} is used by {len(nics)} domains of one host, which libvirt_direct_iface always refuses",
                "Give all but one another address (the filter mac_address makes them)",
                tuple(nic.place(host.name) for nic in nics),
                host.segment,
            )


def _location(segment: str) -> str:
    return "on one network" if segment == COMMON else f"in the segment {segment}"


def _claims(host: Host) -> t.Iterator[Claim]:
    """Return each address that is or will be used on ``host``, with its owner."""
    # The two NICs of a teaming pair (virtio's <teaming>) share one address; one of them is a hostdev.
    teams = {(nic.domain, nic.mac) for nic in host.nics if nic.type == "hostdev"}
    for nic in host.nics:
        if nic.mac and on_wire(nic):
            number = 0 if (nic.domain, nic.mac) in teams else nic.number
            yield segments.of_nic(host, nic), nic.mac, ("nic", nic.identity, nic.mac, str(number)), nic
    for nic in host.saved:
        if nic.mac and on_wire(nic):
            place = Place(host.name, nic.domain, nic.mac, seen="saved")
            yield segments.of_nic(host, nic), nic.mac, ("nic", nic.identity, nic.mac, "0"), place
    declared = {link.key: link for link in host.declared_links}
    ethernet_links = _ethernet_links(host)
    for link in host.unmanaged_links():
        if link.mode == "passthru" or link.mac is None or (link.name, link.mac) in ethernet_links:
            continue
        # Without libvirt's answer, any of them may belong to a guest.
        if host.version is None and link.kind == "macvtap":
            continue
        yield (
            segments.of_link(host, link.parent),
            link.mac,
            ("link", host.name, link.name),
            Place(host.name, link=link.name, seen="found"),
        )
    for desired in declared.values():
        existing = host.link_of(desired)
        mac = desired.mac or (existing.mac if existing is not None else None)
        if mac and not desired.absent and desired.mode != "passthru" and (desired.name, mac) not in ethernet_links:
            yield segments.of_link(host, host.parent_of(desired)), mac, ("link", host.name, desired.key), desired
    yield from _uplink_claims(host)


def _ethernet_links(host: Host) -> set[tuple[str | None, str]]:
    """Return the links, by name and address, of NICs of type ethernet, which have the same address."""
    return {
        (iface.get("target"), iface.mac)
        for domain in host.domains.values()
        for iface in (*domain.stored, *domain.live)
        if iface.type == "ethernet"
    }


def _uplink_claims(host: Host) -> t.Iterator[Claim]:
    """Return the addresses of uplinks. A bond or a bridge and its ports share one."""
    uplinks = [nic.final("source") for nic in host.nics if nic.type == "direct"]
    uplinks += [name for network in host.networks.values() if network.mode for name in network.interfaces]
    uplinks += [link.parent for link in host.declared_links if not link.absent]
    uplinks += [link.parent for link in host.links.values() if link.kind in MACVLAN_KINDS]
    exclusive = {nic.final("source") for nic in host.nics if nic.final("mode") in PASSTHRU}
    exclusive |= networks.exclusive(host)
    exclusive |= {link.parent for link in host.declared_links if link.mode in PASSTHRU}
    exclusive |= {link.parent for link in host.links.values() if link.mode in PASSTHRU}
    # A passthru link and its parent share one address.
    shared = {parent.name for name in exclusive if name and (parent := parents.lookup(name, host.links)) is not None}
    for name in dict.fromkeys(uplinks):
        parent = parents.lookup(name, host.links) if name else None
        if parent is None or parent.mac is None or parent.kind in MACVLAN_KINDS:
            continue
        if parent.name not in shared:
            place = Place(host.name, link=parent.name, seen="parent")
            yield segments.of_link(host, parent.name), parent.mac, ("host", host.name), place
