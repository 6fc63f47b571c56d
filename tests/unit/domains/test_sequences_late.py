# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that release a NIC late, or never: it comes back unless a run that succeeded has removed it."""

from __future__ import annotations

import typing as t

import pytest

from torture.actions import Action, Event
from torture.sequence import Sequence
from torture.world import World

from .sequences import A, B, C, during, host, macs, nic


def rolled_back(*events: Event) -> tuple[Sequence, str]:
    """A host on which the removal of web2's NIC was rolled back, its guest has yet to answer, and the run's message."""
    sequence = host()
    sequence.act(Action("hang", "web2"))
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web2", "mac": B, "state": "absent"},
                {"domain": "web1", "mac": C, "source": "eth0", "mode": "bridge", "model": "nonsense"},
            ],
            "timeout": 1,
        },
        events=[*events],
    )
    assert outcome.rc == 1
    return sequence, outcome.message


def test_a_nic_comes_back_that_a_guest_releases_after_the_run_has_rolled_back() -> None:
    sequence, message = rolled_back()
    assert "The host is as it was before" not in message
    sequence.act(Action("answer", "web2"))
    assert macs(sequence, "web2") == ([B], [B])


def test_a_nic_comes_back_too_that_the_rollback_could_not_store_again() -> None:
    sequence, message = rolled_back(*(during("define", "refuse", nth=nth) for nth in (2, 3)))
    assert "The rollback is incomplete" in message
    sequence.act(Action("answer", "web2"))
    assert macs(sequence, "web2") == ([], [B])
    # Whoever wants it gone says so to a run that succeeds.
    assert sequence.run({"domain": "web2", "mac": B, "state": "absent"}).rc == 0
    assert macs(sequence, "web2") == ([], [])


@pytest.mark.parametrize("how", ["answer", "reset"])
def test_a_replugged_nic_comes_back_whenever_the_guest_releases_it(how: str) -> None:
    sequence = host()
    sequence.act(Action("hang", "web1"))
    outcome = sequence.run({"domain": "web1", "mac": A, "source": "eth1", "live": "replug", "timeout": 1})
    assert outcome.rc == 0
    assert outcome.result["pending"]
    sequence.act(Action(how, "web1"))
    assert macs(sequence, "web1") == ([A], [A])


@pytest.mark.parametrize("signal", ["sigterm", "kill"])
def test_a_replugged_nic_comes_back_whatever_ends_the_run(signal: str) -> None:
    sequence = host()
    sequence.act(Action("hang", "web1"))
    sequence.run(
        {"domain": "web1", "mac": A, "source": "eth1", "live": "replug"},
        events=[during("sleep", "answer", "web1", nth=1), during("attach", signal)],
    )


@pytest.mark.parametrize("systemd", [False, True])
@pytest.mark.parametrize("which", ["supervisor", "worker", "both"])
def test_whenever_the_keeper_is_killed_the_nic_comes_back(which: str, systemd: bool) -> None:
    """At once where anything is left to start it again, and with the next run else, whatever that is about."""
    nth, killed = 0, True
    while killed:
        sequence = host(systemd=systemd)
        sequence.act(Action("hang", "web1"))
        sequence.run({"domain": "web1", "mac": A, "source": "eth1", "live": "replug", "timeout": 1})
        kill = [during("keeper", "kill_keeper", "", which, nth=nth)]
        sequence.act(Action("answer", "web1"), events=kill)
        killed = "kill_keeper" in str(sequence.stage.trace)
        if sequence.owner.gone:
            sequence.run({"domain": "web2", "mac": B})
        assert macs(sequence, "web1") == ([A], [A])
        sequence.close()
        nth += 1
    assert nth > 5


def test_a_nic_comes_back_at_whichever_call_of_the_keeper_it_is_released() -> None:
    for nth in range(12):
        for side in ("before", "after"):
            sequence = host()
            sequence.act(Action("hang", "web1"))
            sequence.run({"domain": "web1", "mac": A, "source": "eth1", "live": "replug", "timeout": 1})
            sequence.act(Action("hang", "web1"), events=[Event("keeper", nth, side, Action("reset", "web1"))])
            sequence.act(Action("reset", "web1"))
            assert macs(sequence, "web1") == ([A], [A]), (nth, side)
            sequence.close()


@pytest.mark.parametrize("how", ["stop", "save"])
@pytest.mark.parametrize("again", [[], ["edit_source"], ["edit_remove"]])
def test_the_keeper_attaches_once_whatever_the_guest_does_meanwhile(how: str, again: list[str]) -> None:
    """The guest stops and starts between two calls of the keeper: it has what is stored then."""
    for nth in range(12):
        for side in ("before", "after"):
            sequence = host()
            sequence.act(Action("hang", "web1"))
            sequence.run({"domain": "web1", "mac": A, "source": "eth1", "live": "replug", "timeout": 1})
            others = [Action(how, "web1"), *(Action(what, "web1", A) for what in again), Action("start", "web1")]
            sequence.act(Action("answer", "web1"), events=[Event("keeper", nth, side, one) for one in others])
            stored, live = macs(sequence, "web1")
            assert live.count(A) == 1 or not stored, (nth, side, sequence.stage.trace)
            sequence.close()


def test_a_guest_that_restarts_right_before_it_gets_a_nic_has_it_once() -> None:
    sequence = host()
    anew = (("stop", "web1"), ("edit_source", "web1", A), ("start", "web1"))
    sequence.run(
        {"domain": "web1", "mac": A, "source": "eth1", "live": "replug"},
        events=[during("attach", *what) for what in anew],
    )
    assert macs(sequence, "web1") == ([A], [A])


def test_a_guest_that_is_saved_right_before_it_is_asked_was_not_asked() -> None:
    sequence = host()
    outcome = sequence.run(
        {"domain": "web1", "mac": A, "source": "eth1", "live": "replug"},
        events=[during("detach", "save", "web1")],
    )
    assert outcome.result["pending"] == []
    assert "was asked to release" not in str(outcome.warnings)
    sequence.act(Action("start", "web1"))
    assert sequence.run({"domain": "web1", "mac": A, "live": "none"}).result["pending"] == []


def test_what_was_released_before_the_guest_was_saved_and_is_removed_since_is_not_outstanding() -> None:
    world = World()
    guest = world.add("web1", [nic(A), nic(B)])
    world.start(guest)
    sequence = Sequence(world)
    replug = {"domain": "web1", "mac": A, "source": "eth1", "live": "replug"}
    # It lets go, and is saved before the NIC is attached again.
    outcome = sequence.run(replug, events=[during("attach", "save", "web1")])
    assert [one["mac"] for one in outcome.result["pending"]] == [A]
    assert "the guest has released this NIC" in str(outcome.warnings)
    assert sequence.run({"domain": "web1", "mac": A, "state": "absent"}).result["pending"] == []


def test_a_request_has_ended_whose_guest_was_saved_and_discarded() -> None:
    sequence = host()
    sequence.act(Action("hang", "web1"))
    replug: t.Any = {"domain": "web1", "mac": A, "source": "eth1", "live": "replug", "timeout": 1}
    assert [one["state"] for one in sequence.run(replug).result["pending"]] == ["held"]
    sequence.act(Action("save", "web1"))
    stored: t.Any = {"domain": "web1", "mac": A, "mode": "private", "live": "none"}
    outcome = sequence.run(stored, events=[during("define", "discard_save", "web1")])
    assert (outcome.rc, outcome.result["pending"]) == (0, [])


@pytest.mark.parametrize("editor", ["edit_remove", "undefine"])
@pytest.mark.parametrize(
    ("later", "has"),
    [
        (None, [A]),
        ({"state": "absent"}, []),
        # It is removed from what is stored alone, by others and by this run.
        ({"state": "absent", "live": "none"}, [A]),
    ],
)
def test_only_a_run_takes_a_nic_from_a_running_guest(editor: str, later: dict[str, str] | None, has: list[str]) -> None:
    sequence = host()
    sequence.act(Action("hang", "web1"))
    sequence.run({"domain": "web1", "mac": A, "source": "eth1", "live": "replug"})
    sequence.act(Action(editor, "web1", A))
    if later is not None:
        outcome = sequence.run({"domain": "web1", "mac": A, **later})
        assert bool(outcome.result["pending"]), outcome
    sequence.act(Action("answer", "web1"))
    assert macs(sequence, "web1")[1] == has


@pytest.mark.parametrize("on_error", ["rollback", "keep"])
@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_a_run_was_stopped_before_asking_for_is_not_pending(nth: int, side: str, on_error: str) -> None:
    sequence = host()
    absent = {"domain": "web1", "mac": A, "state": "absent", "on_error": on_error}
    sequence.run(absent, events=[during("keep", "sigterm", nth=nth, side=side)])
    outcome = sequence.run({**absent, "state": "present", "source": "eth0", "live": "none"})
    assert outcome.result["pending"] == []


@pytest.mark.parametrize("stopped", [during("keep", "sigterm", side="after"), during("detach", "refuse")])
def test_an_earlier_runs_request_stays_registered_when_a_later_run_does_not_reach_it(stopped: Event) -> None:
    sequence = host()
    sequence.act(Action("hang", "web1"))
    replug = {"domain": "web1", "mac": A, "source": "eth1", "live": "replug", "timeout": 1}
    assert sequence.run(replug).result["pending"]
    assert sequence.run(replug, events=[stopped]).rc == 1
    sequence.act(Action("answer", "web1"))
    assert macs(sequence, "web1") == ([A], [A])


@pytest.mark.parametrize("reports", [False, True])
def test_a_nic_that_a_guest_releases_right_after_the_rollback_has_looked_comes_back(reports: bool) -> None:
    """It is stored nowhere, so no keeper attaches it."""
    sequence = host(reports=reports)
    sequence.act(Action("attach", "web2", C))
    sequence.act(Action("hang", "web2"))
    outcome = sequence.run(
        {"domain": "web2", "mac": C, "state": "absent", "live": "replug", "timeout": 1},
        events=[during("lookup", "restart_libvirtd", nth=4), during("job", "reset", "web2", nth=1)],
    )
    assert (outcome.rc, macs(sequence, "web2")) == (1, ([B], [B, C]))
    assert outcome.message.endswith("The host is as it was before")


@pytest.mark.parametrize("how", ["answer", "reset"])
def test_a_nic_that_only_the_guest_has_comes_back_however_late_it_is_released(how: str) -> None:
    sequence = host()
    sequence.act(Action("attach", "web2", C))
    sequence.act(Action("hang", "web2"))
    outcome = sequence.run(
        {"domain": "web2", "mac": C, "state": "absent", "timeout": 1},
        events=[during("detach", "restart_libvirtd", side="after")],
    )
    assert outcome.message.endswith("asked to release this NIC and may still do so. It is then attached again")
    sequence.act(Action(how, "web2"))
    assert macs(sequence, "web2") == ([B], [B, C])


def test_a_removal_stays_outstanding_at_whichever_look_the_guest_is_saved() -> None:
    for nth in range(10):
        for side in ("before", "after"):
            sequence = host()
            sequence.act(Action("hang", "web1"))
            sequence.run(
                {"domain": "web1", "mac": A, "state": "absent", "timeout": 1},
                events=[during("lookup", "save", "web1", nth=nth, side=side)],
            )
            sequence.close()
