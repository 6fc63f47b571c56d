# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_iface on a model of libvirt, with others acting at the worst moment: see tests/torture."""

from __future__ import annotations

import typing as t

import pytest

from torture.actions import Action
from torture.examples import run_short
from torture.machine import DirectIface
from torture.nics import Nic
from torture.sequence import Sequence
from torture.stage import Event
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


@pytest.mark.parametrize("live", ["none", "update", "replug"])
def test_a_rollback_leaves_a_guest_alone_that_was_started_meanwhile(live: str) -> None:
    sequence = host(web1=False)
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "driver": {"queues": 4}},
                {"domain": "web2", "mac": B, "model": "e1000e"},
            ],
            "live": live,
        },
        events=[during("define", "start", "web1", nth=1), during("define", "refuse", nth=1)],
    )
    assert outcome.rc == 1
    assert macs(sequence, "web1") == ([A], [A])


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


def test_one_guest_that_stops_during_a_replug_costs_no_other_its_nic() -> None:
    sequence = host()
    sequence.run(
        {
            "interfaces": [{"domain": "web2", "mac": B}, {"domain": "web1", "mac": A}],
            "source": "eth1",
            "live": "replug",
        },
        events=[during("attach", "stop", "web1")],
    )
    assert macs(sequence, "web2")[1] == [B]


def test_a_guest_that_stops_is_no_failure_of_the_rollback() -> None:
    sequence = host()
    sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "mode": "private"},
                {"domain": "web2", "mac": C, "source": "eth0", "mode": "bridge", "model": "nonsense"},
            ]
        },
        events=[during("attach", "stop", "web1")],
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"source": "eth0", "state": "absent"},
        {"source": "eth0", "mode": "bridge"},
        {"alias": "ua-lan", "state": "absent"},
        {"target": "lan0", "state": "absent"},
    ],
)
def test_a_nic_that_is_stored_otherwise_is_not_found_by_what_the_running_guest_has(entry: dict[str, str]) -> None:
    world = World()
    guest = world.add("web1", [nic(A, alias="ua-lan", target="lan0")])
    world.start(guest)
    sequence = Sequence(world)
    moved = {"source": "eth1", "alias": "ua-wan", "target": "wan0"}
    sequence.run({"domain": "web1", "mac": A, **moved})
    sequence.run({"domain": "web1", **entry})
    assert A in macs(sequence, "web1")[0]
    assert sequence.world.guests[guest.uuid].stored_nic(A) == nic(A, address=1, **moved)


@pytest.mark.parametrize("entry", [{"source": "eth1"}, {"alias": "ua-lan"}, {"target": "lan0", "source": "eth1"}])
def test_what_a_run_leaves_in_a_guest_until_its_restart_is_not_found_instead_of_what_is_stored(
    entry: dict[str, str],
) -> None:
    for stored in ([B], []):
        world = World()
        guest = world.add("web1", [nic(A, source="eth1", alias="ua-lan", target="lan0")])
        world.start(guest)
        guest.stored = [nic(mac, address=2, source="eth1", alias="ua-lan", target="lan0") for mac in stored]
        outcome = Sequence(world).run({"domain": "web1", "mode": "private", "live": "none", **entry})
        # Where nothing is stored it is found, as ever.
        assert [one["mac"] for one in outcome.result["interfaces"]] == (stored or [A])


def test_no_nic_on_a_link_includes_one_that_only_the_guest_has_once_the_stored_one_is_another_entrys() -> None:
    sequence = host()
    sequence.act(Action("hang", "web1"))
    sequence.run({"domain": "web1", "mac": A, "state": "absent", "timeout": 1})
    sequence.run({"domain": "web1", "alias": "ua-lan", "source": "eth0", "mode": "bridge"})
    # As in two runs of which the first removes ua-lan: the second finds what the guest still has on eth0.
    entries = [{"domain": "web1", "source": "eth0"}, {"domain": "web1", "alias": "ua-lan"}]
    outcome = sequence.run({"interfaces": entries, "state": "absent", "timeout": 1})
    assert macs(sequence, "web1")[0] == []
    assert {one["mac"] for one in outcome.result["pending"]} >= {A}


def test_a_purge_that_leaves_running_guests_alone_can_be_run_again() -> None:
    sequence = host(web1=True)
    sequence.run({"domain": "web1", "mac": A, "source": "eth1", "live": "none"})
    # The guest still has it on eth0.
    sequence.run({"interfaces": [{"domain": "web1", "source": "eth0"}], "purge": True, "live": "none"})
    stored, live = macs(sequence, "web1")
    assert live == [A]
    assert stored != [A]


def test_two_runs_at_once_do_not_lose_each_others_change() -> None:
    sequence = host(web1=False)
    other = {"domain": "web1", "mac": C, "source": "eth0", "mode": "bridge"}
    sequence.run(
        {"domain": "web1", "mac": D, "source": "eth1", "mode": "bridge"}, events=[during("define", "run", "", other)]
    )
    # The other one waits, or fails, or both are done; that nothing is lost the sequence sees to.


@pytest.mark.parametrize("options", [{"mode": "private"}, {"model": "e1000e"}, {"state": "absent"}])
def test_differences_of_a_managed_save_image_are_reported(options: dict[str, str]) -> None:
    sequence = host()
    sequence.act(Action("save", "web1"))
    outcome = sequence.run({"domain": "web1", "mac": A, **options})
    assert outcome.rc == 0


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


def test_a_run_that_came_too_late_for_a_guest_has_changed_nothing() -> None:
    sequence = host()
    sequence.act(Action("attach", "web1", C))
    outcome = sequence.run(
        {"domain": "web1", "mac": A, "source": "eth0", "purge": True}, events=[during("links", "stop", "web1")]
    )
    assert not outcome.result["changed"]
    assert "the guest stopped while this ran" in str(outcome.warnings)


@pytest.mark.parametrize("nth", [0, 1])
def test_a_managed_save_that_is_not_read_since_libvirtd_is_restarted_is_not_one_without_nics(nth: int) -> None:
    sequence = host()
    sequence.act(Action("save", "web1"))
    outcome = sequence.run(
        {"domain": "web1", "mac": A, "source": "eth0"}, events=[during("saved", "restart_libvirtd", nth=nth)]
    )
    assert outcome.result["restart_required"] == []


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


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("what", ["start", "discard_save"])
@pytest.mark.parametrize("declared", [{"mac": A}, {"mac": A, "state": "absent"}, {"mac": A, "source": "eth1"}])
def test_a_guest_that_is_restored_between_two_looks_at_its_save(nth: int, what: str, declared: dict[str, str]) -> None:
    sequence = host()
    sequence.act(Action("save", "web1"))
    outcome = sequence.run({"domain": "web1", **declared}, events=[during("saved", what, "web1", nth=nth)])
    assert outcome.rc == 0


@pytest.mark.parametrize(
    ("declared", "others"),
    [({"state": "absent"}, "edit_remove"), ({"source": "eth1"}, "edit_source"), ({"mode": "private"}, "edit_mode")],
)
def test_what_libvirt_refused_to_store_and_another_editor_stored_is_not_rolled_back(
    declared: dict[str, str], others: str
) -> None:
    sequence = host()
    events = [during("define", "refuse"), during("define", others, "web1", A)]
    outcome = sequence.run({"domain": "web1", "mac": A, **declared}, events=events)
    assert "The host is as it was before" in outcome.message
    assert sequence.world.named("web1") == sequence.stage.shadow.named("web1")


def test_a_nic_that_libvirt_refused_and_others_attached_stays() -> None:
    sequence = host()
    events = [during("attach", "refuse"), during("attach", "attach", "web1", C)]
    sequence.run({"domain": "web1", "mac": C, "source": "eth0"}, events=events)
    assert macs(sequence, "web1")[1] == [A, C]


def test_a_transient_domain_that_has_gone_was_not_changed() -> None:
    sequence = host()
    sequence.act(Action("undefine", "web1"))
    stopped = [during("job", "stop", "web1")]
    outcome = sequence.run({"domain": "web1", "mac": A, "state": "absent"}, events=stopped)
    assert not outcome.result["changed"]


def test_a_domain_that_goes_meanwhile_keeps_no_other_from_being_put_back() -> None:
    sequence = host(web1=False)
    sequence.run(
        {
            "interfaces": [
                {"domain": "web2", "mac": B, "model": "e1000e"},
                {"domain": "web1", "mac": A, "model": "e1000e"},
            ],
        },
        events=[during("define", "undefine", "web1", nth=1), during("define", "refuse", nth=1)],
    )
    guest = sequence.world.named("web2")
    assert guest is not None
    assert guest.stored == [nic(B, address=1)]


def test_a_nic_is_detached_by_the_alias_that_it_has_at_that_moment() -> None:
    world = World()
    guest = world.add("web1", [nic(A), nic(B)])
    world.start(guest)
    sequence = Sequence(world)
    sequence.run(
        {"domain": "web1", "mac": A, "state": "absent"},
        events=[
            during("define", "stop", "web1"),
            during("define", "start", "web1", side="after"),
        ],
    )
    assert macs(sequence, "web1") == ([B], [B])


def test_libvirtd_that_is_restarted_midway_leaves_nothing_half_done() -> None:
    sequence = host()
    sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "source": "eth1"},
                {"domain": "web2", "mac": B, "source": "eth1"},
            ],
            "live": "replug",
        },
        events=[during("attach", "restart_libvirtd", nth=1)],
    )
    assert macs(sequence, "web1")[1] == [A]
    assert macs(sequence, "web2")[1] == [B]


@pytest.mark.parametrize("what", [("restart_libvirtd",), ("sigterm",), ("kill",), ("kill_keeper", "", "both")])
@pytest.mark.parametrize(
    "options",
    [
        {"mode": "private", "link_state": "down"},
        {"source": "eth1", "live": "replug"},
        {"state": "absent", "model": "e1000e"},
    ],
)
def test_whatever_happens_at_one_call_of_a_run_it_is_the_same_at_each(
    what: tuple[str, ...], options: dict[str, t.Any]
) -> None:
    """What is promised holds: the sequence looks at that."""
    call, calls = 0, 1
    while call < calls:
        sequence = host()
        sequence.act(Action("hang", "web2"))
        interfaces = [{"domain": "web1", "mac": A, **options}, {"domain": "web2", "mac": B, **options}]
        for one in interfaces:
            one.pop("live", None)
        run = {"interfaces": interfaces, "live": options.get("live", "update"), "timeout": 0}
        sequence.run(run, events=[during("any", *what, nth=call)])
        sequence.act(Action("answer", "web2"))
        calls = max(calls, sequence.finished[1][0].calls)
        sequence.close()
        call += 1


@pytest.mark.parametrize("nth", range(8))
def test_a_domain_that_disappears_while_domains_are_listed_is_not_transient(nth: int) -> None:
    sequence = host(web2=False)
    outcome = sequence.run(
        {"domain": "web2", "mac": C, "source": "eth1", "mode": "bridge"},
        events=[during("list", "undefine", "web2", nth=nth, side="after")],
    )
    assert outcome.rc == 1


@pytest.mark.parametrize("nth", range(16, 32))
def test_libvirtd_that_is_restarted_while_domains_are_read_keeps_nothing_from_being_put_back(nth: int) -> None:
    sequence = host(web1=False, web2=False)
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "mode": "private"},
                {"domain": "web2", "mac": C, "source": "eth0", "mode": "bridge"},
            ]
        },
        events=[during("define", "refuse", nth=1), during("list", "restart_libvirtd", nth=nth)],
    )
    assert outcome.message.endswith("The host is as it was before")


@pytest.mark.parametrize("nth", [2, 3])
def test_libvirtd_that_is_restarted_while_the_other_domains_are_read_makes_none_one_that_may_not_be_read(
    nth: int,
) -> None:
    run = {"domain": "web1", "source": "eth1", "mode": "bridge"}
    assert host().run(run, events=[during("read", "restart_libvirtd", nth=nth)]).rc == 0


def test_a_signal_behind_a_failed_way_back_does_not_hide_what_is_left() -> None:
    sequence = host(web1=False)
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "model": "e1000e"},
                {"domain": "web2", "mac": C, "source": "eth0", "mode": "bridge", "model": "nonsense"},
            ]
        },
        # The way back of web1, and the look at what is outstanding at the end of all.
        events=[during("define", "refuse", nth=2), during("links", "sigterm", nth=3)],
    )
    assert sequence.finished[1][0].events == []
    assert "The rollback failed as well" in outcome.message


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


@pytest.mark.parametrize("edit", [("edit_memory", "web1"), ("edit_mode", "web1", A), ("edit_add", "web1", D)])
def test_what_another_editor_stores_right_after_this_run_stays_when_that_is_put_back(edit: tuple[str, ...]) -> None:
    sequence = host(web1=False)
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "source": "eth1"},
                {"domain": "web2", "mac": B, "source": "eth1"},
            ]
        },
        events=[during("define", *edit, side="after"), during("define", "refuse", nth=1)],
    )
    assert outcome.rc == 1
    guest = sequence.world.named("web1")
    assert guest is not None
    (now,) = (one for one in guest.stored or () if one.mac == A)
    assert now == nic(A, address=1) or (edit[0] == "edit_mode" and now.mode == "private" and now.source == "eth0")


def test_a_domain_that_is_migrating_is_not_stored() -> None:
    sequence = host()
    sequence.act(Action("begin_job", "web1"))
    sequence.run({"domain": "web1", "mac": A, "source": "eth1"})


@pytest.mark.parametrize("reports", [False, True])
def test_a_domain_that_starts_and_migrates_before_it_is_stored_is_not_stored(reports: bool) -> None:
    """Seen by its look-up, or by the event of its start."""
    sequence = host(web1=False, reports=reports)
    call, nth = ("version", 1) if reports else ("lookup", 0)
    events = [during(call, what, "web1", nth=nth) for what in ("start", "begin_job")]
    outcome = sequence.run({"domain": "web1", "mac": A, "source": "eth1"}, events=events)
    assert (outcome.rc, "is migrating" in outcome.result["msg"]) == (1, True)
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


@pytest.mark.parametrize("reports", [False, True])
def test_a_domain_that_is_undefined_after_its_job_was_read_stays_so(reports: bool) -> None:
    """Its guest runs on, and libvirt shows the same XML as before."""
    world = World()
    world.start(world.add("web1", []))
    sequence = Sequence(world, reports=reports)
    outcome = sequence.run(
        {"domain": "web1", "mac": D, "source": "eth1", "live": "none"},
        events=[during("job", "undefine", "web1", nth=1, side="after")],
    )
    assert (outcome.rc, "was undefined" in outcome.result["msg"]) == (1, True)
    assert macs(sequence, "web1") == ([], [])


def test_a_guest_that_arrives_while_its_domain_is_stored_is_no_silent_loss() -> None:
    sequence = host(web1=False, reports=True)
    events = [during("define", what, "web1") for what in ("start", "begin_job")]
    outcome = sequence.run({"domain": "web1", "mac": A, "source": "eth1"}, events=events)
    assert (outcome.rc, "is migrating" in outcome.result["msg"]) == (1, True)


def test_a_run_that_changed_something_reports_it_after_a_second_attempt() -> None:
    sequence = host(web1=False, web2=False)
    sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "mode": "private"},
                {"domain": "web2", "mac": B, "mode": "private"},
            ],
            "on_error": "keep",
        },
        events=[during("read", "edit_mode", "web2", B, nth=4)],
    )


def test_what_an_earlier_attempt_has_kept_is_not_denied_when_the_last_one_fails() -> None:
    sequence = host(web1=False, web2=False)
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "mode": "private"},
                {"domain": "web2", "mac": B, "mode": "private"},
            ],
            "on_error": "keep",
        },
        events=[during("read", "edit_source", "web2", B, nth=4), during("lookup", "undefine", "web2", nth=2)],
    )
    assert outcome.rc == 1
    assert "domain 'web2' was undefined or renamed while this ran" in outcome.message
    assert outcome.message.endswith("The changes made so far were kept, as requested")


def test_whatever_happens_at_any_call_what_is_promised_holds() -> None:
    """The short version of make torture, the same at each run."""
    run_short(DirectIface, examples=40, steps=6)


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
