# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is done to running guests: NICs are changed, detached and attached.

A NIC is looked up by its domain's UUID and its MAC address right before anything is done to it, and a guest only
touched while it is the instance that was observed: one that has stopped or started anew has what is stored.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, hostlinks, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, words
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    ATTACHED,
    DETACHED,
    LINK,
    UPDATED,
    Iface,
    Nic,
    StaleError,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pending import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import (
    OF_LINK,
    Key,
    Task,
    alike,
    attachable,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

_POLL_SECONDS = (0.005, 0.05)
# QEMU's own words, in no other language: it has been asked already (acpi_pcihp, pcie_hotplug), or the guest is at it.
_ASKED = ("process of unplug", "guest is busy")


class Guests:
    """The running guests of a connection.

    ``asked`` are the NICs that guests were asked to release, ``unanswered`` those (domain, MAC address) that were not
    released in time, ``moved`` the domains whose guest has stopped or started while this ran.
    """

    def __init__(self, connection: Connection, timeout: float, requests: Requests) -> None:
        self._on = connection
        self._timeout = timeout
        self._requests = requests
        self.unanswered: set[Key] = set()
        self.asked: list[Nic] = []
        self.moved: set[str] = set()
        self.warnings: list[str] = []

    def bring(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, go_on: bool = False) -> list[MacvtapError]:
        """Change what stays, detach what goes, and attach what comes as soon as what it waits for is gone.

        With ``go_on`` errors are returned, and the other NICs go on.

        :raises MacvtapError: libvirt refuses.
        """
        errors: list[MacvtapError] = []

        def attempt(do: t.Callable[[Task, Journal[Nic]], bool | None], task: Task) -> bool:
            if not go_on:
                return bool(do(task, journal))
            try:
                return bool(self._on.again(lambda: do(task, journal)))
            except MacvtapError as exc:
                errors.append(exc)
                return False

        if go_on:
            tasks = [self._refreshed(task) for task in tasks]
        for task in tasks:
            attempt(self._update, task)
        leaving = [task for task in tasks if task.leaves]
        for uuid in dict.fromkeys(task.before.uuid for task in leaving):
            self._requests.catch_up(self._on.libvirt, self._on.handle, uuid)
        try:
            # What cannot be taken back is owned before it is asked for.
            self._own([(task.before, task.after.live if task.comes else None) for task in leaving])
            held = {task.key: task for task in leaving if attempt(self._detach, task)}
        finally:
            for task in leaving:
                if not journal.has(task.step, DETACHED):
                    self._requests.withdraw(task.before)
        self._swap(held, [task for task in tasks if task.comes and (not task.leaves or task.key in held)], attempt)
        return errors

    def _own(self, asked: t.Sequence[tuple[Nic, Iface | None]]) -> None:
        try:
            self._requests.own(asked)
        except MacvtapError as exc:
            raise MacvtapError(f"{exc.message}. No guest was asked to release a NIC") from exc

    def _refreshed(self, task: Task) -> Task:
        """Return ``task`` as a replug where the keeper has attached what was stored until it was put back."""
        nic, wanted = task.before, task.after.live
        if task.leaves or wanted is None or nic.live is not None:
            return task

        def read() -> Iface | None:
            with self._requests.attaching(nic), self._on.said(f"cannot read domain {nic.domain!r}"):
                handle = self.same_instance(nic)
                return self._on.live(handle, nic.mac) if handle is not None else None

        try:
            iface = self._on.again(read)
        except MacvtapError:
            return task
        if iface is None or alike(iface, wanted):
            return task
        return task._replace(before=replace(nic, live=iface), replugs=True)

    def _swap(
        self,
        held: dict[Key, Task],
        waiting: list[Task],
        attempt: t.Callable[[t.Callable[[Task, Journal[Nic]], bool | None], Task], bool],
    ) -> None:
        """Wait until guests have released what they still hold, and attach each NIC as soon as it can be."""
        until = time.monotonic() + self._timeout
        pause, longest = _POLL_SECONDS
        while True:
            for key, task in list(held.items()):
                if not attempt(self._is_held, task):
                    del held[key]
            ready = attachable(waiting, held)
            waiting = [task for task in waiting if task not in ready]
            for task in ready:
                attempt(self._attach, task)
            if not held or time.monotonic() >= until:
                break
            time.sleep(pause)
            pause = min(2 * pause, longest)
        self.unanswered |= held.keys()
        for task in waiting:
            if task.key not in held:
                attempt(self._attach_beside(held), task)

    def _attach_beside(self, held: t.Collection[Key]) -> t.Callable[[Task, Journal[Nic]], None]:
        def attach(task: Task, journal: Journal[Nic]) -> None:
            others = [domain for domain, mac in held if mac == task.before.mac]
            if others:
                raise MacvtapError(
                    f"cannot add {task.before.mac} to the running domain {task.before.domain!r}: the guest "
                    f"{others[0]!r} did not release the NIC of this address within {self._timeout:g} s",
                    path=task.path,
                )
            self._attach(task, journal)

        return attach

    def same_instance(self, nic: Nic) -> t.Any:
        """Return the libvirt domain of ``nic`` if its guest is the one that was observed, else None."""
        handle = self._on.running(nic.uuid, nic.instance)
        if handle is None:
            self.moved.add(nic.domain)
        return handle

    def _update(self, task: Task, journal: Journal[Nic]) -> None:
        updates = task.updates()
        of_link: dict[str, str | None] = {name: updates.pop(name) for name in OF_LINK if name in updates}
        if updates:
            self._update_by_libvirt(task, updates, journal)
        # Behind libvirt, which takes allmulticast off as long as it trusts the guest's filters.
        nic = task.before
        if of_link and nic.live is not None:
            with self._on.said(f"cannot read domain {nic.domain!r}", task.path):
                handle = self.same_instance(nic)
            if handle is not None:
                journal.record(task.step, LINK)
                hostlinks.change(nic.live, of_link, task.path)

    def _update_by_libvirt(self, task: Task, updates: t.Mapping[str, str | None], journal: Journal[Nic]) -> None:
        nic = task.before
        with self._on.said(f"cannot change {nic.mac} of the running domain {nic.domain!r}", task.path):
            handle = self.same_instance(nic)
            if handle is None:
                return
            # As libvirt itself has it, which refuses an update with another mode than it believes in.
            iface = self._on.live(handle, nic.mac)
            if iface is None:
                raise StaleError(
                    f"{nic.domain} {nic.mac} has gone from the running guest while this ran", path=task.path
                )
            values = {n: v for n, v in {**iface.values, **updates}.items() if v is not None}
            changed = element.render(replace(iface, values=values))
            journal.record(task.step, UPDATED)
            handle.updateDeviceFlags(changed, self._on.libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def _detach(self, task: Task, journal: Journal[Nic]) -> bool:
        """Ask the guest to release a NIC; say whether that is to be waited for."""
        nic = task.before
        with self._on.said(f"cannot remove {nic.mac} from the running domain {nic.domain!r}", task.path):
            handle = self.same_instance(nic)
            # libvirt's own alias is a position, which another NIC has after a restart.
            iface = self._on.live(handle, nic.mac) if handle is not None else None
            if iface is None:
                gone = handle is not None and self.same_instance(nic) is not None
                if gone:
                    self._requests.settle(nic)
                return gone
            alias = iface.get("alias")
            if alias is None:
                raise MacvtapError(
                    f"cannot remove {nic.mac} from the running domain {nic.domain!r}: this driver of libvirt's gives "
                    "NICs no alias, by which it could be named. Set live: none, or stop the domain first",
                    path=task.path,
                )
            journal.record(task.step, DETACHED)
            self.asked.append(nic)
            try:
                # Not detachDeviceFlags: where a guest does not answer, 9.0 blocks for 5 s and then reports success.
                handle.detachDeviceAlias(alias, self._on.libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except self._on.libvirt.libvirtError as exc:
                # The guest may have answered an earlier run's request just now, or still be thinking about it.
                if not any(said in words(exc) for said in _ASKED) and self._on.live(handle, nic.mac) is not None:
                    if exc.get_error_code() != self._on.libvirt.VIR_ERR_OPERATION_TIMEOUT:
                        self._requests.withdraw(nic)
                    raise
                if not self._on.running(nic.uuid, nic.instance):
                    # It has ended or was saved right before it could be asked.
                    self._requests.withdraw(nic)
                    self.moved.add(nic.domain)
                    return False
            self._own_mistaken(nic, alias)
        return True

    def _own_mistaken(self, nic: Nic, alias: str) -> None:
        """Have the NIC brought back that was asked for instead of ``nic``, where the guest has just started anew.

        libvirt takes a request by alias alone, and nothing can look between it and what was read right before.
        """
        handle = self.same_instance(nic)
        if handle is not None:
            return
        guest = self._on.guest(nic.uuid)
        for iface in self._on.interfaces(guest) if guest is not None else ():
            if iface.get("alias") == alias and iface.mac != nic.mac:
                other = Nic(nic.domain, iface.mac, live=iface, uuid=nic.uuid, instance=self._on.instance(guest))
                self._requests.own([(other, iface)])
                self.warnings.append(
                    f"{nic.domain} {iface.mac}: the guest was started anew at the moment when it was asked to release "
                    f"{nic.mac}, and may release this NIC instead. It is then attached again as it is stored"
                )

    def _is_held(self, task: Task, _journal: Journal[Nic]) -> bool:
        nic = task.before
        with self._on.said(f"cannot read domain {nic.domain!r}"):
            handle = self.same_instance(nic)
            if handle is None:
                # One that was saved is still to do what it was asked: the keeper sees to that.
                return False
            held = self._on.live(handle, nic.mac) is not None
            if not held and not task.comes:
                self._requests.settle(nic)
            return held

    def _attach(self, task: Task, journal: Journal[Nic]) -> None:
        nic = task.after
        path = task.path
        said = self._on.said(f"cannot add {nic.mac} to the running domain {nic.domain!r}", path)
        with self._requests.attaching(task.before), said:
            handle = self.same_instance(task.before)
            iface = nic.live
            if handle is None or iface is None:
                return
            hears_all = iface.get("allmulticast") == "yes"
            if element.same(iface, nic.stored):
                # With the address that libvirt gave it when it was stored, so that a restart does not move it.
                iface = next((i for i in xml.interfaces(self._on.stored_xml(handle)) if i.mac == nic.mac), iface)
            journal.record(task.step, ATTACHED)
            # The keeper may have been quicker.
            if self._on.live(handle, nic.mac) is None and not self._attach_element(handle, iface, task):
                return
            self._requests.settle(task.before)
            made = self._on.live(handle, nic.mac) if hears_all else None
        if made is not None:
            hostlinks.change(made, {"allmulticast": "yes"}, path)

    def _attach_element(self, handle: t.Any, iface: Iface, task: Task) -> bool:
        """Attach a NIC, and return whether the guest has it: not one that has ended, was saved or started meanwhile."""
        nic = task.after
        passed = iface.get("source") if iface.get("mode") == "passthrough" and self._on.local else None

        def attach(text: str) -> None:
            with links.address_kept(passed):
                handle.attachDeviceFlags(text, self._on.libvirt.VIR_DOMAIN_AFFECT_LIVE)

        try:
            attach(element.pluggable(iface))
        except self._on.libvirt.libvirtError as exc:
            if self.same_instance(task.before) is None:
                # It has what is stored at its next start, and the keeper goes on with one that was saved.
                return False
            if iface.get("address") is None or not self._on.may_be_the_slot(exc):
                raise
            if self._on.live(handle, nic.mac) is not None:
                return True
            # The running guest has something else in that slot, or lacks the controller that storing it added.
            attach(element.pluggable(iface, address=False))
            self.warnings.append(
                f"{nic.domain} {nic.mac}: the running guest did not take it in the slot that is stored for it "
                f"({words(exc)}), so it is in another one until the domain is stopped and started; the guest may then "
                "name it otherwise"
            )
        return True
