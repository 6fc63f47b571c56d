# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Actions of others on the model's host: guests and their users, other editors, and the host itself."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from torture.guests import OTHERS, UNPAUSED, Guest, RefusedError
from torture.nics import Nic
from torture.world import SOURCES, World


class Action(t.NamedTuple):
    """An action on a domain. ``value`` is a MAC address, a link, or the options of another run."""

    name: str
    domain: str = ""
    value: t.Any = ""


class Event(t.NamedTuple):
    """An action of others at the ``nth`` call (from 0) of this name ("any": of all), before or after it.

    "keeper" are the calls of the keeper, from the run's beginning on, or from when something was done between runs.
    """

    call: str
    nth: int
    side: str
    action: Action


# Events of the host: the keeper checks it, or its processes are killed.
OF_THE_HOST = ("restart_libvirtd", "keeper", "kill_keeper")
# Events that end or disturb the run.
OF_A_RUN = ("kill", "sigterm", "refuse", "run", *OF_THE_HOST)
# The keeper's processes: one of them, or both.
PROCESSES = ("supervisor", "worker", "both")


def apply(world: World, action: Action) -> t.Any:
    """Carry out the action. Return its result, or None if it is not possible."""
    if action.name == "define_again":
        if world.named(action.domain) is None:
            world.add(action.domain, [Nic(action.value, mode="bridge", model="virtio")], memory=4096)
        return None
    guest = world.named(action.domain)
    return None if guest is None else _OF_A_GUEST[action.name](world, guest, action.value)


def _undefine(world: World, guest: Guest, _value: str) -> None:
    if guest.stored is not None and guest.saved is None:
        world.undefine(guest)


def _hang(_world: World, guest: Guest, _value: str) -> None:
    guest.answers = False


def _answer(world: World, guest: Guest, _value: str) -> None:
    guest.answers = True
    if guest.paused:
        guest.paused, guest.reason = False, UNPAUSED
    world.tick()


def _pause(_world: World, guest: Guest, _value: str) -> None:
    guest.paused = guest.running


def _edit_memory(_world: World, guest: Guest, _value: str) -> None:
    if guest.stored is not None:
        guest.memory += 1


def _edit_add(_world: World, guest: Guest, mac: str) -> None:
    if guest.stored is None or guest.stored_nic(mac) is not None:
        return
    taken = {nic.address for nic in guest.stored} | {one.nic.address for one in guest.live or ()}
    bus = next(bus for bus in range(1, 256) if bus not in taken)
    guest.stored.append(Nic(mac, source="eth1", mode="private", model="e1000e", address=bus))


def _edit_remove(_world: World, guest: Guest, mac: str) -> None:
    if guest.stored is not None:
        guest.stored = [nic for nic in guest.stored if nic.mac != mac]


def _edit_mode(_world: World, guest: Guest, mac: str) -> None:
    if guest.stored is not None:
        guest.stored = [
            replace(nic, mode="private") if nic.mac == mac and nic.type == "direct" and not nic.network else nic
            for nic in guest.stored
        ]


def _edit_source(_world: World, guest: Guest, mac: str) -> None:
    if guest.stored is not None:
        guest.stored = [
            replace(nic, source=SOURCES[-1]) if nic.mac == mac and nic.type == "direct" and not nic.network else nic
            for nic in guest.stored
        ]


def _edit_network(_world: World, guest: Guest, mac: str) -> None:
    if guest.stored is not None:
        guest.stored = [
            replace(nic, network="lan1", source="", mode="") if nic.mac == mac and nic.type == "direct" else nic
            for nic in guest.stored
        ]


def _stop_network(world: World, _guest: Guest, _value: str) -> None:
    world.inactive = frozenset({"lan1"})


def _start_network(world: World, _guest: Guest, _value: str) -> None:
    world.inactive = frozenset()


def _attach(world: World, guest: Guest, mac: str) -> bool:
    if guest.live_nic(mac) is not None:
        return False
    try:
        world.attach(guest, Nic(mac, source="eth1", mode="private", model="virtio"), OTHERS)
    except RefusedError:
        return False
    return True


def _detach(world: World, guest: Guest, mac: str) -> bool:
    found = guest.live_nic(mac)
    try:
        if found is None or found.asked is not None:
            return False
        world.ask(guest, found.nic.alias, OTHERS)
    except RefusedError:
        return False
    return True


def _begin_job(_world: World, guest: Guest, _value: str) -> None:
    guest.job = guest.running


def _end_job(_world: World, guest: Guest, _value: str) -> None:
    guest.job = False


def _migrate_away(world: World, guest: Guest, _value: str) -> None:
    if guest.job:
        del world.guests[guest.uuid]


def _discard_save(_world: World, guest: Guest, _value: str) -> None:
    guest.saved = None


_OF_A_GUEST: t.Mapping[str, t.Callable[[World, Guest, str], t.Any]] = {
    "start": lambda world, guest, _value: world.start(guest),
    "stop": lambda world, guest, _value: world.stop(guest) if guest.running else None,
    "reset": lambda world, guest, _value: world.reset(guest),
    "hang": _hang,
    "answer": _answer,
    "pause": _pause,
    "save": lambda world, guest, _value: world.save(guest),
    "discard_save": _discard_save,
    "undefine": _undefine,
    "edit_memory": _edit_memory,
    "edit_add": _edit_add,
    "edit_remove": _edit_remove,
    "edit_mode": _edit_mode,
    "edit_source": _edit_source,
    "edit_network": _edit_network,
    "stop_network": _stop_network,
    "start_network": _start_network,
    "attach": _attach,
    "detach": _detach,
    "begin_job": _begin_job,
    "end_job": _end_job,
    "migrate_away": _migrate_away,
}
NAMES = (*_OF_A_GUEST, "define_again")
