# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains under a job, saved, crashed or shutting down, and guests that have moved on while a run went on."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import identity, planner, resolution, states
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

from .planned import LINKS, LIVE, MAC, OTHER, STORED, by, changed, host, impacts, running, stopped, want

PRIVATE = want(mode="private")


def on(**more: t.Any) -> Host:
    return host(running([STORED], [LIVE], **more), links=LINKS)


def plan(desired: Desired, observed: Host, level: str = "update") -> Plan[Nic]:
    alone = identity.Untouched(frozenset(), states.ending(observed))
    made = planner.plan([desired], observed, alone, level=level)
    states.validate(made, observed)
    return states.with_state_warnings(made, observed)


@pytest.mark.parametrize("level", ["none", "update"])
@pytest.mark.parametrize(("job", "message"), [("migration", "another"), ("incoming migration", "this")])
def test_nothing_is_written_to_a_domain_that_migrates(level: str, job: str, message: str) -> None:
    with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]: domain 'web1' is migrating to {message} host"):
        plan(PRIVATE, on(job=job), level)
    assert not plan(want(mode="bridge"), on(job=job), level).changed


@pytest.mark.parametrize("job", ["dump", "save", "snapshot", "restore"])
def test_a_job_that_allows_no_change_is_refused_before_anything_is_done(job: str) -> None:
    for desired in (PRIVATE, want(present=False), want(mac=OTHER, source="eth0", mode="bridge")):
        with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]: domain 'web1' has a job in progress \({job}\)"):
            plan(desired, on(job=job))
        assert plan(desired, on(job=job), "none").changed
    assert plan(PRIVATE, on(job="backup")).changed


@pytest.mark.parametrize(("state", "message"), [("crashed", "has crashed"), ("shutting down", "is shutting down")])
def test_a_guest_that_is_ending_is_not_touched(state: str, message: str) -> None:
    for desired in (PRIVATE, want(present=False), want(mac=OTHER, source="eth0", mode="bridge")):
        made = plan(desired, on(state=state), "replug")
        assert {change.impact.value for change in made.changes} == {"restart"}
        assert f"the guest {message}, and is not touched. It gets the stored configuration when it starts" in str(
            made.warnings
        )
    assert plan(want(), on(state=state)).warnings == ()


@pytest.mark.parametrize(
    ("desired", "fields"),
    [
        (PRIVATE, ["mode"]),
        (want(present=False), ["state"]),
        (want(mac=OTHER, source="eth0", mode="bridge"), ["state"]),
        (want(), []),
    ],
)
def test_a_managed_save_brings_back_what_was_saved(desired: Desired, fields: list[str]) -> None:
    observed = host(stopped(STORED, saved=(LIVE,)), links=LINKS)
    made = plan(desired, observed)
    assert {change.impact.value for change in made.changes} == ({"restart"} if fields else set())
    assert ("virsh managedsave-remove web1" in str(made.warnings)) == bool(fields)
    (resolved,) = resolution.resolve([desired], observed)
    assert states.restart_fields(resolved, observed) == fields
    # And on each later run, until the save is gone.
    after = resolved.after.stored
    then = host(stopped(*([after] if after else []), saved=(LIVE,)), links=LINKS)
    (again,) = resolution.resolve([desired], then)
    assert states.restart_fields(again, then) == fields


def test_an_address_of_a_saved_guest_is_taken() -> None:
    saved = replace(stopped(saved=(LIVE,)), name="db1")
    refused = host(stopped(), saved, links=LINKS, macs={})
    with pytest.raises(MacvtapError, match="db1"):
        planner.plan([want(source="eth0", mode="bridge")], refused)


def test_planned_nics_are_identified_by_their_address() -> None:
    """A second NIC on the source by which the first was found, which another editor has made meanwhile."""
    before = host(stopped(STORED), links=LINKS)
    declared = [by("source", "eth0"), want(mac=OTHER, source="eth1", mode="bridge")]
    pins = identity.pinned(resolution.resolve(declared, before))
    assert [(pin.by, pin.mac) for pin in pins] == [("mac", MAC), ("mac", OTHER)]
    second = replace(STORED, mac=OTHER, values={**STORED.values, "source": "eth1", "pci_address": "0000:02:00.0"})
    theirs = replace(STORED, mac="52:54:00:00:00:77", values={**STORED.values, "pci_address": "0000:03:00.0"})
    assert not planner.plan(pins, host(stopped(STORED, second, theirs), links=LINKS)).changed


def test_a_guest_that_was_started_meanwhile_is_as_planned_if_its_configuration_is() -> None:
    links = {"eth0": LINKS["eth0"]}
    before = host(stopped(uuid="u1"), links=links, macs={})
    (new,) = identity.pinned(resolution.resolve([want(source="eth0", mode="bridge")], before))
    after = host(running([STORED], [], uuid="u1", instance="1"), links=links, macs={})
    assert impacts(new, after) == {"live": "live"}
    alone = identity.Untouched(frozenset(), identity.restarted(before, after))
    assert not planner.plan([new], after, alone).changed
    # A lost update is one all the same.
    lost = replace(after, domains={"web1": replace(after.domains["web1"], stored=())})
    assert planner.plan([new], lost, alone).changed


@pytest.mark.parametrize(
    "now", [{}, {"web1": running([], [LIVE], persistent=False)}, {"web1": stopped(STORED, uuid="u9")}]
)
def test_a_domain_that_is_undefined_meanwhile_has_nothing_stored(now: dict[str, t.Any]) -> None:
    before = on()
    for desired, lost in ((PRIVATE, True), (want(), True), (want(present=False), False)):
        resolved = resolution.resolve([desired], before)
        identity.validate_defined(resolved, before, before)
        with pytest.raises(MacvtapError, match="undefined or moved while") if lost else contextlib.nullcontext():
            identity.validate_defined(resolved, before, replace(before, domains=now))


def test_a_change_that_a_guest_did_not_get_after_all_is_not_reported_as_live() -> None:
    made = planner.plan([PRIVATE], on(instance="1"))
    for now, cost, message in (
        (host(stopped(changed(STORED, mode="private"))), "config", "stopped while this ran"),
        (host(stopped(changed(STORED, mode="private"), saved=(STORED,))), "restart", "was saved while this ran"),
        (on(instance="2"), "restart", "was restarted while this ran"),
    ):
        done = identity.with_actual_impacts(
            made, now, {"web1"}, {("web1", MAC)} if cost == "restart" else (), made.steps
        )
        assert {change.impact.value for change in done.changes} == {cost}
        assert message in str(done.warnings)
        nothing = identity.with_actual_impacts(made, now, {"web1"}, (), ())
        assert (nothing.changed, nothing.warnings) == (False, done.warnings)
    assert identity.with_actual_impacts(made, on(), (), (), made.steps) == made
