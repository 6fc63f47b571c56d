# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a step means for the running guest, for the rules of udev, and in which order NICs come and go. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import ASTRAY, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Step

# What is changed on the link, behind libvirt.
OF_LINK = ("mode", "allmulticast", *ASTRAY)
# A NIC by the name of its domain and its MAC address.
Key = t.Tuple[str, str]


class Task(t.NamedTuple):
    """A step that has both its ends, as all of this planner's have."""

    step: Step[Nic]
    before: Nic
    after: Nic
    replugs: bool

    @property
    def path(self) -> str:
        return self.step.path

    @property
    def key(self) -> Key:
        return self.before.domain, self.before.mac

    @property
    def leaves(self) -> bool:
        return bool(self.before.live) and (self.replugs or not self.after.live)

    @property
    def comes(self) -> bool:
        return bool(self.after.live) and (self.replugs or not self.before.live)

    @property
    def changes_link(self) -> bool:
        """Whether something is changed on the link itself."""
        live = self.after.live
        hears = live is not None and live.get("allmulticast") == "yes"
        return (self.comes and hears) or not self.updates().keys().isdisjoint(OF_LINK)

    def updates(self) -> dict[str, str | None]:
        """What changes of an interface that stays in the running guest."""
        before, after = self.before.live, self.after.live
        if before is None or after is None or self.replugs:
            return {}
        names = {*before.values, *after.values}
        return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


def tasks_of(steps: t.Sequence[Step[Nic]]) -> list[Task]:
    return [
        Task(step, step.before, step.after, any(c.impact is Impact.REPLUG for c in step.changes))
        for step in steps
        if step.before and step.after
    ]


def attachable(waiting: t.Sequence[Task], held: t.Collection[Key]) -> list[Task]:
    """Return which of the NICs that are ``waiting`` to be attached can be, while guests still hold those of ``held``.

    One that is replugged waits for itself alone. A MAC address that moves waits until the other guest has released it,
    and a new NIC for the slot that its own guest is to free.
    """
    macs = {mac for _domain, mac in held}
    domains = {domain for domain, _mac in held}
    return [task for task in waiting if task.before.mac not in macs and (task.leaves or task.key[0] not in domains)]


def rules_of(tasks: t.Sequence[Task]) -> tuple[dict[str, bool], str]:
    """Return of which addresses it is to be written down, or no longer, that their links get all multicast.

    And the path of the option that is the first to say so.
    """
    found: dict[str, bool] = {}
    path = ""
    for task in tasks:
        was, wanted = (
            "yes" if nic.left else nic.stored and nic.stored.get("allmulticast") for nic in (task.before, task.after)
        )
        if wanted != was:
            path = path or join_path(task.path, "allmulticast" if task.after.stored else "state")
            # An address that one domain gives to another has it if either says so.
            found[task.after.mac] = found.get(task.after.mac, False) or wanted == "yes"
    return found, path
