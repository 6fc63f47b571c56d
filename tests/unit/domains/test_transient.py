# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains that are not stored: their interfaces are changed as they run, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

from .planned import LINKS, LIVE, MAC, OTHER, STORED, changes, host, running, want


def fleeting(*live: Iface) -> Domain:
    return running([], live, persistent=False)


def test_of_a_transient_domain_what_it_can_have_as_it_runs() -> None:
    on = host(fleeting(LIVE), links=LINKS)
    (resolved,) = resolution.resolve([want(mode="private", model="e1000")], on)
    assert resolved.restart_fields() == ()
    assert resolved.warnings == (
        f"web1 {MAC}: the domain is transient, so nothing of it is stored (virsh define would store it). The running "
        "guest does not get model",
    )
    assert changes(planner.plan([want(mode="private", model="e1000")], on)) == [("mode", "bridge", "private", "live")]
    added = planner.plan([want(mac=OTHER, source="eth0", mode="bridge")], on)
    assert changes(added) == [("live", "absent", "present", "live")]
    (step,) = added.steps
    assert step.after is not None
    assert step.after.stored is None
    assert changes(planner.plan([want(present=False)], on)) == [("live", "present", "absent", "live")]


def test_what_a_transient_domain_cannot_have_stops_no_other() -> None:
    on = host(fleeting(LIVE), Domain("web2", stored=(replace(STORED, mac=OTHER),)), links=LINKS)
    others = [want("web2", OTHER, mode="private")]
    for entry in (want(model="e1000"), want(mac="52:54:00:00:00:09", source="eth0", mode="vepa"), want(present=False)):
        plan = planner.plan([entry, *others], on, level="none")
        assert [step.target for step in plan.steps] == [f"web2 {OTHER}"]
        assert any("is transient" in warning for warning in plan.warnings)
    nothing = planner.plan([want(mac="52:54:00:00:00:09", present=False), *others], on)
    assert [step.target for step in nothing.steps] == [f"web2 {OTHER}"]
    assert not [warning for warning in nothing.warnings if "transient" in warning]


def test_what_would_fail_in_a_transient_domain_is_refused_first() -> None:
    with pytest.raises(MacvtapError, match="there is no link eth9"):
        planner.plan([want(mac=OTHER, source="eth9", mode="bridge")], host(fleeting(LIVE), links=LINKS))
    with pytest.raises(MacvtapError, match="must be the only one on its parent"):
        planner.plan([want(mac=OTHER, source="eth0", mode="passthrough")], host(fleeting(LIVE), links=LINKS))
