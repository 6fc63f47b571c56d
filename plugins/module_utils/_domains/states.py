# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains that are more than running or stopped: under a job, saved, crashed, ending. What holds then, and when.

Pure: no libvirt, no I/O.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import OUTSIDE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import unsettled
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import CRASHED, SHUTTING_DOWN, refuse
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan

# States in which a guest is not touched any more.
_SAID = {SHUTTING_DOWN: "is shutting down", CRASHED: "has crashed"}


def validate(plan: Plan[Nic], host: Host) -> None:
    """Look whether the jobs that domains are under allow what is to change.

    :raises MacvtapError: one does not.
    """
    for step in plan.steps:
        domain = _domain(step.before, host)
        if domain is not None:
            refuse(domain.name, domain.job, path=step.path, live=_is_live({change.impact for change in step.changes}))


def ending(host: Host) -> frozenset[str]:
    """Return the domains whose guest runs, but not for long, so that it is not touched."""
    return frozenset(name for name, domain in host.domains.items() if domain.state in _SAID)


def described(plan: Plan[Nic], host: Host) -> Plan[Nic]:
    """Return ``plan`` with what its changes cost where a domain is saved, and with warnings of such states."""
    steps = []
    warnings: dict[str, None] = {}
    for step in plan.steps:
        domain = _domain(step.before, host)
        if domain is not None and domain.state in _SAID:
            said = f"{step.target}: the guest {_SAID[domain.state]}, and is not touched"
            warnings[f"{said}. It has what is stored when it starts"] = None
        if domain is not None and domain.saved is not None:
            warnings[
                f"domain {domain.name!r} has a managed save: virsh start {domain.name} brings back the guest with the "
                "NICs that it was saved with, whatever is stored. It has what is stored when it is stopped and started "
                f"after that, or at once after virsh managedsave-remove {domain.name}, which discards what was saved"
            ] = None
            changes = tuple(replace(one, impact=Impact.RESTART) for one in step.changes)
            step = replace(step, changes=changes)  # noqa: PLW2901
        steps.append(step)
    return replace(plan, steps=tuple(steps), warnings=(*plan.warnings, *warnings))


def restart_fields(resolved: Resolved, host: Host) -> list[str]:
    """Return the fields in which what the guest has, or has when it is started from its managed save, is not stored."""
    domain = host.domains.get(resolved.before.domain)
    if domain is None or domain.saved is None:
        return list(resolved.restart_fields())
    saved = next((iface for iface in domain.saved if iface.mac == resolved.before.mac), None)
    stored = resolved.after.stored
    if saved is None or stored is None:
        return [] if saved is stored else ["state"]
    # What is outside of the element comes by a rule of udev's at each start.
    return [name for name in unsettled(saved, stored, host.links, resolved.desired.given) if name not in OUTSIDE]


def _domain(nic: Nic | None, host: Host) -> Domain | None:
    return host.domains.get(nic.domain) if nic is not None else None


def _is_live(impacts: t.Collection[Impact]) -> bool:
    return not {Impact.LIVE, Impact.REPLUG}.isdisjoint(impacts)
