# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is planned for one interface: it is changed, added, removed or left as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

from .planned import (
    BRIDGED,
    LINKS,
    LIVE,
    MAC,
    OTHER,
    STORED,
    TWO,
    VALUES,
    by,
    changed,
    changes,
    host,
    impacts,
    restart,
    running,
    stopped,
    want,
)


@pytest.mark.parametrize(
    "desired",
    [want(), want(source="eth0", mode="bridge", model="virtio"), want(mac=OTHER, present=False), want(target=None)],
)
def test_what_is_as_declared_needs_nothing(desired: Desired) -> None:
    for domain in (stopped(STORED), running([STORED], [LIVE])):
        assert planner.plan([desired], host(domain, links=LINKS)) == Plan()
        assert restart(desired, host(domain, links=LINKS)) == ()


def test_only_given_fields_change() -> None:
    plan = planner.plan([want(mode="private", boot_order="1")], host(stopped(STORED)))
    assert changes(plan) == [("mode", "bridge", "private", "config"), ("boot_order", None, 1, "config")]
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.stored == changed(STORED, mode="private", boot_order="1")
    assert step.path == "interfaces[2]"
    assert step.target == f"web1 {MAC}"


def test_what_is_taken_away_goes_with_the_rest_of_its_element() -> None:
    limited = changed(STORED, **{"bandwidth.inbound.average": "10", "bandwidth.inbound.peak": "20", "boot_order": "1"})
    plan = planner.plan(
        [replace(want(), given={"bandwidth.inbound.average": None, "boot_order": None})], host(stopped(limited))
    )
    assert changes(plan) == [
        ("bandwidth.inbound.average", 10, None, "config"),
        ("bandwidth.inbound.peak", 20, None, "config"),
        ("boot_order", 1, None, "config"),
    ]


def test_a_missing_interface_is_added_with_virtio() -> None:
    plan = planner.plan([want(source="eth0", mode="bridge")], host(stopped()))
    assert changes(plan) == [
        ("state", "absent", "present", "config"),
        ("source", None, "eth0", "config"),
        ("mode", None, "bridge", "config"),
        ("model", None, "virtio", "config"),
    ]
    assert plan.warnings == ()


def test_a_new_interface_with_no_mode_is_in_mode_bridge() -> None:
    plan = planner.plan([want(source="eth0")], host(stopped()))
    assert ("mode", None, "bridge", "config") in changes(plan)
    assert plan.warnings == ()


def test_a_missing_interface_is_attached_to_a_running_guest() -> None:
    desired = want(source="eth0", mode="bridge")
    (step,) = planner.plan([desired], host(running([], []))).steps
    assert {c.impact.value for c in step.changes} == {"live"}
    assert step.after is not None
    assert step.after.live == step.after.stored
    assert set(impacts(desired, host(running([], [])), "none").values()) == {"restart"}
    assert restart(desired, host(running([], [])), "none") == ("state",)


def test_a_stored_interface_that_the_guest_lacks_is_attached() -> None:
    on = host(running([STORED], []))
    assert changes(planner.plan([want()], on)) == [("live", "absent", "present", "live")]
    assert not planner.plan([want()], on, level="none").changed
    assert restart(want(), on, "none") == ("state",)


def test_a_live_interface_that_is_not_stored_is_stored_as_it_is() -> None:
    on = host(running([], [changed(LIVE, **{"driver.queues": "4"})]))
    plan = planner.plan([want(boot_order="1")], on)
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.stored is not None
    assert step.after.stored.values == {
        **{name: text for name, text in VALUES.items() if name != "pci_address"},
        "driver.queues": "4",
        "boot_order": "1",
    }
    assert restart(want(source="eth1", mode="bridge"), on) == ("source",)


def test_a_new_interface_needs_a_source() -> None:
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.source: "):
        planner.plan([want()], host(stopped()))


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (stopped(STORED), [("state", "present", "absent", "config")]),
        (running([STORED], [LIVE]), [("state", "present", "absent", "live")]),
        (running([STORED], []), [("state", "present", "absent", "config")]),
        (running([], [LIVE]), [("live", "present", "absent", "live")]),
    ],
)
def test_removal(domain: Domain, message: list[tuple[str, str, str, str]]) -> None:
    plan = planner.plan([want(present=False)], host(domain))
    assert [c for c in changes(plan) if c[0] in {"state", "live"}] == message


def test_a_removal_that_the_guest_may_not_feel_waits_for_its_restart() -> None:
    on = host(running([STORED], [LIVE]))
    assert impacts(want(present=False), on, "none")["state"] == "restart"
    assert restart(want(present=False), on, "none") == ("state",)


@pytest.mark.parametrize("desired", [want(present=False), want(model="e1000e")])
def test_a_guest_that_does_not_answer_is_not_asked_twice_in_one_run(desired: Desired) -> None:
    on = host(running([changed(STORED, model="e1000e")] if desired.present else [], [LIVE]))
    assert planner.plan([desired], on, level="replug").changed
    assert not planner.plan([desired], on, {("web1", MAC)}, level="replug").changed


def test_an_unknown_domain_is_reported_with_similar_names() -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(domain="web")], host(stopped()))
    assert str(caught.value) == (
        "interfaces[2].domain: no domain 'web' on qemu:///system (known: web2, web1 and 1 more). "
        "Correct the name, or define the domain first"
    )


def test_nothing_is_absent_from_an_unknown_domain() -> None:
    plan = planner.plan([want(domain="gone", present=False)], host())
    assert not plan.changed
    assert "no domain 'gone'" in plan.warnings[0]


def test_a_source_may_be_an_alternative_name() -> None:
    # libvirt finds the link by it too: what runs is on that link already.
    for desired in (want(source="lan0"), by("source", "lan0")):
        on = host(running([STORED], [LIVE]), links=LINKS)
        assert changes(planner.plan([desired], on)) == [("source", "eth0", "lan0", "config")]
        assert restart(desired, on) == ()
        done = host(running([changed(STORED, source="lan0")], [LIVE]), links=LINKS)
        assert not planner.plan([desired], done).changed
        assert restart(desired, done) == ()


def test_a_nic_that_is_not_virtio_loses_its_driver() -> None:
    on = host(stopped(changed(STORED, **{"driver.name": "vhost", "driver.queues": "4"})))
    assert changes(planner.plan([want(model="e1000e")], on)) == [
        ("model", "virtio", "e1000e", "config"),
        ("driver.name", "vhost", None, "config"),
        ("driver.queues", 4, None, "config"),
    ]


def test_purge_removes_what_is_direct_and_not_declared() -> None:
    bridged = replace(BRIDGED, mac="52:54:00:00:00:03")
    only_live = replace(LIVE, mac="52:54:00:00:00:04")
    on = host(running([*TWO, bridged], [LIVE, bridged, only_live]), Domain("db1", stored=(STORED,)), links=LINKS)
    plan = planner.plan([want()], on, purge=True)
    assert {(step.target, step.path) for step in plan.steps} == {
        (f"web1 {OTHER}", "purge"),
        ("web1 52:54:00:00:00:04", "purge"),
    }
    assert all(step.after is not None and step.after.stored is None for step in plan.steps)
