# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Identities that hold during a run: the MAC address of each NIC, the instance of each guest.

Pure: no libvirt, no I/O.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Key
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step


def pinned(resolved: t.Sequence[Resolved]) -> list[Desired]:
    """Return the desired NICs, each selected by its MAC address; purged ones too."""
    return [
        replace(
            one.desired,
            by="mac",
            key=one.before.mac,
            mac=one.before.mac,
            # Distinguishes NICs of one address; the values may be new in this run.
            nic=(one.after if one.after.stored else one.before) if one.before.shared else None,
        )
        if one.before.mac
        else one.desired
        for one in resolved
    ]


def restarted(before: Host, after: Host) -> frozenset[str]:
    """Return the domains whose guest stopped, started or restarted between the two observations."""
    both = before.domains.keys() & after.domains.keys()
    return frozenset(name for name in both if _guest_of(before.domains[name]) != _guest_of(after.domains[name]))


def _guest_of(domain: Domain) -> tuple[t.Any, ...]:
    return domain.uuid, domain.instance


def validate_defined(resolved: t.Sequence[Resolved], before: Host, after: Host) -> None:
    """Check that the domains in which something is stored are still defined.

    :raises MacvtapError: one is not, even if its guest still runs.
    """
    for one in resolved:
        name = one.before.domain
        was, now = before.domains.get(name), after.domains.get(name)
        if one.after.stored is None or was is None or not was.persistent:
            continue
        if now is None or not now.persistent or now.uuid != was.uuid:
            raise MacvtapError(f"domain {name!r} was undefined or moved while this ran", path=one.desired.path)


@dataclass(frozen=True)
class Untouched(t.Collection[Key]):
    """The NICs whose running guest must not be changed: single NICs, and all NICs of some domains."""

    nics: frozenset[Key]
    domains: frozenset[str] = frozenset()

    def __contains__(self, key: object) -> bool:
        return key in self.nics or (isinstance(key, tuple) and key[0] in self.domains)

    def __iter__(self) -> t.Iterator[Key]:
        return iter(self.nics)

    def __len__(self) -> int:
        return len(self.nics)


def with_actual_impacts(
    plan: Plan[Nic],
    host: Host,
    domains: t.Collection[str],
    due: t.Collection[Key],
    begun: t.Collection[Step[Nic]],
) -> Plan[Nic]:
    """Return ``plan`` with the actual impacts, where the guest of one of ``domains`` was not changed after all.

    ``due`` are the NICs of running guests that still differ from the stored ones. A step of ``plan`` that was not
    ``begun`` has changed nothing.
    """

    def change(one: Change, nic: Nic) -> Change:
        return replace(one, impact=Impact.RESTART if (nic.domain, nic.mac) in due else Impact.CONFIG)

    steps = []
    warnings = []
    for step in plan.steps:
        nic = step.before
        touches = {one.impact for one in step.changes} & {Impact.LIVE, Impact.PAUSE, Impact.REPLUG}
        was_begun = any(step is one for one in begun)
        if nic is not None and nic.domain not in host.domains and touches and not was_begun:
            warnings.append(f"{step.target}: the domain was undefined, moved or stopped while this ran, and has gone")
            step = replace(step, changes=())  # noqa: PLW2901
        elif nic is not None and nic.domain in domains and touches:
            now = host.domains.get(nic.domain)
            if now is not None and now.running:
                outcome = (
                    "was restarted while this ran. restart_required lists how it differs from the stored configuration"
                )
            elif now is not None and now.saved is not None:
                outcome = "was saved while this ran. Its next start brings back the NICs that it was saved with"
            else:
                outcome = "stopped while this ran. It gets the stored configuration when it starts"
            warnings.append(f"{step.target}: the guest {outcome}")
            changes = tuple(change(one, nic) for one in step.changes) if was_begun else ()
            step = replace(step, changes=changes)  # noqa: PLW2901
        steps.append(step)
    return replace(plan, steps=tuple(steps), warnings=(*plan.warnings, *warnings))
