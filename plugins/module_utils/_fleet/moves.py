# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where guests go from hosts that are to be emptied, and back, by what macvtap_host_info says of all hosts. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import arrival
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.arrival import Look, Options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.fleet import MALFORMED, damaged
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import sharing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.look import There
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.look import read as read_look
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, join_names, suggest


class Move(t.NamedTuple):
    """A guest, and the hosts that it leaves and goes to."""

    domain: str
    source: str
    destination: str


class Stuck(t.NamedTuple):
    """A guest that no host can take, and why."""

    domain: str
    source: str
    reason: str


class Moves(t.NamedTuple):
    """What is to move, and what cannot.

    ``rests`` are guests that a run has moved which was not completed, and that are stored or stand still on their
    source as well. Of those in ``completed``, something else may be left there.
    """

    moves: list[Move]
    stuck: list[Stuck]
    rests: list[Move]
    completed: list[Move]


@dataclass
class _Room:
    """What a host still has to give: MiB of memory, None if unknown, and which guests run there.

    ``there`` is the host with the guests that come to it.
    """

    free: int | None
    running: set[str]
    domains: set[str]
    there: There | None


def plan(looks: t.Mapping[str, Look], options: Options) -> Moves:
    """Return where each running guest of the sources goes, the largest ones first, and which cannot go.

    :raises MacvtapError: a source is not known, or an option names a host or a guest that there is not.
    """
    # What another host says does not keep guests from leaving.
    concerned = {*options.sources, *options.targets, *options.given.values()}
    _check({name: look for name, look in looks.items() if name in concerned})
    _validate(looks, options)
    rooms = {name: _room(looks[name]) for name in options.targets if _domains(looks.get(name)) is not None}
    moves, stuck = [], []
    grounds = {name: arrival.ground(name, looks[name], options) for name in {*rooms, *options.sources}}
    guests = [
        (domain.get("memory") or 0, source, domain)
        for source in options.sources
        for domain in _domains(looks[source]) or ()
        if domain["running"]
    ]
    # What a broken-off move has left behind: the module ends it.
    rests = [Move(name, source, host) for source in options.sources for name, host in _left(source, looks, options)]
    done = {(one.domain, one.source) for one in rests}
    for memory, source, domain in sorted(guests, key=lambda guest: (-guest[0], guest[1], guest[2]["name"])):
        name = domain["name"]
        if (name, source) in done:
            continue
        candidates = _candidates(name, source, options)
        against = {}
        for host in candidates:
            against[host] = _against(name, memory, rooms.get(host), options)
            against[host] = against[host] or arrival.parted(domain, grounds[source], grounds[host], options)
            against[host] = against[host] or arrival.taking(
                domain, grounds[source], grounds[host], rooms[host].there, options
            )
        fitting = [host for host in candidates if not against[host]]
        if not fitting:
            reasons = "; ".join(f"{host}: {reason}" for host, reason in against.items())
            stuck.append(Stuck(name, source, reasons or "there is no host that it may go to"))
            continue
        chosen = max(fitting, key=lambda host: (_prefers(name, host, options), _free(rooms[host])))
        moves.append(Move(name, source, chosen))
        room = rooms[chosen]
        room.running.add(name)
        room.there = sharing.arrived(room.there, arrival.arriving(domain, grounds[source], grounds[chosen], options))
        room.free = None if room.free is None else room.free - memory
    return Moves(moves, stuck, rests, _completed(looks, options))


def home(looks: t.Mapping[str, Look], homes: t.Mapping[str, str], begun: t.Mapping[str, str]) -> Moves:
    """Return how the guests of ``homes`` come to the hosts that it has for them, and which cannot.

    A guest that is at home, or runs nowhere, is left alone. ``begun`` is as in Options.

    :raises MacvtapError: a host's look has an unexpected form.
    """
    _check(looks)
    moves, stuck = [], []
    rests: list[Move] = []
    completed: list[Move] = []
    arrived: dict[str, There | None] = {}
    for name, host in sorted(homes.items()):
        places = [one for one, look in looks.items() if name in _running(look)]
        if len(places) > 1:
            stuck.append(Stuck(name, places[0], f"it runs on more than one host: {join_names(places)}"))
        elif not places and (silent := [one for one, look in looks.items() if _domains(look) is None]):
            stuck.append(Stuck(name, silent[0], f"it may run on {join_names(silent)}, which cannot be asked"))
        elif places and places[0] != host and _domains(looks.get(host)) is None:
            stuck.append(Stuck(name, places[0], f"{host}: {_reason(looks.get(host))}"))
        elif places and places[0] != host:
            guest = next(arrival.read(one) for one in _domains(looks[places[0]]) or () if one["name"] == name)
            there = arrived.get(host) or read_look(looks[host])
            coming = sharing.Arriving(host, guest)
            reason = arrival.refusal(sharing.check_targets, there, coming)
            if reason:
                stuck.append(Stuck(name, places[0], f"{host}: {reason}"))
                continue
            arrived[host] = sharing.arrived(there, coming)
            moves.append(Move(name, places[0], host))
        elif places and begun.get(name, host) != host and _domains(looks.get(begun[name])) is not None:
            of = rests if name in _names(looks[begun[name]]) else completed
            of.append(Move(name, begun[name], host))
    return Moves(moves, stuck, rests, completed)


def _validate(looks: t.Mapping[str, Look], options: Options) -> None:
    for name in options.sources:
        if _domains(looks.get(name)) is None:
            raise MacvtapError(f"its guests are not known: {_reason(looks.get(name))}", path=f"host {name}")
    guests = {one["name"] for name in options.sources for one in _domains(looks[name]) or ()}
    for host in options.targets:
        if host not in looks:
            hint = did_you_mean(suggest(host, looks))
            raise MacvtapError(f"{host!r} is none of the hosts{hint}", path="macvtap_migration_to")
    for guest, host in options.given.items():
        if host not in looks:
            hint = did_you_mean(suggest(host, looks))
            raise MacvtapError(f"{host!r} is none of the hosts{hint}", path=f"macvtap_migration_targets.{guest}")
        if guest not in guests and not any(guest in _names(look) for look in looks.values()):
            hint = did_you_mean(suggest(guest, guests))
            raise MacvtapError(f"no host has a domain {guest!r}{hint}", path=f"macvtap_migration_targets.{guest}")


def _check(looks: t.Mapping[str, Look]) -> None:
    """Read all that decides of each host.

    :raises MacvtapError: a host's look has an unexpected form.
    """
    for name, look in looks.items():
        if _domains(look) is None:
            continue
        try:
            for domain in _domains(look) or ():
                arrival.read(domain)
                int(domain.get("memory") or 0)
            arrival.ground("", look, Options((), ()))
            _room(look)
        except MALFORMED as exc:
            raise MacvtapError(damaged(exc), path=f"host {name}") from exc
        except MacvtapError as exc:
            raise MacvtapError(exc.message, path=f"host {name}") from exc


def unknown_apart(looks: t.Mapping[str, Look], apart: t.Iterable[t.Iterable[str]]) -> list[str]:
    """Return what is said of guests that are to be kept apart and that no host has. Nothing if one cannot be asked."""
    if any(_domains(look) is None for look in looks.values()):
        return []
    guests = {name for look in looks.values() for name in _names(look)}
    return [
        f"macvtap_migration_apart[{index}]: no host has a domain {name!r}{did_you_mean(suggest(name, guests))}"
        for index, group in enumerate(apart)
        for name in sorted(set(group) - guests)
    ]


def _left(source: str, looks: t.Mapping[str, Look], options: Options) -> t.Iterator[tuple[str, str]]:
    """Yield the domains of a host that run there and on another one, or stand still there after that; and on which.

    What is only stored on several hosts may be meant to be, unless a run that moved the guest away was not completed.
    """
    of = [one for one in _domains(looks[source]) or () if one["running"] or options.begun.get(one["name"]) == source]
    for domain in of:
        for host, look in looks.items():
            for other in _domains(look) or ():
                same = domain.get("uuid") is not None and domain["uuid"] == other.get("uuid")
                if host != source and same and other["running"]:
                    yield domain["name"], host


def _completed(looks: t.Mapping[str, Look], options: Options) -> list[Move]:
    """Return the guests that were moved away from the sources, and are on one of the targets."""
    return [
        Move(name, source, host)
        for name, source in sorted(options.begun.items())
        if source in options.sources and name not in _names(looks[source])
        for host in options.targets
        if name in _running(looks[host])
    ]


def _candidates(name: str, source: str, options: Options) -> list[str]:
    if name in options.given:
        return [options.given[name]]
    return [host for host in options.targets if host != source and host not in options.sources]


def _prefers(name: str, host: str, options: Options) -> bool:
    """Whether a guest goes there rather than to another host: the inventory declares it there."""
    return any(str(one.get("domain")) == name for one in options.declared.get(host, ()))


def _against(name: str, memory: int, room: _Room | None, options: Options) -> str:
    """Return why a host cannot take a guest, "" if nothing is against it."""
    if room is None:
        return "it cannot be asked, or takes no guests"
    if name in room.domains:
        return "it has a domain of that name"
    for group in options.apart:
        others = sorted((group - {name}) & room.running) if name in group else []
        if others:
            return f"{others[0]} runs there, from which it is kept apart"
    if room.free is not None and memory > room.free:
        return f"it needs {memory} MiB of memory, and {max(room.free, 0)} MiB are left"
    return ""


def _free(room: _Room) -> int:
    return room.free or 0


def _room(look: Look) -> _Room:
    free = look["libvirt"].get("memory_free")
    return _Room(free, _running(look), _names(look), read_look(look))


def _running(look: Look) -> set[str]:
    return {one["name"] for one in _domains(look) or () if one["running"]}


def _names(look: Look) -> set[str]:
    return {one["name"] for one in _domains(look) or ()}


def _domains(look: Look | None) -> t.Sequence[Look] | None:
    """Return the domains of a host, None if they are not known."""
    if not look or "domains" not in look or not (look.get("libvirt") or {}).get("available"):
        return None
    found: t.Sequence[Look] = look["domains"]
    return found


def _reason(look: Look | None) -> str:
    if not look:
        return "it was not looked at. Is it in the group hypervisors, or in macvtap_hosts, and not outside of --limit?"
    return str(look.get("msg") or (look.get("libvirt") or {}).get("reason") or "it was not looked at")
