# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Pauses running guests to change their NICs: saves a guest, changes its image, and restores it.

At any moment one of these holds: the guest runs; this run has it saved and restores it; the keeper restores it
(_keeper/paused.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    element,
    hostlinks,
    jobs,
    save_blockers,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import IN_XML, without_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import PAUSED, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pause_records import Record, Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import links, paused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import deferred, is_pending

# How long to try to bring a guest back before that is left to the keeper.
_SECONDS = 30.0
_POLL_SECONDS = 0.1
# How long a guest agent has to set the clock.
_AGENT_SECONDS = 10.0


class Pauses:
    """The guests that this run pauses: for how many ``seconds`` each stood still, and which have ended meanwhile."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        # The elements that guests had in their image before this run changed it, by UUID and MAC address.
        self._originals: dict[tuple[str, str], Iface] = {}
        self.seconds: dict[str, float] = {}
        self.restarted: set[str] = set()

    def pause(self, tasks: t.Sequence[Task], journal: Journal[Nic]) -> None:
        """Change the NICs of one running guest, all in one pause. A signal that arrives meanwhile waits.

        :raises MacvtapError: the guest runs with the NICs that it had, or the message says otherwise.
        """
        nic, path = tasks[0].before, tasks[0].path
        whose = f"cannot pause domain {nic.domain!r}"
        with deferred():
            with self._connection.translate_errors(whose, path):
                handle = self._validated(nic, path)
                if handle is None:
                    return
                running = handle.state()[0] != self._connection.libvirt.VIR_DOMAIN_PAUSED
            with self._requests.pausing(nic, running=running) as record:
                started = time.monotonic()
                changed = self._restored(handle, tasks, record, journal)
                self.seconds[nic.domain] = time.monotonic() - started
            if changed:
                with self._connection.translate_errors(f"cannot read domain {nic.domain!r}", path):
                    self._complete(tasks)

    def _validated(self, nic: Nic, path: str) -> t.Any:
        """Return the libvirt domain of a guest that can be saved now, None if it is no longer the observed one.

        :raises MacvtapError: it has a job or a managed save.
        """
        handle = self._connection.running(nic.uuid, nic.instance)
        saved = handle is not None and handle.hasManagedSaveImage()
        if handle is None or self._connection.running(nic.uuid, nic.instance) is None:
            self.restarted.add(nic.domain)
            return None
        jobs.validate_job(nic.domain, self._connection.job(handle), path=path, live=True)
        if saved:
            raise MacvtapError(f"domain {nic.domain!r} has a managed save already, and is not paused", path=path)
        return handle

    def _restored(self, handle: t.Any, tasks: t.Sequence[Task], record: Record, journal: Journal[Nic]) -> bool:
        """Save a guest, change its image and restore it; return whether it has been changed.

        :raises MacvtapError: it was not.
        """
        libvirt, nic = self._connection.libvirt, tasks[0].before
        saved = False
        try:
            paused.mark(libvirt, handle, record.token)
            for task in tasks:
                journal.record(task.step, PAUSED)
            handle.managedSave(0)
            saved = True
            # After a signal it is only restored.
            changed = not is_pending()
            if changed:
                self._change_image(handle, tasks, record)
            if not handle.hasManagedSaveImage():
                # It would be booted.
                raise MacvtapError("others have removed the guest's image, or started it")
            with self._addresses_kept(handle, tasks):
                handle.create()
        except (libvirt.libvirtError, MacvtapError) as exc:
            self._bring_back(nic, record, saved=saved or self._connection.lost)
            if nic.domain in self.restarted:
                return False
            what = message_of(exc) if isinstance(exc, libvirt.libvirtError) else exc.message
            runs = "The guest is saved. The keeper restores it as soon as libvirt can"
            if record.finished:
                runs = f"The guest runs on with the {'new NICs' if record.is_changed else 'NICs that it had'}"
                for task in () if record.is_changed else tasks:
                    journal.withdraw(task.step, PAUSED)
            macs = ", ".join(task.before.mac for task in tasks)
            raise MacvtapError(
                f"cannot change {macs} of the running domain {nic.domain!r} in a pause: {what}. {runs}",
                path=tasks[0].path,
            ) from exc
        self._bring_back(nic, record, saved=False)
        return changed

    def _change_image(self, handle: t.Any, tasks: t.Sequence[Task], record: Record) -> None:
        document = handle.managedSaveGetXMLDesc(self._connection.libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
        current = {iface.mac: iface for iface in xml.interfaces(document)}
        edits = []
        for task in tasks:
            iface = current.get(task.before.mac)
            if iface is None:
                raise MacvtapError(f"{task.before.mac} is not in the image", path=task.path)
            edits.append((iface, self._image_iface(iface, task)))
        record.change(
            {iface.mac: element.render(iface) for iface, _new in edits},
            {iface.mac: element.render(new) for iface, new in edits},
        )
        handle.managedSaveDefineXML(xml.edit(document, edits), 0)
        for iface, _new in edits:
            self._originals.setdefault((tasks[0].before.uuid, iface.mac), iface)

    def _image_iface(self, saved: Iface, task: Task) -> Iface:
        """Return the interface to have in the image instead of ``saved``."""
        original = self._originals.get((task.before.uuid, saved.mac))
        if original is not None:
            # The rollback.
            return original
        before, after = t.cast("Iface", task.before.live), t.cast("Iface", task.after.live)
        values = dict(saved.values)
        for field in IN_XML:
            new = after.get(field.name)
            if before.type != after.type or before.get(field.name) != new:
                values.pop(field.name, None)
                values.update({field.name: new} if new is not None else {})
        # The slot is the guest's.
        address = saved.get("pci_address")
        values = {**without_generated(values), **({"pci_address": address} if address else {})}
        return replace(saved, type=after.type, values=values, origin=None)

    @contextlib.contextmanager
    def _addresses_kept(self, handle: t.Any, tasks: t.Sequence[Task]) -> t.Iterator[None]:
        with contextlib.ExitStack() as stack:
            for task in tasks:
                if task.after.live is not None and self._connection.local:
                    stack.enter_context(links.address_kept(element.render(task.after.live), handle))
            yield

    def _bring_back(self, nic: Nic, record: Record, *, saved: bool) -> None:
        """Complete the pause of a guest that runs, or restore it with the NICs that it had.

        ``saved`` is whether this run has saved and not restored it. Otherwise one that is saved was saved by others.
        """
        libvirt = self._connection.libvirt
        until = time.monotonic() + _SECONDS
        while True:
            try:
                self._connection.ensure()
                handle = self._connection.guest(nic.uuid)
                active = handle is not None and handle.isActive()
                if saved or active:
                    if paused.finish(libvirt, handle, record.pause, prefer_old=True, restores=saved):
                        raise MacvtapError("it is still busy")
                    active = handle is not None and handle.isActive()
                record.finished = True
                if active:
                    paused.unmark(libvirt, handle)
                    self._continue(nic)
                else:
                    # Others have stopped or saved it.
                    self.restarted.add(nic.domain)
                return
            except (libvirt.libvirtError, MacvtapError):
                if time.monotonic() > until:
                    with contextlib.suppress(MacvtapError):
                        record.write()
                    return
                time.sleep(_POLL_SECONDS)

    def _continue(self, nic: Nic) -> None:
        """Let the restored guest count as the one that was saved."""
        with contextlib.suppress(MacvtapError, self._connection.libvirt.libvirtError):
            handle = self._connection.guest(nic.uuid)
            if handle is not None and handle.isActive():
                self._connection.continues(handle, nic.instance)

    def _complete(self, tasks: t.Sequence[Task]) -> None:
        """Give the new links what libvirt does not know, and the guest the time."""
        nic = tasks[0].before
        handle = self._connection.running(nic.uuid, nic.instance)
        if handle is None:
            self.restarted.add(nic.domain)
            return
        for task in tasks:
            if task.after.live is not None and task.after.live.get("allmulticast") == "yes":
                iface = self._connection.live(handle, task.before.mac)
                if iface is not None:
                    hostlinks.change(iface, {"allmulticast": "yes"}, task.path)
        self._set_time(handle)

    def _set_time(self, handle: t.Any) -> None:
        """Set the guest's clock by its agent, if it has one that answers in time."""
        libvirt = self._connection.libvirt
        if not save_blockers.has_agent(str(handle.XMLDesc(0))):
            return

        def set_time() -> None:
            with contextlib.suppress(libvirt.libvirtError):
                handle.setTime(None, libvirt.VIR_DOMAIN_TIME_SYNC)

        thread = threading.Thread(target=set_time, daemon=True)
        thread.start()
        thread.join(_AGENT_SECONDS)
