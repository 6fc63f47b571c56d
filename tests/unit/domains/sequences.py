# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of sequences of runs share: a host on the model of libvirt, and what others do at which call."""

from __future__ import annotations

import typing as t

from torture.actions import Action, Event
from torture.nics import Nic
from torture.sequence import Sequence
from torture.world import World

A, B, C, D = (f"52:54:00:00:00:0{digit}" for digit in "abcd")


def nic(mac: str, source: str = "eth0", **more: t.Any) -> Nic:
    return Nic(mac, source=source, mode="bridge", model="virtio", **more)


def host(*, systemd: bool = False, reports: bool = False, **running: bool) -> Sequence:
    """A host with the domain web1, which has the NIC A, and web2, which has B."""
    world = World()
    for name, mac in (("web1", A), ("web2", B)):
        guest = world.add(name, [nic(mac)])
        if running.get(name, True):
            world.start(guest)
    return Sequence(world, systemd=systemd, reports=reports)


def during(call: str, *action: t.Any, nth: int = 0, side: str = "before") -> Event:
    return Event(call, nth, side, Action(*action))


def macs(sequence: Sequence, name: str) -> tuple[list[str], list[str]]:
    """Return the addresses that a domain has stored, and live."""
    guest = sequence.world.named(name)
    assert guest is not None
    return [one.mac for one in guest.stored or ()], [one.nic.mac for one in guest.live or ()]
