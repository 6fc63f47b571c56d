# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Pauses on a model of libvirt, with others acting at every call of a run and of the keeper: see tests/torture.

The sequence looks at what is promised: no guest stays saved, none is booted, no image of a guest that runs is left, and
what the run returns is true.
"""

from __future__ import annotations

import typing as t

import pytest

from torture.actions import Action, Event
from torture.nics import Nic
from torture.sequence import Sequence
from torture.world import World

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")
MOVED = {"interfaces": [{"domain": "web1", "mac": A}, {"domain": "web2", "mac": B}], "source": "eth1", "live": "pause"}
# The last entry fails when the others are done, so that they are rolled back.
FAILS = {
    **MOVED,
    "interfaces": [*t.cast("list[t.Any]", MOVED["interfaces"]), {"domain": "web2", "mac": C, "model": "nonsense"}],
}

# The calls before that read and store, which other sequences are about.
FIRST = 36


def host(*, systemd: bool = False) -> Sequence:
    """A host with the running guests web1, which has the NIC A, and web2, which has B."""
    world = World()
    for name, mac in (("web1", A), ("web2", B)):
        world.start(world.add(name, [Nic(mac, source="eth0", mode="bridge", model="virtio")]))
    return Sequence(world, systemd=systemd)


def sources(sequence: Sequence) -> list[tuple[str, str]]:
    """Return the source of each domain's first NIC, stored and live."""
    guests = sequence.world.guests.values()
    return [((one.stored or [])[0].source, (one.live or [])[0].nic.source) for one in guests]


def test_guests_are_paused_and_get_their_nic_on_the_other_source() -> None:
    sequence = host()
    outcome = sequence.run(MOVED)
    assert outcome.rc == 0
    assert [(one["domain"], one["way"]) for one in outcome.result["pauses"]] == [("web1", "pause"), ("web2", "pause")]
    assert sources(sequence) == [("eth1", "eth1")] * 2
    assert [guest.reason for guest in sequence.world.guests.values()] == [3, 3]


def test_a_rollback_pauses_them_once_more() -> None:
    sequence = host()
    outcome = sequence.run(FAILS)
    assert outcome.message.endswith("The host is as it was before")
    assert sources(sequence) == [("eth0", "eth0")] * 2


def test_a_nic_that_was_only_stored_goes_again_when_a_signal_comes_after_a_pause() -> None:
    sequence = host()
    sequence.act(Action("edit_add", "web1", C))
    outcome = sequence.run(
        {"interfaces": [{"domain": "web1", "mac": mac} for mac in (A, C)], "source": "eth1", "live": "pause"},
        events=[Event("attach", 0, "after", Action("sigterm"))],
    )
    assert outcome.message.endswith("The host is as it was before")
    assert [[one.nic.mac for one in guest.live or ()] for guest in sequence.world.guests.values()] == [[A], [B]]


@pytest.mark.parametrize(
    ("what", "params"),
    [
        (("restart_libvirtd",), FAILS),
        (("kill",), FAILS),
        (("save", "web1"), FAILS),
        (("sigterm",), MOVED),
        (("refuse",), MOVED),
        (("stop", "web1"), MOVED),
        (("start", "web1"), MOVED),
        (("discard_save", "web1"), MOVED),
        (("edit_source", "web1", A), MOVED),
    ],
    ids=lambda what: what[0] if isinstance(what, tuple) else "",
)
def test_whatever_happens_at_one_call_no_guest_is_lost(what: tuple[str, ...], params: t.Any) -> None:
    """After one call is before the next one."""
    # What comes before the keeper has been told is not about pauses.
    call, calls = FIRST, FIRST + 1
    while call < calls:
        sequence = host(systemd=call % 2 == 1)
        sequence.run(params, events=[Event("any", call, "before", Action(*what))])
        calls = max(calls, sequence.finished[1][0].calls)
        sequence.close()
        call += 1
