# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Rollbacks while others act: what this run did is undone, and nothing else."""

from __future__ import annotations

import pytest

from .sequences import A, B, C, D, during, host, macs, nic


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
    assert "domain 'web2' was undefined, renamed or moved while this ran" in outcome.message
    assert outcome.message.endswith("The changes made so far were kept, as requested")
