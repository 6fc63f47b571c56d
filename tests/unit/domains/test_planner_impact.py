# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a change costs a running guest, at each level and with each libvirt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import impact, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

from .planned import (
    LINKS,
    LIVE,
    MAC,
    OTHER,
    STORED,
    VALUES,
    changed,
    changes,
    host,
    impacts,
    restart,
    running,
    stopped,
    want,
)

# What each field takes in a running guest: with its link known and libvirt 9.0, at the level that allows all.
COSTS = {
    "mode": ("private", "live"),
    "link_state": ("down", "live"),
    "bandwidth.inbound.average": ("10", "live"),
    "source": ("br0", "replug"),
    "model": ("virtio-transitional", "replug"),
    "driver.queues": ("4", "replug"),
    "target": ("web0", "replug"),
    "alias": ("ua-lan", "replug"),
    "pci_address": ("0000:07:00.0", "replug"),
    "acpi_index": ("3", "replug"),
    "trust_guest_rx_filters": ("yes", "replug"),
    "boot_order": ("1", "restart"),
    "rom.bar": ("off", "restart"),
}


@pytest.mark.parametrize("field", COSTS)
def test_the_impact_of_each_field_at_each_level(field: str) -> None:
    value, cost = COSTS[field]
    desired = replace(want(), given={field: value})
    on = host(running([STORED], [LIVE]), links=LINKS)
    expected = {
        "none": "restart",
        "update": "live" if cost == "live" else "restart",
        "replug": cost,
    }
    for level, message in expected.items():
        assert impacts(desired, on, level) == {field: message}
        assert restart(desired, on, level) == ((field,) if message == "restart" else ())
    assert impacts(desired, host(stopped(STORED), links=LINKS)) == {field: "config"}


def test_what_goes_with_a_field_that_is_taken_away_goes_live_with_it() -> None:
    limit = {"bandwidth.inbound.average": "10", "bandwidth.inbound.peak": "20"}
    limited = running([changed(STORED, **limit)], [changed(LIVE, **limit)])
    clear = replace(want(), given={"bandwidth.inbound.average": None})
    assert impacts(clear, host(limited)) == dict.fromkeys(limit, "live")
    assert restart(clear, host(limited)) == ()
    assert impacts(clear, host(limited), level="none") == dict.fromkeys(limit, "restart")


@pytest.mark.parametrize(
    ("version", "trust", "bandwidth"),
    [
        (9_000_000, "restart", "live"),
        # Where libvirt would forget that it has made the link, and leave it behind.
        (9_010_000, "restart", "restart"),
        (10_000_000, "restart", "restart"),
        (10_001_000, "live", "live"),
        (11_003_000, "live", "live"),
    ],
)
def test_what_is_live_with_which_libvirt(version: int, trust: str, bandwidth: str) -> None:
    on = host(running([STORED], [LIVE]), version=version)
    given = {"trust_guest_rx_filters": "yes", "bandwidth.outbound.average": "500", "link_state": "down"}
    assert impacts(replace(want(), given=given), on) == {
        "trust_guest_rx_filters": trust,
        "bandwidth.outbound.average": bandwidth,
        "link_state": "live",
    }


@pytest.mark.parametrize(
    ("was", "wanted", "links"),
    [
        ("bridge", "passthrough", LINKS),
        ("passthrough", "bridge", LINKS),
        ("bridge", "private", None),
        ("bridge", "vepa", {}),
    ],
)
def test_a_mode_that_the_kernel_cannot_change_needs_a_replug(was: str, wanted: str, links: Links | None) -> None:
    on = host(running([changed(STORED, mode=was)], [changed(LIVE, mode=was)]), links=links)
    assert impacts(want(mode=wanted), on) == {"mode": "restart"}
    assert impacts(want(mode=wanted), on, "replug") == {"mode": "replug"}


def test_a_replug_brings_along_all_that_is_stored() -> None:
    stored = changed(STORED, boot_order="1")
    plan = planner.plan([want(model="e1000e")], host(running([stored], [LIVE])), level="replug")
    assert changes(plan) == [("model", "virtio", "e1000e", "replug"), ("boot_order", None, 1, "replug")]
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.live == step.after.stored == changed(stored, model="e1000e")


def test_what_is_stored_already_is_brought_to_the_guest() -> None:
    on = host(running([changed(STORED, mode="private")], [LIVE]), links=LINKS)
    assert changes(planner.plan([want(mode="private")], on)) == [("mode", "bridge", "private", "live")]
    # Not declared, and so not touched, but said.
    assert not planner.plan([want(source="eth0")], on).changed
    assert restart(want(source="eth0"), on) == ("mode",)


def test_the_restart_stays_due_until_it_happened() -> None:
    on = host(running([changed(STORED, model="e1000e")], [LIVE]))
    assert not planner.plan([want(model="e1000e")], on).changed
    assert restart(want(model="e1000e"), on) == ("model",)


def test_going_back_to_what_runs_needs_no_restart() -> None:
    on = host(running([changed(STORED, model="e1000e")], [LIVE]))
    assert changes(planner.plan([want(model="virtio")], on)) == [("model", "e1000e", "virtio", "config")]
    assert restart(want(model="virtio"), on) == ()


def test_a_nic_that_runs_as_another_type_needs_a_restart() -> None:
    bridged = Iface(MAC, "bridge", {name: text for name, text in VALUES.items() if name not in {"source", "mode"}})
    assert restart(want(), host(running([STORED], [bridged]))) == ("type", "source", "mode")


def test_every_level_allows_more_than_the_one_before() -> None:
    none, update, pause, replug = impact.LEVELS.values()
    assert none < update < pause
    assert update < replug
    assert Impact.RESTART not in pause | replug


@pytest.mark.parametrize(("text", "message"), [("yes", "next changes its own"), ("no", "stay on its link")])
def test_a_live_change_of_trust_warns_about_its_limits(text: str, message: str) -> None:
    other = {"trust_guest_rx_filters": "no" if text == "yes" else "yes"}
    on = host(running([changed(STORED, **other)], [changed(LIVE, **other)]), links=LINKS, version=11_003_000)
    (warning,) = planner.plan([want(trust_guest_rx_filters=text)], on).warnings
    assert message in warning


DRIFTED = replace(changed(LIVE, mode="private"), stale_mode="bridge")


@pytest.mark.parametrize(
    ("desired", "live", "warned"),
    [
        (want(mode="private"), LIVE, True),
        # Back to what libvirt shows anyhow.
        (want(mode="bridge"), DRIFTED, False),
        (want(mode="vepa"), DRIFTED, True),
        (want(present=False), LIVE, False),
        (want(present=False), changed(LIVE, trust_guest_rx_filters="yes"), False),
    ],
)
def test_a_mode_that_libvirt_does_not_show_is_warned_of(desired: Desired, live: Iface, warned: bool) -> None:
    plan = planner.plan([desired], host(running([STORED], [live]), links=LINKS, version=11_000_000))
    assert any(change.impact is Impact.LIVE for change in plan.changes)
    assert any("virsh dumpxml shows another mode than" in warning for warning in plan.warnings) is warned
    assert len(plan.warnings) == warned


def test_purging_warns_of_no_mode() -> None:
    other = replace(LIVE, mac=OTHER, values={**LIVE.values, "target": "macvtap1", "mode": "vepa"})
    on = host(running([STORED, replace(STORED, mac=OTHER)], [LIVE, other]), links=LINKS)
    plan = planner.plan([want()], on, purge=True)
    assert (plan.changed, plan.warnings) == (True, ())


LINK_FAULTS = changed(LIVE, **{"link.state": "down", "link.mac": "02:00:00:00:00:99"})


def test_a_link_that_keeps_its_guest_off_the_network_is_due() -> None:
    on = host(running([STORED], [LINK_FAULTS]), links=LINKS)
    for desired in (want(), want(link_state="up")):
        assert changes(planner.plan([desired], on)) == [
            ("link.state", "down", "up", "live"),
            ("link.mac", "02:00:00:00:00:99", MAC, "live"),
        ]
        assert not planner.plan([desired], on, level="none").changed
        assert restart(desired, on, "none") == ("link.state", "link.mac")
    # Another link comes with a replug, and none stays of what is removed.
    replugged = planner.plan([want(model="e1000")], on, level="replug")
    assert {change.field for change in replugged.changes} == {"model"}
    assert {c.field for c in planner.plan([want(present=False)], on).changes}.isdisjoint({"link.state", "link.mac"})
    # What a trusted guest has given its link is its own.
    own = changed(LIVE, trust_guest_rx_filters="yes", **{"link.guests_mac": "02:00:00:00:00:99"})
    moved = {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mac="02:00:00:00:00:99")}
    trusted = host(running([changed(STORED, trust_guest_rx_filters="yes")], [own]), links=moved)
    assert not planner.plan([want()], trusted).changed
    assert impacts(want(mode="private"), trusted) == {"mode": "live"}
