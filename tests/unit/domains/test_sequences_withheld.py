# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run removes a NIC that its guest has just released for an earlier run, and the keeper has not attached yet."""

from __future__ import annotations

import typing as t

import pytest

from torture.actions import Action, Event
from torture.sequence import Sequence
from torture.world import World

from .sequences import A, B, C, D, during, macs, nic

REPLUG = {"interfaces": [{"domain": "web1", "mac": A, "source": "eth1"}], "live": "replug", "timeout": 2}
ABSENT = {"domain": "web1", "mac": A, "state": "absent"}
# The calls of such a run.
CALLS = range(45)


def asked() -> Sequence:
    """A host with the guests web1, which was asked for the NIC A and has C too, and web2, which has B."""
    world = World()
    world.start(world.add("web1", [nic(A), nic(C)]))
    world.start(world.add("web2", [nic(B)]))
    sequence = Sequence(world)
    sequence.act(Action("hang", "web1"))
    assert sequence.run(REPLUG).result["pending"]
    return sequence


@pytest.mark.parametrize(
    "params",
    [
        {"interfaces": [ABSENT], "timeout": 2},
        {"interfaces": [{"domain": "web1", "mac": C}], "purge": True, "mode": "bridge", "timeout": 2},
    ],
    ids=["absent", "purge"],
)
def test_it_is_removed_whenever_the_guest_releases_it(params: dict[str, t.Any]) -> None:
    for number in CALLS:
        sequence = asked()
        outcome = sequence.run(params, events=[Event("any", number, "before", Action("answer", "web1"))])
        sequence.act(Action("answer", "web1"))
        assert (number, outcome.rc, macs(sequence, "web1")) == (number, 0, ([C], [C]))
        sequence.close()


def test_it_comes_back_if_the_run_fails() -> None:
    fails = {"domain": "web2", "mac": D, "source": "eth0", "mode": "bridge", "model": "nonsense"}
    for number in CALLS:
        sequence = asked()
        outcome = sequence.run(
            {"interfaces": [ABSENT, fails], "timeout": 2},
            events=[Event("any", number, "before", Action("answer", "web1"))],
        )
        sequence.act(Action("answer", "web1"))
        assert (number, outcome.rc) == (number, 1)
        assert [sorted(found) for found in macs(sequence, "web1")] == [[A, C]] * 2
        sequence.close()


@pytest.mark.parametrize("others", [("refuse",), ("edit_remove", "web1", A)])
def test_it_comes_back_if_nothing_could_be_stored(others: tuple[str, ...]) -> None:
    sequence = asked()
    sequence.run(
        {"interfaces": [ABSENT], "timeout": 2},
        events=[during("open", "answer", "web1", side="after"), during("define", *others)],
    )
    sequence.act(Action("answer", "web1"))
    stored, live = macs(sequence, "web1")
    assert sorted(live) == ([A, C] if others == ("refuse",) else sorted(stored))


def test_with_live_none_the_guest_gets_it_back() -> None:
    sequence = asked()
    sequence.run(
        {"interfaces": [ABSENT], "live": "none", "timeout": 2}, events=[during("open", "answer", "web1", side="after")]
    )
    sequence.act(Action("answer", "web1"))
    stored, live = macs(sequence, "web1")
    assert (stored, sorted(live)) == ([C], [A, C])
