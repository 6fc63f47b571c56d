# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Splits a step into work on the running guest and on udev rules, and orders detaching and attaching. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import GENERATED_PREFIXES, IN_XML
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import LINK_FAULTS, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Step

# The fields that are changed on the link, without libvirt.
OF_LINK = ("mode", "allmulticast", *LINK_FAULTS)
# A NIC: the name of its domain, and its MAC address.
Key = t.Tuple[str, str]


class Task(t.NamedTuple):
    """A step with both before and after, as all steps of this planner have."""

    step: Step[Nic]
    before: Nic
    after: Nic
    replugs: bool
    pauses: bool = False

    @property
    def path(self) -> str:
        return self.step.path

    @property
    def key(self) -> Key:
        return self.before.domain, self.before.mac

    @property
    def detaches(self) -> bool:
        return bool(self.before.live) and (self.replugs or not self.after.live)

    @property
    def attaches(self) -> bool:
        return bool(self.after.live) and (self.replugs or not self.before.live)

    @property
    def changes_link(self) -> bool:
        """Whether the link itself is changed."""
        live = self.after.live
        receives_all = live is not None and live.get("allmulticast") == "yes"
        return ((self.attaches or self.pauses) and receives_all) or not self.updates().keys().isdisjoint(OF_LINK)

    def updates(self) -> dict[str, str | None]:
        """Return the changed values of an interface that stays in the running guest."""
        before, after = self.before.live, self.after.live
        if before is None or after is None or self.replugs or self.pauses:
            return {}
        names = {*before.values, *after.values}
        return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


def tasks_of(steps: t.Sequence[Step[Nic]]) -> list[Task]:
    return [
        Task(
            step,
            step.before,
            step.after,
            replugs=any(c.impact is Impact.REPLUG for c in step.changes),
            pauses=any(c.impact is Impact.PAUSE for c in step.changes),
        )
        for step in steps
        if step.before and step.after
    ]


def same_values(one: Iface, other: Iface) -> bool:
    """Whether two running interfaces are the same, except for what libvirt generates."""
    names = [field.name for field in IN_XML if field.name not in {*GENERATED_PREFIXES, "pci_address"}]
    if networks.same_network(one, other):
        names = [name for name in names if name.split(".")[0] not in networks.GIVEN]
    return one.type == other.type and all(one.get(name) == other.get(name) for name in names)


def attachable(waiting: t.Sequence[Task], held: t.Collection[Key]) -> list[Task]:
    """Return the ``waiting`` NICs that can be attached while guests still hold those in ``held``.

    A replugged NIC waits only for itself. A MAC address that moves waits until the other guest has released it. A new
    NIC waits for the slot that its own guest frees.
    """
    macs = {mac for _domain, mac in held}
    domains = {domain for domain, _mac in held}
    return [task for task in waiting if task.before.mac not in macs and (task.detaches or task.key[0] not in domains)]


def rules_of(tasks: t.Sequence[Task]) -> tuple[dict[str, bool], str]:
    """Return for which MAC addresses to write or remove the allmulticast rule.

    And the path of the first option that causes it.
    """
    found: dict[str, bool] = {}
    path = ""
    for task in tasks:
        before, after = (
            "yes" if nic.has_orphan_rule else nic.stored and nic.stored.get("allmulticast")
            for nic in (task.before, task.after)
        )
        if after != before:
            path = path or join_path(task.path, "allmulticast" if task.after.stored else "state")
            # An address that moves between domains has the rule if either declares it.
            found[task.after.mac] = found.get(task.after.mac, False) or after == "yes"
    return found, path
