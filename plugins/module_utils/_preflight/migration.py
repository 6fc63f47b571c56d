# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains that can live on several hosts and could not move from one to another. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Conflict, Host, Nic, Place
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.choice import AUTO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# One NIC of a domain as each host has it.
_Sides = t.List[t.Tuple[Host, Nic]]
_Connected = t.Tuple[str, t.Optional[str], t.Optional[str]]
_REMEDY = "Declare it with the same source and mode on each of them; an alternative name can make links' names the same"


def conflicts(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    """Find domains that can live on several hosts, and whose NICs are connected otherwise there, or missing."""
    domains: dict[str, dict[str, tuple[Host, list[Nic]]]] = {}
    for host in fleet:
        for nic in host.nics:
            domains.setdefault(nic.identity, {}).setdefault(host.name, (host, []))[1].append(nic)
    for of_hosts in domains.values():
        if len(of_hosts) > 1:
            for sides in _matched(of_hosts.values()):
                yield from _conflicts(sides, [host for host, nics in of_hosts.values() if _is_whole(host, nics)])


def _is_whole(host: Host, nics: t.Iterable[Nic]) -> bool:
    """Whether the domain is declared on ``host``, and all that it has there is known."""
    return host.version is not None and any(nic.given is not None for nic in nics)


def _conflicts(sides: _Sides, whole: t.Sequence[Host]) -> t.Iterator[Conflict]:
    ways: dict[_Connected, list[str]] = {}
    for host, nic in sides:
        ways.setdefault(_connected(nic), []).append(host.name)
    # What the switch decides later may well be what another host has.
    for way in [way for way in ways if way[2] == AUTO]:
        if any((*way[:2], mode) in ways for mode in ("vepa", "bridge")):
            del ways[way]
    missing: list[Host] = []
    if any(nic.given is not None for _host, nic in sides):
        having = {host.name for host, _nic in sides}
        missing = [host for host in whole if host.name not in having]
    if len(ways) + bool(missing) < 2 or not any(kind == "direct" for kind, _where, _mode in ways):
        return
    told = [f"{_said(way)} on {join_names(names)}" for way, names in ways.items()]
    if missing:
        told.append(f"missing on {join_names([host.name for host in missing])}")
    domain = sides[0][1].domain
    yield Conflict(
        "migration",
        f"{domain} could not migrate: {_named([nic for _host, nic in sides])} is {'; '.join(told)}",
        _REMEDY,
        (*(nic.place(host.name) for host, nic in sides), *(Place(host.name, domain) for host in missing)),
        sides[0][0].segment,
    )


def _matched(hosts: t.Iterable[tuple[Host, t.Sequence[Nic]]]) -> list[_Sides]:
    """Return a domain's NICs, each with what it is on the other hosts.

    That is the one with the same address. Of those that are declared by something else, whose addresses may differ, it
    is the one with the same alias or target, else on the same source, else the first that is left.
    """
    every: list[_Sides] = []
    for host, nics in hosts:
        free, left = list(every), list(nics)
        for same in (_same_address, _same_name, _same_source, _alike):
            rest = []
            for nic in left:
                sides = next((one for one in free if any(same(nic, other) for _host, other in one)), None)
                if sides is None:
                    rest.append(nic)
                else:
                    sides.append((host, nic))
                    free.remove(sides)
            left = rest
        every += [[(host, nic)] for nic in left]
    return every


def _same_address(one: Nic, other: Nic) -> bool:
    return bool(one.mac) and (one.mac, one.number) == (other.mac, other.number)


def _same_name(one: Nic, other: Nic) -> bool:
    return _alike(one, other) and any(name == _name(other, word) for word in _NAMES if (name := _name(one, word)))


def _same_source(one: Nic, other: Nic) -> bool:
    return _alike(one, other) and one.final("source") == other.final("source")


def _alike(one: Nic, other: Nic) -> bool:
    return one.type == other.type == "direct" and not (one.by_mac and other.by_mac)


_NAMES = ("alias", "target")


def _name(nic: Nic, word: str) -> str | None:
    """Return the alias or target that somebody has chosen."""
    name = nic.final(word)
    return None if name is None or fields.is_libvirts(word, name) else name


def _named(nics: t.Sequence[Nic]) -> str:
    """Say by what the NIC is known everywhere."""
    names = [(nic.mac, *(_name(nic, word) for word in _NAMES)) for nic in nics]
    common = [name for name, *others in zip(*names) if name and all(other == name for other in others)]
    return common[0] if common else "an interface that is not declared by its address"


def _connected(nic: Nic) -> _Connected:
    if nic.type == "direct":
        return "direct", nic.final("source"), nic.final("mode")
    return nic.type, nic.found.origin if nic.found else None, None


def _said(way: _Connected) -> str:
    kind, where, mode = way
    return f"on {where} in mode {mode}" if kind == "direct" else f"of type {kind} ({where})"
