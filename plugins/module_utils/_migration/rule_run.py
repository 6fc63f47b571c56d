# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_rules: the stages of a run over udev rules."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hypervisor import Hypervisor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.udev_rules import RuleStore
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import rule_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.rule_planner import DesiredRule, Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step, converge


def read(hypervisor: Hypervisor, store: RuleStore) -> Rules:
    """Return the rules of this host, and whose addresses its domains have.

    :raises MacvtapError: libvirt cannot be asked, or this user may not read a domain.
    """
    found = store.observe()
    # None of its domains is read by name, so that all are others.
    macs = hypervisor.with_macs(Host("", {})).macs
    return Rules(found.managed_rules, found.rules_unsupported, macs, found.modified_rules)


def run(
    hypervisor: Hypervisor, store: RuleStore, desired: t.Sequence[DesiredRule], *, check_mode: bool, diff: bool
) -> dict[str, t.Any]:
    """Write or remove rules, and return the module's result.

    :raises MacvtapError: as :func:`converge`.
    """

    def apply(steps: t.Sequence[Step[DesiredRule]], journal: Journal[DesiredRule]) -> None:
        for step in steps:
            journal.record(step)
        write(steps)

    def write(steps: t.Sequence[Step[DesiredRule]], *, restore: bool = False) -> None:
        changed = [t.cast("DesiredRule", step.after) for step in steps]
        if changed:
            store.apply({one.mac: one.receives_all for one in changed}, changed[0].path, restore=restore)

    outcome = converge(
        lambda: read(hypervisor, store),
        lambda rules, _none: rule_planner.plan(desired, rules),
        apply,
        rule_planner.undo,
        # As it was, with what was edited by hand right before it was written.
        revert=lambda steps: write(steps, restore=True),
        check_mode=check_mode,
    )
    return {**outcome.plan.result(diff=diff), "warnings": [*outcome.plan.warnings, *store.warnings]}
