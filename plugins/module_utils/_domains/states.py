# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains with a job, a managed save, or a guest that is ending: what is refused, and what is warned about.

Pure: no libvirt, no I/O.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import OUTSIDE_XML
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import due_at_restart
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import (
    CRASHED,
    SHUTTING_DOWN,
    validate_job,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan

# The states in which a guest is not changed any more.
STATE_TEXTS = {SHUTTING_DOWN: "is shutting down", CRASHED: "has crashed"}


def validate(plan: Plan[Nic], host: Host) -> None:
    """Refuse a plan that a domain's job does not allow.

    :raises MacvtapError: one does not.
    """
    for step in plan.steps:
        domain = _domain(step.before, host)
        if domain is not None:
            validate_job(
                domain.name, domain.job, path=step.path, live=_is_live({change.impact for change in step.changes})
            )


def ending(host: Host) -> frozenset[str]:
    """Return the domains whose running guest is about to end, so that it is not changed."""
    return frozenset(name for name, domain in host.domains.items() if domain.state in STATE_TEXTS)


def with_state_warnings(plan: Plan[Nic], host: Host) -> Plan[Nic]:
    """Return ``plan`` with the impact of changes to saved domains, and with warnings about domain states."""
    steps = []
    warnings: dict[str, None] = {}
    for step in plan.steps:
        domain = _domain(step.before, host)
        if domain is not None and domain.state in STATE_TEXTS:
            message = f"{step.target}: the guest {STATE_TEXTS[domain.state]}, and is not touched"
            warnings[f"{message}. It gets the stored configuration when it starts"] = None
        if domain is not None and domain.saved is not None:
            warnings[
                f"domain {domain.name!r} has a managed save: its next start restores the guest with the NICs that "
                "it was saved with, whatever is stored. The stored configuration applies after the stop and start "
                f"that follow. virsh managedsave-remove {domain.name} discards the saved guest, so that it applies "
                "at once"
            ] = None
            changes = tuple(replace(one, impact=Impact.RESTART) for one in step.changes)
            step = replace(step, changes=changes)  # noqa: PLW2901
        steps.append(step)
    return replace(plan, steps=tuple(steps), warnings=(*plan.warnings, *warnings))


def restart_fields(resolved: Resolved, host: Host) -> list[str]:
    """Return the fields in which the guest, running or in its managed save, differs from what is stored."""
    domain = host.domains.get(resolved.before.domain)
    if domain is None or domain.saved is None:
        return list(resolved.restart_fields())
    saved = next((iface for iface in domain.saved if iface.mac == resolved.before.mac), None)
    stored = resolved.after.stored
    if saved is None or stored is None:
        return [] if saved is stored else ["state"]
    # A udev rule sets fields outside of the XML at each start.
    return [name for name in due_at_restart(saved, stored, host, resolved.desired.given) if name not in OUTSIDE_XML]


def _domain(nic: Nic | None, host: Host) -> Domain | None:
    return host.domains.get(nic.domain) if nic is not None else None


def _is_live(impacts: t.Collection[Impact]) -> bool:
    return not {Impact.LIVE, Impact.PAUSE, Impact.REPLUG}.isdisjoint(impacts)
