# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What was planned for, known by what cannot be given to another: the address of each NIC, the instance of each guest.

Pure: no libvirt, no I/O.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Key
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step


def pinned(resolved: t.Sequence[Resolved]) -> list[Desired]:
    """Return what was desired of each NIC by its MAC address, whatever the user has found it by; purged ones too."""
    return [
        replace(
            one.desired,
            by="mac",
            key=one.before.mac,
            mac=one.before.mac,
            # What tells it from another one of its address, which it may have been given only now.
            meant=(one.after if one.after.stored else one.before) if one.before.shared else None,
        )
        if one.before.mac
        else one.desired
        for one in resolved
    ]


def moved(before: Host, after: Host) -> frozenset[str]:
    """Return the domains whose guest has stopped, started or started anew between the two."""
    return frozenset(
        name
        for name, domain in before.domains.items()
        if name in after.domains
        and (after.domains[name].uuid, after.domains[name].instance) != (domain.uuid, domain.instance)
    )


def check_defined(resolved: t.Sequence[Resolved], before: Host, after: Host) -> None:
    """Look whether the domains in which something is to be stored are still defined.

    :raises MacvtapError: one is not: nothing is stored of it, whatever its guest still has.
    """
    for one in resolved:
        name = one.before.domain
        was, now = before.domains.get(name), after.domains.get(name)
        if one.after.stored is None or was is None or not was.persistent:
            continue
        if now is None or not now.persistent or now.uuid != was.uuid:
            raise MacvtapError(f"domain {name!r} was undefined while this ran", path=one.desired.path)


@dataclass(frozen=True)
class LeftAlone(t.Collection[Key]):
    """The NICs whose running guest is not to be touched (any more): single ones, and all those of some domains."""

    nics: frozenset[Key]
    domains: frozenset[str] = frozenset()

    def __contains__(self, key: object) -> bool:
        return key in self.nics or (isinstance(key, tuple) and key[0] in self.domains)

    def __iter__(self) -> t.Iterator[Key]:
        return iter(self.nics)

    def __len__(self) -> int:
        return len(self.nics)


def as_done(
    plan: Plan[Nic],
    host: Host,
    domains: t.Collection[str],
    due: t.Collection[Key],
    begun: t.Collection[Step[Nic]],
) -> Plan[Nic]:
    """Return ``plan`` with what its changes have cost where the guest of one of ``domains`` was not touched after all.

    ``due`` are the NICs that a running guest still has otherwise than they are stored. A step of ``plan`` of which
    nothing was ``begun`` has changed nothing.
    """

    def change(one: Change, nic: Nic) -> Change:
        return replace(one, impact=Impact.RESTART if (nic.domain, nic.mac) in due else Impact.CONFIG)

    steps = []
    warnings = []
    for step in plan.steps:
        nic = step.before
        touches = {one.impact for one in step.changes} & {Impact.LIVE, Impact.REPLUG}
        if nic is not None and nic.domain in domains and touches:
            now = host.domains.get(nic.domain)
            if now is not None and now.running:
                said = "was started anew while this ran. restart_required lists what it has otherwise than stored"
            elif now is not None and now.saved is not None:
                said = "was saved while this ran. Its next start brings back the NICs that it was saved with"
            else:
                said = "stopped while this ran. It has what is stored when it starts"
            warnings.append(f"{step.target}: the guest {said}")
            was_begun = any(step is one for one in begun)
            changes = tuple(change(one, nic) for one in step.changes) if was_begun else ()
            step = replace(step, changes=changes)  # noqa: PLW2901
        steps.append(step)
    return replace(plan, steps=tuple(steps), warnings=(*plan.warnings, *warnings))
