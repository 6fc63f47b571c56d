# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is done to running guests: NICs are changed, unplugged and plugged."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, hostlinks, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, words
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Step

_POLL_SECONDS = (0.005, 0.05)
# What is changed on the link, behind libvirt.
_OF_LINK = ("mode", "allmulticast")


class Task(t.NamedTuple):
    """A step that has both its ends, as all of this planner's have."""

    path: str
    before: Nic
    after: Nic
    replugs: bool

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
        return (self.comes and hears) or not self.updates().keys().isdisjoint(_OF_LINK)

    def updates(self) -> dict[str, str | None]:
        """What changes of an interface that stays in the running guest."""
        before, after = self.before.live, self.after.live
        if before is None or after is None or self.replugs:
            return {}
        names = {*before.values, *after.values}
        return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


def tasks_of(steps: t.Sequence[Step[Nic]]) -> list[Task]:
    return [
        Task(step.path, step.before, step.after, any(c.impact is Impact.REPLUG for c in step.changes))
        for step in steps
        if step.before and step.after
    ]


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


class Guests:
    """The running guests of a connection. ``unanswered`` are the NICs (domain, MAC address) that did not go in time."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._on = connection
        self._timeout = timeout
        self.unanswered: set[tuple[str, str]] = set()
        self.warnings: list[str] = []

    def bring(self, tasks: t.Sequence[Task]) -> None:
        """Change what stays, then unplug what goes, then plug what comes.

        :raises MacvtapError: libvirt refuses.
        """
        for task in tasks:
            self._update(task)
        leaving = [task for task in tasks if task.leaves]
        for task in leaving:
            self._unplug(task.path, task.before)
        self._wait_until_gone([task.before for task in leaving])
        for task in tasks:
            if task.comes and (task.after.domain, task.after.mac) not in self.unanswered:
                self._plug(task.path, task.after)

    def _update(self, task: Task) -> None:
        updates = task.updates()
        of_link: dict[str, str | None] = {name: updates.pop(name) for name in _OF_LINK if name in updates}
        if updates:
            self._update_by_libvirt(task, updates)
        # Behind libvirt, which takes allmulticast off as long as it trusts the guest's filters.
        if of_link and task.before.live is not None:
            hostlinks.change(task.before.live, of_link, task.path)

    def _update_by_libvirt(self, task: Task, updates: t.Mapping[str, str | None]) -> None:
        nic = task.after
        with self._on.said(f"cannot change {nic.mac} of the running domain {nic.domain!r}", task.path):
            handle = self._on.handle.lookupByName(nic.domain)
            # As libvirt itself has it, which refuses an update with another mode than it believes in.
            iface = self._on.live(handle, nic.mac)
            if iface is None:
                raise StaleError(
                    f"{nic.domain} {nic.mac} has gone from the running guest while this ran", path=task.path
                )
            values = {n: v for n, v in {**iface.values, **updates}.items() if v is not None}
            handle.updateDeviceFlags(
                element.render(replace(iface, values=values)), self._on.libvirt.VIR_DOMAIN_AFFECT_LIVE
            )

    def _unplug(self, path: str, nic: Nic) -> None:
        if nic.live is None:
            return
        with self._on.said(f"cannot remove {nic.mac} from the running domain {nic.domain!r}", path):
            try:
                # Not detachDeviceFlags: where a guest does not answer, 9.0 blocks for 5 s and then reports success.
                self._on.handle.lookupByName(nic.domain).detachDeviceAlias(
                    nic.live.get("alias"), self._on.libvirt.VIR_DOMAIN_AFFECT_LIVE
                )
            except self._on.libvirt.libvirtError as exc:
                # The guest may have answered an earlier run's request just now, or still be thinking about it:
                # QEMU (acpi_pcihp, pcie_hotplug) then says "already in the process of unplug".
                if "process of unplug" not in words(exc) and self._is_live(nic):
                    raise

    def _wait_until_gone(self, left: t.Sequence[Nic]) -> None:
        until = time.monotonic() + self._timeout
        pause, longest = _POLL_SECONDS
        while left:
            left = [nic for nic in left if self._is_live(nic)]
            if left and time.monotonic() >= until:
                self.unanswered |= {(nic.domain, nic.mac) for nic in left}
                return
            if left:
                time.sleep(pause)
                pause = min(2 * pause, longest)

    def _is_live(self, nic: Nic) -> bool:
        with self._on.said(f"cannot read domain {nic.domain!r}"):
            return self._on.live(self._on.handle.lookupByName(nic.domain), nic.mac) is not None

    def _plug(self, path: str, nic: Nic) -> None:
        with self._on.said(f"cannot add {nic.mac} to the running domain {nic.domain!r}", path):
            handle = self._on.handle.lookupByName(nic.domain)
            iface = nic.live
            hears_all = iface is not None and iface.get("allmulticast") == "yes"
            if element.same(iface, nic.stored):
                # With the address that libvirt gave it when it was stored, so that a restart does not move it.
                iface = next((i for i in xml.interfaces(self._on.stored_xml(handle)) if i.mac == nic.mac), iface)
            if iface is None:
                return
            live = self._on.libvirt.VIR_DOMAIN_AFFECT_LIVE
            try:
                handle.attachDeviceFlags(element.pluggable(iface), live)
            except self._on.libvirt.libvirtError:
                # The running guest has something else in that slot, or lacks the controller that storing it added.
                handle.attachDeviceFlags(element.pluggable(iface, address=False), live)
                self.warnings.append(
                    f"{nic.domain} {nic.mac}: the slot that is stored for it is not free in the running guest, so it "
                    "is in another one until the domain is stopped and started; the guest may then name it otherwise"
                )
            made = self._on.live(handle, nic.mac) if hears_all else None
        if made is not None:
            hostlinks.change(made, {"allmulticast": "yes"}, path)
