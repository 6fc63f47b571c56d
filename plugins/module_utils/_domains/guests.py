# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Changes running guests: updates, detaches and attaches their NICs.

Each action looks its NIC up again, by the domain's UUID and the MAC address. A guest is changed only while it is the
instance that was observed: one that stopped or restarted gets the stored configuration.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, hostlinks, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, message_of
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
    attachable,
    same_values,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

_POLL_SECONDS = (0.005, 0.05)
# QEMU's texts, never translated, for a detach that was requested before or is in progress (acpi_pcihp, pcie_hotplug).
_ASKED = ("process of unplug", "guest is busy")


class Guests:
    """The running guests of a connection, and what this run asked of them.

    ``asked`` are the NICs that guests were asked to release. ``unanswered`` are those (domain, MAC address) that were
    not released in time. ``restarted`` are the domains whose guest stopped or started while this ran.
    """

    def __init__(self, connection: Connection, timeout: float, requests: Requests) -> None:
        self._connection = connection
        self._timeout = timeout
        self._requests = requests
        self.unanswered: set[Key] = set()
        self.asked: list[Nic] = []
        self.restarted: set[str] = set()
        self.warnings: list[str] = []

    def bring(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, go_on: bool = False) -> list[MacvtapError]:
        """Update and detach NICs, and attach each new one as soon as what blocks it is released.

        With ``go_on`` errors are returned instead of raised, and the other NICs are still processed.

        :raises MacvtapError: libvirt refuses.
        """
        errors: list[MacvtapError] = []

        def attempt(do: t.Callable[[Task, Journal[Nic]], bool | None], task: Task) -> bool:
            if not go_on:
                return bool(do(task, journal))
            try:
                return bool(self._connection.retry(lambda: do(task, journal)))
            except MacvtapError as exc:
                errors.append(exc)
                return False

        if go_on:
            tasks = [self._refreshed(task) for task in tasks]
        for task in tasks:
            attempt(self._update, task)
        leaving = [task for task in tasks if task.detaches]
        for uuid in dict.fromkeys(task.before.uuid for task in leaving):
            self._requests.catch_up(self._connection.libvirt, self._connection.handle, uuid)
        try:
            # A detach cannot be cancelled, so it is registered with the keeper first.
            self._register([(task.before, task.after.live if task.attaches else None) for task in leaving])
            held = {task.key: task for task in leaving if attempt(self._detach, task)}
        finally:
            for task in leaving:
                if not journal.contains(task.step, DETACHED):
                    self._requests.withdraw(task.before)
        self._wait_and_attach(
            held, [task for task in tasks if task.attaches and (not task.detaches or task.key in held)], attempt
        )
        return errors

    def _register(self, asked: t.Sequence[tuple[Nic, Iface | None]]) -> None:
        try:
            self._requests.register(asked)
        except MacvtapError as exc:
            raise MacvtapError(f"{exc.message}. No guest was asked to release a NIC") from exc

    def _refreshed(self, task: Task) -> Task:
        """Return ``task`` as a replug, if the keeper has meanwhile attached the NIC as it was stored."""
        nic, desired = task.before, task.after.live
        if task.detaches or desired is None or nic.live is not None:
            return task

        def read() -> Iface | None:
            translated = self._connection.translate_errors(f"cannot read domain {nic.domain!r}")
            with self._requests.attach_lock(nic), translated:
                handle = self.same_instance(nic)
                return self._connection.live(handle, nic.mac) if handle is not None else None

        try:
            iface = self._connection.retry(read)
        except MacvtapError:
            return task
        if iface is None or same_values(iface, desired):
            return task
        return task._replace(before=replace(nic, live=iface), replugs=True)

    def _wait_and_attach(
        self,
        held: dict[Key, Task],
        waiting: list[Task],
        attempt: t.Callable[[t.Callable[[Task, Journal[Nic]], bool | None], Task], bool],
    ) -> None:
        """Wait until guests have released their NICs, and attach each new NIC as soon as possible."""
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
        """Return the libvirt domain of ``nic`` if its guest is the observed instance, else None."""
        handle = self._connection.running(nic.uuid, nic.instance)
        if handle is None:
            self.restarted.add(nic.domain)
        return handle

    def _update(self, task: Task, journal: Journal[Nic]) -> None:
        updates = task.updates()
        of_link: dict[str, str | None] = {name: updates.pop(name) for name in OF_LINK if name in updates}
        if updates:
            self._update_by_libvirt(task, updates, journal)
        # After libvirt, which removes allmulticast as long as it trusts the guest's filters.
        nic = task.before
        if of_link and nic.live is not None:
            with self._connection.translate_errors(f"cannot read domain {nic.domain!r}", task.path):
                handle = self.same_instance(nic)
            if handle is not None:
                journal.record(task.step, LINK)
                hostlinks.change(nic.live, of_link, task.path)

    def _update_by_libvirt(self, task: Task, updates: t.Mapping[str, str | None], journal: Journal[Nic]) -> None:
        nic = task.before
        with self._connection.translate_errors(
            f"cannot change {nic.mac} of the running domain {nic.domain!r}", task.path
        ):
            handle = self.same_instance(nic)
            if handle is None:
                return
            # libvirt's own view: it refuses an update whose mode differs from the one that it knows.
            iface = self._connection.live(handle, nic.mac)
            if iface is None:
                raise StaleError(
                    f"{nic.domain} {nic.mac} disappeared from the running guest while this ran", path=task.path
                )
            values = {n: v for n, v in {**iface.values, **updates}.items() if v is not None}
            changed = element.render(replace(iface, values=values))
            journal.record(task.step, UPDATED)
            handle.updateDeviceFlags(changed, self._connection.libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def _detach(self, task: Task, journal: Journal[Nic]) -> bool:
        """Ask the guest to release a NIC; return whether to wait for it."""
        nic = task.before
        with self._connection.translate_errors(
            f"cannot remove {nic.mac} from the running domain {nic.domain!r}", task.path
        ):
            handle = self.same_instance(nic)
            # An alias of libvirt's is a position, and may be another NIC's after a restart.
            iface = self._connection.live(handle, nic.mac) if handle is not None else None
            if iface is None:
                gone = handle is not None and self.same_instance(nic) is not None
                if gone:
                    self._requests.discard(nic)
                return gone
            alias = iface.get("alias")
            if alias is None:
                raise MacvtapError(
                    f"cannot remove {nic.mac} from the running domain {nic.domain!r}: this libvirt driver assigns no "
                    "alias to NICs, which detaching needs. Set live: none, or stop the domain first",
                    path=task.path,
                )
            journal.record(task.step, DETACHED)
            self.asked.append(nic)
            try:
                # Not detachDeviceFlags: without an answer of the guest, 9.0 blocks for 5 s and then reports success.
                handle.detachDeviceAlias(alias, self._connection.libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except self._connection.libvirt.libvirtError as exc:
                # The guest may just have completed an earlier run's request, or may still be working on it.
                if (
                    not any(text in message_of(exc) for text in _ASKED)
                    and self._connection.live(handle, nic.mac) is not None
                ):
                    if exc.get_error_code() != self._connection.libvirt.VIR_ERR_OPERATION_TIMEOUT:
                        self._requests.withdraw(nic)
                    raise
                if not self._connection.running(nic.uuid, nic.instance):
                    # The guest ended or was saved right before the request.
                    self._requests.withdraw(nic)
                    self.restarted.add(nic.domain)
                    return False
            self._register_mistaken(nic, alias)
        return True

    def _register_mistaken(self, nic: Nic, alias: str) -> None:
        """Register the NIC that was asked for instead of ``nic``, because the guest has just restarted.

        libvirt identifies a NIC only by its alias, so a restart between the last read and the detach goes unnoticed.
        """
        handle = self.same_instance(nic)
        if handle is not None:
            return
        guest = self._connection.guest(nic.uuid)
        for iface in self._connection.interfaces(guest) if guest is not None else ():
            if iface.get("alias") == alias and iface.mac != nic.mac:
                other = Nic(nic.domain, iface.mac, live=iface, uuid=nic.uuid, instance=self._connection.instance(guest))
                self._requests.register([(other, iface)])
                self.warnings.append(
                    f"{nic.domain} {iface.mac}: the guest was restarted at the moment when it was asked to release "
                    f"{nic.mac}, and may release this NIC instead. It is then attached again as it is stored"
                )

    def _is_held(self, task: Task, _journal: Journal[Nic]) -> bool:
        nic = task.before
        with self._connection.translate_errors(f"cannot read domain {nic.domain!r}"):
            handle = self.same_instance(nic)
            if handle is None:
                # A saved guest still has its request: the keeper handles that.
                return False
            held = self._connection.live(handle, nic.mac) is not None
            if not held and not task.attaches:
                self._requests.discard(nic)
            return held

    def _attach(self, task: Task, journal: Journal[Nic]) -> None:
        nic = task.after
        path = task.path
        translated = self._connection.translate_errors(
            f"cannot add {nic.mac} to the running domain {nic.domain!r}", path
        )
        with self._requests.attach_lock(task.before), translated:
            handle = self.same_instance(task.before)
            iface = nic.live
            if handle is None or iface is None:
                return
            receives_all = iface.get("allmulticast") == "yes"
            if element.same(iface, nic.stored):
                # With the PCI address that libvirt assigned in the stored configuration, so that a restart does not
                # move it.
                iface = next(
                    (i for i in xml.interfaces(self._connection.stored_xml(handle)) if i.mac == nic.mac), iface
                )
            journal.record(task.step, ATTACHED)
            # The keeper may have been quicker.
            if self._connection.live(handle, nic.mac) is None and not self._attach_element(handle, iface, task):
                return
            self._requests.discard(task.before)
            attached = self._connection.live(handle, nic.mac) if receives_all else None
        if attached is not None:
            hostlinks.change(attached, {"allmulticast": "yes"}, path)

    def _attach_element(self, handle: t.Any, iface: Iface, task: Task) -> bool:
        """Attach a NIC; return False if the guest ended, was saved or restarted meanwhile."""
        nic = task.after
        passed = iface.get("source") if iface.get("mode") == "passthrough" and self._connection.local else None

        def attach(text: str) -> None:
            with links.address_kept(passed):
                handle.attachDeviceFlags(text, self._connection.libvirt.VIR_DOMAIN_AFFECT_LIVE)

        try:
            attach(element.for_hotplug(iface))
        except self._connection.libvirt.libvirtError as exc:
            if self.same_instance(task.before) is None:
                # Its next start gets the stored configuration. If it was saved, the keeper continues.
                return False
            if iface.get("pci_address") is None or not self._connection.may_be_the_slot(exc):
                raise
            if self._connection.live(handle, nic.mac) is not None:
                return True
            # The running guest uses that slot, or lacks the controller that the stored configuration has now.
            attach(element.for_hotplug(iface, address=False))
            self.warnings.append(
                f"{nic.domain} {nic.mac}: the running guest did not accept it in its stored slot "
                f"({message_of(exc)}). It is in another slot until the domain is stopped and started, when the "
                "guest may name it differently"
            )
        return True
