# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The way back: what the journal has, against a host that has moved on meanwhile."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, rollback
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    ATTACHED,
    DETACHED,
    LINK,
    RULE,
    UPDATED,
    Domain,
    Iface,
    Nic,
    target,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    STORED as WRITTEN,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step

from .planned import LINKS, LIVE, MAC, OTHER, STORED, changed, heard, host, udev_rules, want

WAS = Nic("web1", MAC, STORED, LIVE, uuid="u1", instance="1")
STOPPED = replace(WAS, live=None, instance="")
NONE = Nic("web1", MAC, uuid="u1", instance="1")
# As libvirt has it, which gives each running one other names.
AGAIN = changed(LIVE, target="macvtap1", alias="net1")
PRIVATE, PRIVATE_LIVE = changed(STORED, mode="private"), changed(LIVE, mode="private")
MOVED, MOVED_LIVE = changed(STORED, source="eth1"), changed(AGAIN, source="eth1")


def domain(stored: Iface | None, live: Iface | None, instance: str = "1", **more: t.Any) -> Domain:
    listed = ((stored,) if stored else ()), ((live,) if live else ())
    return Domain("web1", "u1", running=bool(instance), stored=listed[0], live=listed[1], instance=instance, **more)


def journal_of(before: Nic, after: Nic, *actions: str) -> Journal[Nic]:
    journal: Journal[Nic] = Journal()
    step = Step(target(before), before, after, ())
    for action in actions:
        journal.record(step, action)
    return journal


def undone(journal: Journal[Nic], *domains: Domain) -> Plan[Nic]:
    return rollback.undo(journal, host(*domains, links=LINKS))


@pytest.mark.parametrize(
    ("was", "made", "actions", "now", "costs"),
    [
        (WAS, Nic("web1", MAC), (WRITTEN, DETACHED), (None, None), {"config", "live"}),
        (NONE, Nic("web1", MAC, STORED, LIVE), (WRITTEN, ATTACHED), (STORED, LIVE), {"config", "live"}),
        (WAS, Nic("web1", MAC, PRIVATE, LIVE), (WRITTEN,), (PRIVATE, LIVE), {"config"}),
        (WAS, Nic("web1", MAC, STORED, PRIVATE_LIVE), (LINK,), (STORED, PRIVATE_LIVE), {"live"}),
        (WAS, Nic("web1", MAC, MOVED, MOVED), (WRITTEN, DETACHED, ATTACHED), (MOVED, MOVED_LIVE), {"config", "replug"}),
        (WAS, Nic("web1", MAC, MOVED, MOVED), (WRITTEN, DETACHED), (MOVED, None), {"config", "live"}),
        # The keeper was quicker than the run.
        (WAS, Nic("web1", MAC, MOVED, MOVED), (WRITTEN, DETACHED), (MOVED, MOVED_LIVE), {"config", "replug"}),
    ],
)
def test_what_was_done_is_undone(
    was: Nic, made: Nic, actions: tuple[str, ...], now: tuple[Iface | None, Iface | None], costs: set[str]
) -> None:
    plan = undone(journal_of(was, made, *actions), domain(*now))
    (back,) = plan.steps
    assert back.after == was
    assert {change.impact.value for change in back.changes} == costs
    assert plan.warnings == ()
    # And once it is, nothing is left.
    assert undone(journal_of(was, made, *actions), domain(was.stored, was.live and AGAIN)) == Plan()


@pytest.mark.parametrize(
    ("was", "made", "now", "back"),
    [
        # Started meanwhile: with what was stored before this run, or with what this run has stored.
        (STOPPED, Nic("web1", MAC, PRIVATE), domain(PRIVATE, AGAIN, "2"), STORED),
        (STOPPED, Nic("web1", MAC), domain(None, AGAIN, "2"), STORED),
        (replace(NONE, instance=""), Nic("web1", MAC, STORED), domain(STORED, AGAIN, "2"), None),
        # Started anew, or stopped.
        (WAS, Nic("web1", MAC, PRIVATE, PRIVATE_LIVE), domain(PRIVATE, AGAIN, "2"), STORED),
        (WAS, Nic("web1", MAC), domain(None, None, ""), STORED),
    ],
)
def test_a_guest_that_is_another_instance_is_not_touched(was: Nic, made: Nic, now: Domain, back: Iface | None) -> None:
    (step,) = undone(journal_of(was, made, WRITTEN, UPDATED, DETACHED, ATTACHED), now).steps
    assert step.before is not None
    assert step.after is not None
    assert (step.after.stored, step.after.live) == (back, step.before.live)
    assert {change.impact.value for change in step.changes} == {"config"}


def test_a_guest_that_was_started_with_what_this_run_had_stored_is_named() -> None:
    (warning,) = undone(journal_of(STOPPED, Nic("web1", MAC, MOVED), WRITTEN), domain(MOVED, MOVED_LIVE, "2")).warnings
    assert warning.startswith(f"web1 {MAC}: the guest was started while this ran. Its NIC differs")
    assert undone(journal_of(STOPPED, Nic("web1", MAC, MOVED), WRITTEN), domain(MOVED, AGAIN, "2")).warnings == ()


def test_what_was_not_begun_is_not_undone() -> None:
    made = Nic("web1", MAC, PRIVATE, PRIVATE_LIVE)
    # Somebody else has done just what this run was to do.
    assert undone(journal_of(WAS, made), domain(PRIVATE, PRIVATE_LIVE)) == Plan()
    (step,) = undone(journal_of(WAS, made, WRITTEN), domain(PRIVATE, PRIVATE_LIVE)).steps
    assert step.after is not None
    assert (step.after.stored, step.after.live) == (STORED, PRIVATE_LIVE)
    assert undone(journal_of(WAS, Nic("web1", MAC), WRITTEN), domain(STORED, None)) == Plan()
    assert undone(journal_of(NONE, Nic("web1", MAC, STORED, STORED), WRITTEN), domain(None, LIVE)) == Plan()


def test_what_another_editor_has_done_stays_and_is_reported() -> None:
    was, made = STOPPED, replace(STOPPED, stored=PRIVATE)
    theirs = replace(changed(STORED, link_state="down"), xml="<interface>theirs</interface>")
    left = f"web1 {MAC} was changed by another editor while this ran, and is left as it is now"
    # Before this run's own step, and after it.
    assert undone(journal_of(was, made, WRITTEN), domain(theirs, None, "")) == Plan(warnings=(left,))
    plan = undone(journal_of(was, made, WRITTEN), domain(changed(theirs, mode="private"), None, ""))
    assert plan.steps[0].after == replace(was, stored=theirs)
    assert plan.warnings == (left,)
    # An interface of the same address that they have made or changed, where this run was to make or remove one.
    gone = Nic("web1", MAC)
    assert not undone(journal_of(gone, was, WRITTEN), domain(changed(STORED, source="eth1"), None, "")).changed
    assert not undone(journal_of(was, gone, WRITTEN), domain(theirs, None, "")).changed


def test_what_libvirt_has_made_of_it_is_ours_whatever_it_has_dropped() -> None:
    respelled = replace(changed(STORED, model="e1000e", driver=None), xml="<interface>e1000e</interface>")
    made = Nic("web1", MAC, changed(STORED, model="E1000E", **{"driver.queues": "2"}))
    for was, back in ((Nic("web1", MAC), None), (STOPPED, STORED)):
        (step,) = undone(journal_of(was, made, WRITTEN), domain(respelled, None, "", defined=(respelled,))).steps
        assert step.after is not None
        assert step.after.stored == back


@pytest.mark.parametrize(
    ("was", "made", "read"),
    [
        (STOPPED, replace(STOPPED, stored=MOVED), changed(PRIVATE, source="eth1")),
        (STOPPED, replace(STOPPED, stored=MOVED), None),
        (STOPPED, Nic("web1", MAC), PRIVATE),
        (Nic("web1", MAC), STOPPED, PRIVATE),
    ],
)
def test_what_another_editor_has_stored_before_this_run_read_it_stays(was: Nic, made: Nic, read: Iface | None) -> None:
    theirs = read and replace(read, xml="<interface>theirs</interface>")
    defined = (theirs,) if theirs else ()
    plan = undone(journal_of(was, made, WRITTEN), domain(theirs, None, "", defined=defined))
    left = [step.after.stored for step in plan.steps if step.after]
    # What this run has changed goes back, and nothing else.
    assert left == ([changed(theirs, source="eth0")] if made.stored == MOVED and theirs else [])
    assert plan.warnings == (f"web1 {MAC} was changed by another editor while this ran, and is left as it is now",)


def test_of_a_guest_that_goes_on_undefined_nothing_stored_is_put_back() -> None:
    was = replace(WAS, document="<domain/>")
    for made in (Nic("web1", MAC), Nic("web1", MAC, MOVED, MOVED)):
        plan = undone(journal_of(was, made, WRITTEN, DETACHED), domain(None, LIVE, persistent=False))
        assert plan.steps == ()
        assert plan.warnings == (
            "domain 'web1' was undefined while this ran, and its guest runs on without a stored configuration, so "
            "there is nothing to put back",
        )
    (back,) = undone(journal_of(was, Nic("web1", MAC), WRITTEN, DETACHED), domain(None, None, persistent=False)).steps
    assert back.after is not None
    assert (back.after.stored, back.after.live) == (None, LIVE)


def test_one_domain_that_is_gone_does_not_keep_another_from_being_put_back() -> None:
    journal = journal_of(STOPPED, Nic("web1", MAC, PRIVATE), WRITTEN)
    other = Nic("web2", OTHER, replace(STORED, mac=OTHER), uuid="u2")
    step = Step("web2", other, replace(other, stored=replace(PRIVATE, mac=OTHER)), ())
    journal.record(step, WRITTEN)
    web2 = Domain("web2", "u2", stored=(replace(PRIVATE, mac=OTHER),))
    for there in ((), (domain(STORED, None, ""),)):
        # Undefined; and another one, that has its name.
        named = [replace(one, uuid="u9") for one in there]
        plan = undone(journal, web2, *named)
        assert [one.target for one in plan.steps] == [f"web2 {OTHER}"]
        assert plan.warnings == (
            "domain 'web1' was undefined, renamed or moved while this ran, and nothing of it is put back",
        )
    twice = replace(domain(STORED, None, ""), stored=(STORED, MOVED))
    plan = undone(journal, web2, twice)
    assert [one.target for one in plan.steps] == [f"web2 {OTHER}"]
    assert "has 2 interfaces with" in plan.warnings[0]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Nic("web1", MAC), "may still do so. It is then attached again as it is stored"),
        (Nic("web1", MAC, MOVED, MOVED), "may still do so. It is then attached again as it is stored"),
    ],
)
def test_a_request_that_the_guest_may_still_complete_is_reported(made: Nic, message: str) -> None:
    asked = domain(made.stored, LIVE, pending=frozenset({MAC}))
    plan = undone(journal_of(WAS, made, WRITTEN, DETACHED), asked)
    assert [change.impact.value for change in plan.changes] == ["config"] * len(plan.changes)
    # Also when what is stored is as it was.
    for now in (plan, undone(journal_of(WAS, made, WRITTEN, DETACHED), replace(asked, stored=(STORED,)))):
        (warning,) = now.warnings
        assert "asked to release this NIC and may still do so" in warning
        assert message in warning


def test_a_rolled_back_removal_from_a_transient_domain_is_reported_to_come_back() -> None:
    transient = domain(None, LIVE, persistent=False, pending=frozenset({MAC}))
    plan = undone(journal_of(replace(WAS, stored=None), Nic("web1", MAC), DETACHED), transient)
    assert not plan.changed
    assert plan.warnings[0].endswith("may still do so. It is then attached again")


def test_what_is_undone_of_allmulticast_is_the_rule_and_the_link() -> None:
    def running(live: str, *macs: str) -> t.Any:
        return udev_rules(domain(STORED, heard(LIVE, live)), *macs)

    (step,) = planner.plan([want(allmulticast="yes")], running("no")).steps
    journal: Journal[Nic] = Journal()
    for action in (RULE, LINK):
        journal.record(step, action)
    assert not rollback.undo(journal, running("no")).changed
    for macs, live in (([MAC], "yes"), ([MAC], "no"), ([], "yes")):
        (back,) = rollback.undo(journal, running(live, *macs)).steps
        assert back.after is not None
        assert back.after.stored is not None
        assert back.after.live is not None
        assert (back.after.stored.get("allmulticast"), back.after.live.get("allmulticast")) == ("no", "no")


def test_a_repaired_link_is_not_set_down_again_and_is_reported() -> None:
    down = changed(LIVE, **{"link.state": "down", "link.mac": OTHER})
    journal = journal_of(replace(WAS, live=down), Nic("web1", MAC, STORED, LIVE), LINK)
    plan = undone(journal, domain(STORED, LIVE))
    assert not plan.changed
    message = f"web1 {MAC}: the guest's link was down and had the address {OTHER}, and is left as the guest needs it"
    assert plan.warnings == (message,)
    # Where it could not be mended all is as it was.
    assert undone(journal, domain(STORED, down)).warnings == ()
