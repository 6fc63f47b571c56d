# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""allmulticast with what it does not go with: mode passthrough, and a guest that sets its link itself."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

from .planned import (
    LINKS,
    LIVE,
    MAC,
    OTHER,
    STORED,
    TRUSTS,
    changed,
    changes,
    heard,
    host,
    impacts,
    refused,
    restart,
    rules_after,
    running,
    stopped,
    udev_rules,
    want,
)

PASSES = {"mode": "passthrough"}
PASSING = {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mode="passthru")}


# Mode passthrough, in which the rule has no effect and taking it off does harm.


@pytest.mark.parametrize(
    ("desired", "on", "path"),
    [
        (want(allmulticast="yes", mode="passthrough"), udev_rules(stopped(STORED)), "allmulticast"),
        (want(allmulticast="yes"), udev_rules(stopped(changed(STORED, **PASSES))), "allmulticast"),
        (want(allmulticast="yes"), host(stopped(changed(STORED, **PASSES)), links=LINKS), "allmulticast"),
        (want(allmulticast="yes"), udev_rules(stopped(changed(STORED, **PASSES)), MAC), "allmulticast"),
        (want(mode="passthrough"), udev_rules(stopped(STORED), MAC), "mode"),
        (want(mac=OTHER, source="eth0", mode="passthrough"), udev_rules(stopped(STORED), OTHER, macs={}), "mode"),
    ],
)
def test_allmulticast_is_refused_in_mode_passthrough(desired: Desired, on: Host, path: str) -> None:
    assert refused(desired, on, "in mode passthrough.* trust_guest_rx_filters: true") == path


def by_default(**given: t.Any) -> Desired:
    return replace(want(**{"allmulticast": "yes", **given}), defaults=frozenset({"allmulticast"}))


@pytest.mark.parametrize("values", [PASSES, TRUSTS], ids=str)
def test_the_default_of_the_entries_gives_way_where_it_is_impossible(values: dict[str, t.Any]) -> None:
    without, rule = udev_rules(stopped(STORED)), udev_rules(stopped(STORED), MAC)
    there = udev_rules(stopped(changed(STORED, **values)))
    assert [field for field, *_rest in changes(planner.plan([by_default(**values)], without))] == list(values)
    assert planner.plan([by_default()], there) == Plan()
    # The interface had it before: the rule goes, also if that has to be known of all domains.
    assert resolution.needs_all_macs([by_default(**values)], rule)
    plan = planner.plan([by_default(**values)], rule)
    assert ("allmulticast", True, False, "config") in changes(plan)
    assert rules_after(plan) == {MAC: False}


@pytest.mark.parametrize(
    ("live", "links"),
    [
        (changed(LIVE, **PASSES), PASSING),
        (changed(LIVE, **TRUSTS), LINKS),
        # Its link has another address.
        (LIVE, {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mac=OTHER)}),
    ],
    ids=["passthrough", "trusted", "another address"],
)
def test_no_guest_is_replugged_for_the_default_of_the_entries(live: Iface, links: dict[str, Link]) -> None:
    on = udev_rules(running([STORED], [heard(live, "no")]), links=links)
    assert impacts(want(allmulticast="yes"), on, level="replug")["allmulticast"] == "replug"
    assert impacts(by_default(), on, level="replug") == {"allmulticast": "restart"}
    assert rules_after(planner.plan([by_default()], on, level="replug")) == {MAC: True}
    # What is replugged for something else gets it.
    assert set(impacts(by_default(model="e1000e"), on, level="replug").values()) == {"replug"}


def test_the_default_of_the_entries_is_what_an_entry_sets_elsewhere() -> None:
    on = udev_rules(stopped(STORED))
    assert planner.plan([by_default()], on) == planner.plan([want(allmulticast="yes")], on)
    assert rules_after(planner.plan([by_default()], on)) == {MAC: True}
    for remote in (host(stopped(STORED)), replace(on, uri="qemu:///session")):
        assert planner.plan([by_default()], remote) == Plan()
        with pytest.raises(MacvtapError, match="libvirt cannot store it"):
            planner.plan([want(allmulticast="yes")], remote)


def test_the_default_of_the_entries_does_not_apply_where_the_next_start_would_end_it() -> None:
    on = host(stopped(STORED), links=LINKS, rules_unsupported="this host has no udev to set it at the next start")
    plan = planner.plan([by_default()], on)
    assert plan.steps == ()
    (warning,) = plan.warnings
    assert "because this host has no udev" in warning
    for other in (by_default(allmulticast="no"), by_default(**PASSES), by_default(**TRUSTS), want(source="eth0")):
        assert "has no udev" not in "".join(planner.plan([other], on).warnings)
    assert changes(planner.plan([by_default()], replace(on, managed_rules=frozenset()))) != []


def test_a_rule_is_removed_with_a_change_to_mode_passthrough_if_declared() -> None:
    plan = planner.plan([want(mode="passthrough", allmulticast="no")], udev_rules(stopped(STORED), MAC))
    assert changes(plan) == [
        ("allmulticast", True, False, "config"),
        ("mode", "bridge", "passthrough", "config"),
    ]


@pytest.mark.parametrize("level", ["update", "replug"])
@pytest.mark.parametrize("macs", [[], [MAC]])
def test_a_running_passthrough_guests_link_never_loses_it(level: str, macs: list[str]) -> None:
    on = udev_rules(running([changed(STORED, **PASSES)], [heard(changed(LIVE, **PASSES))]), *macs, links=PASSING)
    plan = planner.plan([want(allmulticast="no")], on, level=level)
    assert changes(plan) == ([("allmulticast", True, False, "restart")] if macs else [])
    assert restart(want(allmulticast="no"), on, level=level) == ("allmulticast",)
    assert all(step.before and step.after and step.before.live == step.after.live for step in plan.steps)


# A guest that libvirt trusts sets its link itself.


@pytest.mark.parametrize(
    ("given", "trusting", "macs", "path"),
    [
        ({"allmulticast": "yes"}, True, [], "allmulticast"),
        ({"allmulticast": "yes", **TRUSTS}, False, [], "allmulticast"),
        (TRUSTS, False, [MAC], "trust_guest_rx_filters"),
    ],
)
def test_allmulticast_and_trust_are_refused_of_one_interface_with_the_option_that_was_given(
    given: dict[str, str | None], trusting: bool, macs: list[str], path: str
) -> None:
    on = udev_rules(stopped(changed(STORED, **TRUSTS) if trusting else STORED), *macs)
    stored = "" if len(given) == 2 else ".* it has .* already"
    assert refused(replace(want(), given=given), on, f"removes allmulticast when these change{stored}") == path


def test_the_nic_model_of_a_trusted_guest_is_refused_with_the_option_that_is_set() -> None:
    on = udev_rules(stopped(changed(STORED, **TRUSTS)))
    assert refused(want(model="e1000e"), on, "QEMU does not report") == "model"


@pytest.mark.parametrize("macs", [[], [MAC]])
def test_what_a_trusted_guest_has_set_on_its_link_is_left_alone(macs: list[str]) -> None:
    trusting = running([changed(STORED, **TRUSTS)], [heard(changed(LIVE, **TRUSTS))])
    on = udev_rules(trusting, *macs)
    declared = want(allmulticast="no", **TRUSTS)
    assert changes(planner.plan([declared], on)) == ([("allmulticast", True, False, "config")] if macs else [])
    assert restart(declared, on) == ()
    # Until it is trusted no longer.
    declared = want(allmulticast="no", trust_guest_rx_filters="no")
    on = replace(on, version=11_003_000)
    assert impacts(declared, on) == {"allmulticast": "live", "trust_guest_rx_filters": "live"}
    assert impacts(declared, replace(on, version=9_000_000))["trust_guest_rx_filters"] == "restart"


def test_allmulticast_and_trust_are_not_for_one_interface() -> None:
    trusting = running([changed(STORED, trust_guest_rx_filters="yes")], [LIVE])
    for declared, on in (
        (want(allmulticast="yes"), udev_rules(trusting)),
        (want(allmulticast="yes", trust_guest_rx_filters="yes"), udev_rules(running([STORED], [LIVE]))),
        (want(allmulticast="yes", trust_guest_rx_filters="yes"), host(stopped(STORED), links=LINKS)),
    ):
        with pytest.raises(MacvtapError, match=r"\.allmulticast: .* removes allmulticast"):
            planner.plan([declared], on)


def test_allmulticast_waits_for_libvirt_to_trust_the_running_guest_no_longer() -> None:
    trust = {"trust_guest_rx_filters": "yes"}
    on = udev_rules(running([changed(STORED, **trust)], [heard(changed(LIVE, **trust), "no")]))
    given = want(allmulticast="yes", trust_guest_rx_filters="no")
    assert set(impacts(given, on).values()) == {"restart"}
    assert set(impacts(given, on, level="replug").values()) == {"replug"}
    assert set(impacts(given, replace(on, version=11_003_000)).values()) == {"live"}
