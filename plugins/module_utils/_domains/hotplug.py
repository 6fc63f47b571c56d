# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Updates, detaches and attaches one NIC of a running guest.

Each action looks its NIC up again, by the domain's UUID and the MAC address. A guest is changed only while it is the
instance that was observed: one that stopped or restarted gets the stored configuration.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    alternatives,
    element,
    fields,
    hostlinks,
    networks,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    ATTACHED,
    DETACHED,
    LINK,
    UPDATED,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pending import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import OF_LINK, Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import attached
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

# QEMU's texts, never translated, for a detach that was requested before or is in progress (acpi_pcihp, pcie_hotplug).
_ASKED = ("process of unplug", "guest is busy")


class _Refused(t.NamedTuple):
    """A NIC that is attached and must not be used, because its guard is not on its link."""

    nic: Nic
    error: MacvtapError


class Hotplug:
    """What can be done with a NIC of a running guest.

    ``asked`` are the NICs that guests were asked to release, and ``released`` those that they had released before that.
    ``restarted`` are the domains whose guest stopped or started while this ran.
    """

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        self.asked: list[Nic] = []
        self.released: list[Nic] = []
        self.restarted: set[str] = set()
        self.warnings: list[str] = []

    def same_instance(self, nic: Nic) -> t.Any:
        """Return the libvirt domain of ``nic`` if its guest is the observed instance, else None."""
        handle = self._connection.running(nic.uuid, nic.instance)
        if handle is None:
            self.restarted.add(nic.domain)
        return handle

    def update(self, task: Task, journal: Journal[Nic]) -> None:
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
            changed = replace(iface, values=values)
            journal.record(task.step, UPDATED)
            try:
                handle.updateDeviceFlags(element.render(changed), self._connection.libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except self._connection.libvirt.libvirtError:
                if not networks.same_network(iface, changed):
                    raise
                # 9.0 chooses an uplink again, and refuses another one than the NIC has. So it does not with the type
                # that libvirt shows, with which 11.3 would take the NIC off its network.
                text = element.for_update(changed)
                handle.updateDeviceFlags(text, self._connection.libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def detach(self, task: Task, journal: Journal[Nic]) -> bool:
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
                    self.released.append(nic)
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
            if not self._request_release(handle, nic, alias):
                return False
            self._register_mistaken(nic, alias)
        return True

    def _request_release(self, handle: t.Any, nic: Nic, alias: str) -> bool:
        """Send the request to detach; return False if the guest ended or was saved right before it."""
        libvirt = self._connection.libvirt
        try:
            # Not detachDeviceFlags: without an answer of the guest, 9.0 blocks for 5 s and then reports success.
            handle.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as exc:
            # The guest may just have completed an earlier run's request, or may still be working on it.
            is_asked = any(text in message_of(exc) for text in _ASKED)
            if not is_asked and self._connection.live(handle, nic.mac) is not None:
                if exc.get_error_code() != libvirt.VIR_ERR_OPERATION_TIMEOUT:
                    self._requests.withdraw(nic)
                raise
            if not self._connection.running(nic.uuid, nic.instance):
                self._requests.withdraw(nic)
                self.restarted.add(nic.domain)
                return False
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

    def is_held(self, task: Task, _journal: Journal[Nic]) -> bool:
        nic = task.before
        with self._connection.translate_errors(f"cannot read domain {nic.domain!r}"):
            handle = self.same_instance(nic)
            if handle is None:
                # A saved guest still has its request: the keeper handles that.
                return False
            held = self._connection.live(handle, nic.mac) is not None
            # A guest that was saved after the first look has no NIC either.
            if not held and not task.attaches and self.same_instance(nic) is not None:
                self._requests.discard(nic)
            return held

    def attach(self, task: Task, journal: Journal[Nic]) -> None:
        refused = self._attach(task, journal)
        if refused is None:
            return
        # The guest may keep the NIC, also if this run detaches it again.
        with contextlib.suppress(MacvtapError):
            self._requests.register_unguarded(refused.nic, refused.error.message)
        raise refused.error

    def _attach(self, task: Task, journal: Journal[Nic]) -> _Refused | None:
        """Attach a NIC; return why it must not be used, if its guard cannot be put on."""
        nic = task.after
        path = task.path
        translated = self._connection.translate_errors(
            f"cannot add {nic.mac} to the running domain {nic.domain!r}", path
        )
        with self._requests.attach_lock(task.before), translated:
            handle = self.same_instance(task.before)
            iface = nic.live
            if handle is None or iface is None:
                return None
            receives_all = iface.get("allmulticast") == "yes"
            if element.same(iface, nic.stored):
                # With the PCI address that libvirt assigned in the stored configuration, so that a restart does not
                # move it.
                iface = next(
                    (i for i in xml.interfaces(self._connection.stored_xml(handle)) if i.mac == nic.mac), iface
                )
            name = iface.get("target") or ""
            with attached.Arrival(iface.mac, "" if fields.is_generated("target", name) else name) as arrival:
                if self._connection.live(handle, nic.mac) is not None:
                    # The keeper was quicker, and may have been killed before it put the guard on, or have failed.
                    arrival.adopt(self._guardable(handle, nic.mac)[1])
                else:
                    with self._connection.recorded(journal, [task.step], ATTACHED):
                        if not self._attach_element(handle, iface, task, arrival):
                            return None
                refused = self._guard(handle, task, arrival)
            if refused is not None:
                return refused
            # If this run is killed before, the keeper puts the guard on.
            self._requests.discard(task.before)
            live = self._connection.live(handle, nic.mac) if receives_all else None
        if live is not None:
            hostlinks.change(live, {"allmulticast": "yes"}, path)
        return None

    def _guard(self, handle: t.Any, task: Task, arrival: attached.Arrival) -> _Refused | None:
        """Put the guard on the link of a NIC that was just attached.

        Return why it is not there, if the guest may not send without it.
        """
        live, link = self._guardable(handle, task.after.mac)
        if live is None:
            return None
        failures = arrival.put_on(link)
        self.warnings.extend(failures.warnings)
        error = failures.refused.get(link)
        return None if error is None else _Refused(replace(task.before, live=live), error)

    def _guardable(self, handle: t.Any, mac: str) -> tuple[Iface | None, str]:
        """Return a NIC of a running guest and its link; None if it has no link that may have a guard."""
        live = self._connection.live(handle, mac) if self._connection.local else None
        # A rollback may have attached one of another type.
        link = (live.get("target") or "") if live is not None and live.type == "direct" else ""
        return (live, link) if link else (None, "")

    def _attach_element(self, handle: t.Any, iface: Iface, task: Task, arrival: attached.Arrival) -> bool:
        """Attach a NIC. Return False if the guest ended, was saved or restarted meanwhile."""
        nic = task.after
        local = self._connection.local

        def attach(attempt: alternatives.Attempt) -> None:
            # The network may have become one on a bridge.
            closes = local and links.may_be_macvtap(element.render(attempt.iface), handle)
            target = arrival.close() if closes else ""
            text = element.for_hotplug(attempt.iface, address=attempt.address, target=target)
            with links.address_kept(text, handle) if local else contextlib.nullcontext():
                handle.attachDeviceFlags(text, self._connection.libvirt.VIR_DOMAIN_AFFECT_LIVE)

        try:
            attach(alternatives.Attempt(iface))
        except self._connection.libvirt.libvirtError as exc:
            if self.same_instance(task.before) is None:
                # Its next start gets the stored configuration. If it was saved, the keeper continues.
                return False
            others = alternatives.after(self._connection, iface, exc)
            if not others:
                raise
            if self._connection.live(handle, nic.mac) is not None:
                return True
            self.warnings.append(f"{nic.domain} {nic.mac}: {alternatives.take(self._connection, attach, others)}")
        return True
