# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The udev rules of allmulticast: another domain has the address too, or somebody has left or changed one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution, rollback
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import RULE, Domain, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

from .planned import LINKS, MAC, OTHER, STORED, changes, heard, host, refused, rules_after, stopped, udev_rules, want

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
