# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""allmulticast with what it does not go with, and its rules where somebody else has a part in them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution, rollback, tasks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    RULE,
    Desired,
    Domain,
    Host,
    Iface,
    Nic,
    link_of_iface,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal, Plan

from .test_planner import (
    LINKS,
    LIVE,
    MAC,
    OTHER,
    STORED,
    changed,
    changes,
    heard,
    host,
    impacts,
    restart,
    running,
    stopped,
    udev_rules,
    want,
)

TRUSTS: dict[str, t.Any] = {"trust_guest_rx_filters": "yes"}
PASSES = {"mode": "passthrough"}
PASSING = {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mode="passthru")}


def refused(desired: Desired, on: Host, match: str) -> str:
    with pytest.raises(MacvtapError, match=match) as caught:
        planner.plan([desired], on)
    return caught.value.path.removeprefix("interfaces[2].")


def rules_after(plan: Plan[t.Any]) -> dict[str, bool]:
    return tasks.rules_of(tasks.tasks_of(plan.steps))[0]


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


# A link of the guest's target's name that is not the guest's.


@pytest.mark.parametrize(
    ("mac", "mode", "message", "own"),
    [
        (MAC, "bridge", "bridge", True),
        (OTHER, "bridge", "bridge", False),
        (OTHER, "passthru", "passthrough", True),
        (OTHER, "passthru", "bridge", False),
        (MAC, None, "bridge", False),
    ],
)
def test_a_link_is_the_guests_by_its_address(mac: str, mode: str | None, message: str, own: bool) -> None:
    links = {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mac=mac, mode=mode)}
    iface = changed(LIVE, mode=message)
    assert (link_of_iface(iface, links) is not None) is own
    if not own and message == "bridge":
        on = udev_rules(running([STORED], [iface]), links=links)
        for desired in (want(allmulticast="yes"), want(mode="private")):
            assert set(impacts(desired, on).values()) == {"restart"}


# Rules go by the address, which another domain may have.

TWIN = {"macs": {MAC: ("twin",)}}


@pytest.mark.parametrize("purge", [True, False])
def test_a_rule_is_left_to_another_domain_that_has_the_address(purge: bool) -> None:
    declared = want(mac=OTHER, present=False) if purge else want(present=False)
    plan = planner.plan([declared], udev_rules(stopped(STORED), MAC, **TWIN), purge=purge)
    assert "allmulticast" not in {field for field, *_rest in changes(plan)}
    assert rules_after(plan) == {}
    (warning,) = plan.warnings
    assert "is left, because an interface of domain twin has the same address" in warning
    assert rules_after(planner.plan([declared], udev_rules(stopped(STORED), MAC, macs={}), purge=purge)) == {MAC: False}


def test_a_rule_that_another_domain_has_too_is_not_taken_by_allmulticast_false() -> None:
    on = udev_rules(stopped(STORED), MAC, **TWIN)
    assert refused(want(allmulticast="no"), on, "an interface of domain twin has too") == "allmulticast"
    assert not planner.plan([want(allmulticast="no")], udev_rules(stopped(STORED), **TWIN)).changed


def test_a_rule_goes_when_all_who_have_the_address_go() -> None:
    duplicate = Domain("web2", stored=(heard(STORED),))
    on = udev_rules(stopped(STORED), MAC, macs={})
    on = replace(on, domains={**on.domains, "web2": duplicate})
    gone = [want(present=False), replace(want("web2", present=False), path="interfaces[3]")]
    assert rules_after(planner.plan(gone, on)) == {MAC: False}
    assert rules_after(planner.plan(gone[:1], on)) == {}


def test_the_addresses_of_all_domains_matter_where_a_rule_may_go() -> None:
    on = udev_rules(stopped(STORED), MAC)
    assert resolution.needs_all_macs([want(present=False)], on)
    assert resolution.needs_all_macs([want(allmulticast="no")], on)
    assert resolution.needs_all_macs([want()], on, purge=True)
    assert not resolution.needs_all_macs([want()], on)
    assert not resolution.needs_all_macs([want(present=False)], udev_rules(stopped(STORED)), purge=True)


# Rules that are left over, or that somebody has changed.


@pytest.mark.parametrize("domain", ["web1", "gone"])
def test_a_rule_that_is_anothers_alone_is_no_business_of_what_is_gone(domain: str) -> None:
    on = udev_rules(stopped(STORED), OTHER, macs={OTHER: ("duplicate",)})
    plan = planner.plan([want(domain, OTHER, present=False)], on)
    assert not plan.changed
    assert "rule" not in str(plan.warnings)


@pytest.mark.parametrize("domain", ["web1", "gone"])
def test_a_rule_that_is_left_over_goes_with_absent_and_comes_back(domain: str) -> None:
    on = udev_rules(stopped(STORED), OTHER, macs={})
    plan = planner.plan([want(domain, OTHER, present=False)], on)
    assert changes(plan) == [("allmulticast", True, None, "config")]
    assert rules_after(plan) == {OTHER: False}
    without = udev_rules(stopped(STORED), macs={})
    assert not planner.plan([want(domain, OTHER, present=False)], without).changed
    journal: Journal[Nic] = Journal()
    for step in plan.steps:
        journal.record(step, RULE)
    back = rollback.undo(journal, without)
    assert rules_after(back) == {OTHER: True}
    assert all(step.after and step.after.has_orphan_rule for step in back.steps)
    assert not rollback.undo(journal, on).changed
    assert not planner.plan(
        [want(domain, OTHER, present=False)], udev_rules(stopped(STORED), OTHER, macs={OTHER: ("b",)})
    ).changed


def test_a_new_interface_with_an_existing_rule_is_warned_about() -> None:
    plan = planner.plan([want(mac=OTHER, source="eth0", mode="bridge")], udev_rules(stopped(STORED), OTHER, macs={}))
    assert ("allmulticast", None, True, "config") in changes(plan)
    assert "a udev rule for this address exists already" in plan.warnings[0]
    off = want(mac=OTHER, source="eth0", mode="bridge", allmulticast="no")
    assert rules_after(planner.plan([off], udev_rules(stopped(STORED), OTHER, macs={}))) == {OTHER: False}


def test_a_modified_rule_is_removed_with_false_and_with_the_interface_and_left_alone_otherwise() -> None:
    on = host(stopped(STORED), links=LINKS, managed_rules=frozenset(), modified_rules=frozenset({MAC}), macs={})
    assert not planner.plan([want()], on).changed
    for text, value in (("no", False), ("yes", True)):
        plan = planner.plan([want(allmulticast=text)], on)
        assert changes(plan) == [("allmulticast", None, value, "config")]
        assert rules_after(plan) == {MAC: value}
    assert rules_after(planner.plan([want(present=False)], on)) == {MAC: False}


# Hosts without udev.


def test_a_warning_about_duration_needs_a_value_that_is_set() -> None:
    on = host(running([STORED], [heard(LIVE, "no")]), links=LINKS, rules_unsupported="there is no udev")
    (warning,) = planner.plan([want(allmulticast="yes")], on, level="none").warnings
    assert "is set neither now nor when the guest starts: there is no udev" in warning


@pytest.mark.parametrize(
    ("live", "given", "expected"),
    [
        ({"allmulticast": "yes"}, {}, True),
        ({"allmulticast": "yes"}, {"allmulticast": "no"}, False),
        ({"allmulticast": "no"}, {}, False),
        ({"allmulticast": "yes", **TRUSTS}, {}, False),
    ],
)
def test_a_replug_for_another_field_keeps_allmulticast_of_the_link(
    live: dict[str, str], given: dict[str, t.Any], expected: bool
) -> None:
    on = host(running([STORED], [changed(LIVE, **live)]), links=LINKS, rules_unsupported="there is no udev")
    (step,) = planner.plan([want(alias="ua-lan", **given)], on, level="replug").steps
    assert step.after is not None
    assert step.after.live is not None
    assert (step.after.live.get("allmulticast") == "yes") is expected
    assert Impact.REPLUG in {change.impact for change in step.changes}
