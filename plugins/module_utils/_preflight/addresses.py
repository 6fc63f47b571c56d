# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The same MAC address, or the same IP address of a host, twice in one layer-2 segment. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import PASSTHRU
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import (
    Conflict,
    DeclaredLink,
    Host,
    Nic,
    Place,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.nics import on_wire

# What has an address: a NIC of a domain, on whatever hosts; a link; or a host with all its links of that address.
Owner = t.Tuple[str, ...]
# Who has it there. Its place is made only where there is a conflict: of thousands there is none.
Holder = t.Union[Nic, DeclaredLink, Place]
# The segment, the address, whose it is.
Claim = t.Tuple[str, str, Owner, Holder]
_REMEDY = (
    "Give all but one another address (the filter mac_address makes them), or tell networks apart by macvtap_segment"
)


def conflicts(fleet: t.Collection[Host]) -> t.Iterator[Conflict]:
    yield from _mac_conflicts(fleet)
    for host in fleet:
        yield from _refused(host)
    yield from _companion_conflicts(fleet)


def _companion_conflicts(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    """Find addresses that several companions are to have: those of a group of hosts, declared for all of them."""
    used: dict[tuple[str, str], list[Place]] = {}
    for host in fleet:
        for companion in host.companions:
            for address in companion.addresses if companion.state != "absent" else ():
                place = Place(host.name, link=companion.name, seen="declared")
                used.setdefault((segments.behind(host, companion.parent), address), []).append(place)
    for (segment, address), where in used.items():
        if len(where) > 1:
            message = f"{address} is the address of {len(where)} companions {_in(segment)}"
            yield Conflict("address", message, "Declare addresses for each host by itself", tuple(where), segment)


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
            yield Conflict("mac", f"{mac} is used {times} {_in(segment)}", _REMEDY, where, segment)
        elif len({place.host for place in where if "live" in place.seen}) > 1:
            yield Conflict(
                "mac",
                f"{mac} is used by one domain that runs on several hosts at once, {_in(segment)}",
                "If it is being migrated just now, wait until that is over; else stop it on all but one of the hosts, "
                "or give the copies UUIDs and addresses of their own",
                where,
                segment,
            )


def _refused(host: Host) -> t.Iterator[Conflict]:
    """Find addresses of two domains of a host in segments of their own: libvirt_direct_iface makes no second one."""
    having: dict[str, list[Nic]] = {}
    for nic in host.nics if host.segments else ():
        if nic.mac and on_wire(nic):
            having.setdefault(nic.mac, []).append(nic)
    for mac, nics in having.items():
        apart = len({segments.of_nic(host, nic) for nic in nics}) == len({nic.domain for nic in nics}) == len(nics) > 1
        declared = [nic for nic in nics if nic.given is not None]
        # What is stored already is not looked at, if it is declared but once.
        if apart and (len(declared) > 1 or any(nic.stored is None for nic in declared)):
            yield Conflict(
                "mac",
                f"{mac} is used by {len(nics)} domains of one host, which libvirt_direct_iface refuses on any network",
                "Give all but one another address (the filter mac_address makes them)",
                tuple(nic.place(host.name) for nic in nics),
                host.segment,
            )


def _in(segment: str) -> str:
    return "on one network" if segment == segments.ONE else f"in the segment {segment}"


def _claims(host: Host) -> t.Iterator[Claim]:
    """Return each address that is used on ``host``, or will be, with whose it is."""
    # The two NICs of a pair for failover (virtio's <teaming>) have one address, and one of them is the host's device.
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
    lent = _lent(host)
    for link in host.beside():
        if link.mode == "passthru" or link.mac is None or (link.name, link.mac) in lent:
            continue
        # Any of them may be a guest's where nobody could say whose it is.
        if host.version is None and link.kind == "macvtap":
            continue
        yield (
            segments.behind(host, link.parent),
            link.mac,
            ("link", host.name, link.name),
            Place(host.name, link=link.name, seen="found"),
        )
    for wanted in declared.values():
        existing = host.link_of(wanted)
        mac = wanted.mac or (existing.mac if existing is not None else None)
        if mac and not wanted.absent and wanted.mode != "passthru" and (wanted.name, mac) not in lent:
            yield segments.behind(host, host.parent_of(wanted)), mac, ("link", host.name, wanted.key), wanted
    yield from _own(host)


def _lent(host: Host) -> set[tuple[str | None, str]]:
    """Return the links, by name and address, that are made for a NIC of type ethernet, which has the same address."""
    return {
        (iface.get("target"), iface.mac)
        for domain in host.domains.values()
        for iface in (*domain.stored, *domain.live)
        if iface.type == "ethernet"
    }


def _own(host: Host) -> t.Iterator[Claim]:
    """Return the addresses of the links that others are on. Those of a bond or a bridge and its ports are one."""
    said = [nic.final("source") for nic in host.nics if nic.type == "direct"]
    said += [link.parent for link in host.declared_links if not link.absent]
    said += [link.parent for link in host.links.values() if link.kind in MACVLAN_KINDS]
    alone = {nic.final("source") for nic in host.nics if nic.final("mode") in PASSTHRU}
    alone |= {link.parent for link in host.declared_links if link.mode in PASSTHRU}
    alone |= {link.parent for link in host.links.values() if link.mode in PASSTHRU}
    # A passthru link and its parent have one address, whichever of the two it was.
    shared = {parent.name for name in alone if name and (parent := parents.lookup(name, host.links)) is not None}
    for name in dict.fromkeys(said):
        parent = parents.lookup(name, host.links) if name else None
        if parent is None or parent.mac is None or parent.kind in MACVLAN_KINDS:
            continue
        if parent.name not in shared:
            mine = Place(host.name, link=parent.name, seen="parent")
            yield segments.behind(host, parent.name), parent.mac, ("host", host.name), mine
