# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_iface on a model of libvirt, with others acting at the worst moment: see tests/torture."""

from __future__ import annotations

import typing as t

import pytest

from torture.actions import Action
from torture.examples import run_short
from torture.machine import DirectIface
from torture.sequence import Sequence
from torture.world import World

from .sequences import A, B, C, D, during, host, macs, nic


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


@pytest.mark.parametrize("options", [{"mode": "private"}, {"model": "e1000e"}, {"state": "absent"}])
def test_differences_of_a_managed_save_image_are_reported(options: dict[str, str]) -> None:
    sequence = host()
    sequence.act(Action("save", "web1"))
    outcome = sequence.run({"domain": "web1", "mac": A, **options})
    assert outcome.rc == 0


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


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("what", ["start", "discard_save"])
@pytest.mark.parametrize("declared", [{"mac": A}, {"mac": A, "state": "absent"}, {"mac": A, "source": "eth1"}])
def test_a_guest_that_is_restored_between_two_looks_at_its_save(nth: int, what: str, declared: dict[str, str]) -> None:
    sequence = host()
    sequence.act(Action("save", "web1"))
    outcome = sequence.run({"domain": "web1", **declared}, events=[during("saved", what, "web1", nth=nth)])
    assert outcome.rc == 0


def test_a_transient_domain_that_has_gone_was_not_changed() -> None:
    sequence = host()
    sequence.act(Action("undefine", "web1"))
    stopped = [during("job", "stop", "web1")]
    outcome = sequence.run({"domain": "web1", "mac": A, "state": "absent"}, events=stopped)
    assert not outcome.result["changed"]


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


@pytest.mark.parametrize("nth", [2, 3])
def test_libvirtd_that_is_restarted_while_the_other_domains_are_read_makes_none_one_that_may_not_be_read(
    nth: int,
) -> None:
    run = {"domain": "web1", "source": "eth1", "mode": "bridge"}
    assert host().run(run, events=[during("read", "restart_libvirtd", nth=nth)]).rc == 0


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


def test_whatever_happens_at_any_call_what_is_promised_holds() -> None:
    """The short version of make torture, the same at each run."""
    run_short(DirectIface, examples=40, steps=6)
