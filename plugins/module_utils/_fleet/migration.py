# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains of several hosts that could not migrate from one to another. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import VARIABLE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Conflict, Host, Nic, Place
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.nics import on_wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# One NIC of a domain as each host has it.
_Sides = t.List[t.Tuple[Host, Nic]]
_Connected = t.Tuple[str, t.Optional[str], t.Optional[str]]
# What a NIC is connected to, where it is on a direct network: a name and a portgroup that every host can have.
_NETWORK = "direct network"
_HINT = (
    "Declare the NIC on every host, by its MAC address and in the same mode. libvirt_guest_migrate then moves the "
    "guest between sources of any name. virsh migrate needs sources of one name: an alternative name, or a network "
    "(macvtap_networks_networks)"
)


def conflicts(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    """Find domains of several hosts whose NICs are connected differently on them, or missing."""
    domains: dict[str, dict[str, tuple[Host, list[Nic]]]] = {}
    for host in fleet:
        for nic in host.nics:
            domains.setdefault(nic.identity, {}).setdefault(host.name, (host, []))[1].append(nic)
    for of_hosts in domains.values():
        if len(of_hosts) > 1:
            complete = [host for host, nics in of_hosts.values() if _is_complete(host, nics)]
            for sides in _matched(of_hosts.values()):
                missing = _missing(sides, complete)
                # In another segment, nothing else matters but where it is missing.
                yield from list(_in_segments(sides, missing)) or _conflicts(sides, missing)


def _is_complete(host: Host, nics: t.Iterable[Nic]) -> bool:
    """Whether the domain is declared on ``host``, and all its NICs there are known."""
    return host.version is not None and any(nic.desired is not None for nic in nics)


def _missing(sides: _Sides, complete: t.Sequence[Host]) -> list[Host]:
    """Return the hosts of ``complete`` that lack a NIC that another host declares."""
    if not any(nic.desired is not None for _host, nic in sides):
        return []
    present = {host.name for host, _nic in sides}
    return [host for host in complete if host.name not in present]


def _in_segments(sides: _Sides, missing: t.Sequence[Host]) -> t.Iterator[Conflict]:
    """Find a NIC that would be in another segment on another host. Those of networks are found with the networks."""
    if not any(nic.type == "direct" or networks.of_nic(host, nic) is not None for host, nic in sides):
        return
    found: dict[str, list[str]] = {}
    for host, nic in sides:
        if nic.network is None and on_wire(nic):
            found.setdefault(segments.of_nic(host, nic), []).append(host.name)
    if len(found) < 2:
        return
    parts = [f"in the segment {segment} on {join_names(names)}" for segment, names in found.items()]
    remedy = f"Declare it on links of one segment. If they are one network, give them one name in {VARIABLE}"
    yield _conflict(sides, parts, missing, remedy)


def _conflicts(sides: _Sides, missing: t.Sequence[Host]) -> t.Iterator[Conflict]:
    connections: dict[_Connected, list[str]] = {}
    for host, nic in sides:
        connections.setdefault(_connected(host, nic), []).append(host.name)
    # Mode auto may become the mode that another host has.
    for connection in [connection for connection in connections if connection[2] == AUTO]:
        if any((*connection[:2], mode) in connections for mode in ("vepa", "bridge")):
            del connections[connection]
    if _is_rewritten(sides):
        connections = dict(list(connections.items())[:1])
    if len(connections) + bool(missing) < 2 or not any(kind in ("direct", _NETWORK) for kind, *_rest in connections):
        return
    parts = [f"{_describe(connection)} on {join_names(names)}" for connection, names in connections.items()]
    yield _conflict(sides, parts, missing, _HINT)


def _conflict(sides: _Sides, parts: t.Sequence[str], missing: t.Sequence[Host], remedy: str) -> Conflict:
    domain = sides[0][1].domain
    lacking = [f"missing on {join_names([host.name for host in missing])}"] if missing else []
    return Conflict(
        "migration",
        f"{domain} could not migrate: {_label([nic for _host, nic in sides])} is {'; '.join([*parts, *lacking])}",
        remedy,
        (*(nic.place(host.name) for host, nic in sides), *(Place(host.name, domain) for host in missing)),
        sides[0][0].segment,
    )


def _is_rewritten(sides: _Sides) -> bool:
    """Whether libvirt_guest_migrate connects the NIC to what its host declares, whichever way the guest goes.

    In another mode a guest reaches others in another way, and another portgroup has other settings.
    """
    if not all(nic.desired is not None and nic.by_mac and nic.mac for _host, nic in sides):
        return False
    modes = {_mode(host, nic) for host, nic in sides}
    return None not in modes and len(modes) == 1 and len({nic.portgroup for _host, nic in sides}) == 1


def _mode(host: Host, nic: Nic) -> str | None:
    """Return the mode of a NIC's link, None if that is not known yet."""
    network = networks.of_nic(host, nic) if nic.network is not None else None
    if network is not None:
        return network.mode or None
    return nic.final("mode") if nic.network is None else None


def _matched(hosts: t.Iterable[tuple[Host, t.Sequence[Nic]]]) -> list[_Sides]:
    """Return a domain's NICs, each with its counterparts on the other hosts.

    The counterpart has the same address. For NICs not declared by address, which may differ, it has the same alias or
    target, or else the same source, or else is the first that remains.
    """
    matched: list[_Sides] = []
    for host, nics in hosts:
        candidates, remaining = list(matched), list(nics)
        for same in (_same_address, _same_name, _same_source, _may_differ_in_mac):
            unmatched = []
            for nic in remaining:
                sides = next((one for one in candidates if any(same(nic, other) for _host, other in one)), None)
                if sides is None:
                    unmatched.append(nic)
                else:
                    sides.append((host, nic))
                    candidates.remove(sides)
            remaining = unmatched
        matched += [[(host, nic)] for nic in remaining]
    return matched


def _same_address(one: Nic, other: Nic) -> bool:
    return bool(one.mac) and (one.mac, one.number) == (other.mac, other.number)


def _same_name(one: Nic, other: Nic) -> bool:
    if not _may_differ_in_mac(one, other):
        return False
    return any(name == _name(other, option) for option in _NAME_OPTIONS if (name := _name(one, option)))


def _same_source(one: Nic, other: Nic) -> bool:
    return _may_differ_in_mac(one, other) and one.final("source") == other.final("source")


def _may_differ_in_mac(one: Nic, other: Nic) -> bool:
    return one.type == other.type == "direct" and not (one.by_mac and other.by_mac)


_NAME_OPTIONS = ("alias", "target")


def _name(nic: Nic, option: str) -> str | None:
    """Return the alias or target, unless libvirt has generated it."""
    name = nic.final(option)
    return None if name is None or fields.is_generated(option, name) else name


def _label(nics: t.Sequence[Nic]) -> str:
    """Return an address or name that the NIC has on all hosts."""
    names = [(nic.mac, *(_name(nic, option) for option in _NAME_OPTIONS)) for nic in nics]
    common = [name for name, *others in zip(*names) if name and all(other == name for other in others)]
    return common[0] if common else "an interface that is not declared by its address"


def _connected(host: Host, nic: Nic) -> _Connected:
    if nic.network is not None and (nic.desired is not None or networks.of_nic(host, nic) is not None):
        return _NETWORK, nic.network, nic.portgroup
    if nic.type == "direct":
        return "direct", nic.final("source"), nic.final("mode")
    return nic.type, nic.current.origin if nic.current else None, None


def _describe(connection: _Connected) -> str:
    kind, where, mode = connection
    if kind == _NETWORK:
        return f"on network {where}" + (f", portgroup {mode}" if mode else "")
    return f"on {where} in mode {mode}" if kind == "direct" else f"of type {kind} ({where})"
