# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the stages before mean for a stage."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.model import (
    GUARDS,
    HOST_ACCESS,
    INTERFACES,
    KERNEL,
    LINKS,
    NETWORKS,
    PERSISTENCE,
    VLANS,
    Outcome,
    Stage,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.prediction import is_forced, skip_reason

NEW_VLAN = Outcome(Stage("tags", VLANS), changed=True, new_vlans=("eth0.20", "eth0.30"))


@pytest.mark.parametrize("module", [VLANS, LINKS, NETWORKS, INTERFACES, HOST_ACCESS])
def test_what_may_be_on_a_new_vlan_link_is_not_known(module: str) -> None:
    stage = Stage("later", module)
    reason = "its uplink may be eth0.20, eth0.30, which the stage tags still creates"
    assert skip_reason(stage, [NEW_VLAN]) == reason
    # Not only right after it, and not before it.
    assert skip_reason(stage, [NEW_VLAN, Outcome(Stage("guards", GUARDS))]) == reason
    assert skip_reason(stage, []) is None


@pytest.mark.parametrize("module", [KERNEL, GUARDS, PERSISTENCE])
def test_what_needs_no_uplink_is_planned(module: str) -> None:
    assert skip_reason(Stage("later", module), [NEW_VLAN, Outcome(Stage("nets", NETWORKS), changed=True)]) is None


def test_other_changes_of_vlan_links_skip_nothing() -> None:
    assert skip_reason(Stage("links", LINKS), [Outcome(Stage("tags", VLANS), changed=True)]) is None


@pytest.mark.parametrize("module", [VLANS, LINKS, NETWORKS, HOST_ACCESS])
def test_nics_on_a_network_that_changes_are_not_known(module: str) -> None:
    changed = Outcome(Stage("nets", NETWORKS), changed=True)
    reason = "its network may be one that the stage nets still changes"
    assert skip_reason(Stage("guests", INTERFACES), [changed]) == reason
    assert skip_reason(Stage("other", module), [changed]) is None
    assert skip_reason(Stage("guests", INTERFACES), [Outcome(Stage("nets", NETWORKS))]) is None


@pytest.mark.parametrize(("module", "user", "other"), [(VLANS, LINKS, INTERFACES), (NETWORKS, INTERFACES, LINKS)])
def test_what_is_removed_may_be_in_use_by_what_goes_before(module: str, user: str, other: str) -> None:
    removed, kept = Stage("gone", module, removes=True), Stage("there", module)
    changed = Outcome(Stage("users", user), changed=True)
    assert is_forced(removed, [changed])
    assert skip_reason(removed, [changed]) is None
    assert not is_forced(kept, [changed])
    assert not is_forced(removed, [Outcome(Stage("users", user))])
    assert not is_forced(removed, [Outcome(Stage("others", other), changed=True)])
    assert not is_forced(Stage("users", user, removes=True), [changed])


@pytest.mark.parametrize(("module", "user"), [(VLANS, LINKS), (NETWORKS, INTERFACES)])
def test_whether_what_is_removed_is_in_use_is_not_known_after_a_skipped_stage(module: str, user: str) -> None:
    removed, skipped = Stage("gone", module, removes=True), Outcome(Stage("users", user), skipped="why")
    assert skip_reason(removed, [skipped]) == "something may be on it that the stage users still removes"
    # Nothing is created on a new VLAN link by removing another one.
    assert skip_reason(removed, [NEW_VLAN]) is None
