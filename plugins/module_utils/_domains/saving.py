# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Pauses running guests to change their NICs: saves a guest, changes its image, and restores it.

At any moment one of these holds: the guest runs; this run has it saved and restores it; the keeper restores it
(_keeper/paused.py).
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    element,
    guest_clock,
    hostlinks,
    jobs,
    pause_image,
    save_limit,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import PAUSED, Iface, Nic, Paused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pause_records import Record, Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import paused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import deferred, is_pending

# How long to try to bring a guest back before that is left to the keeper.
_SECONDS = 30.0
_POLL_SECONDS = 0.1


class _Guest(t.NamedTuple):
    """A running guest, its interfaces by MAC address, and after how many seconds its save is aborted (None: never)."""

    handle: t.Any
    live: t.Mapping[str, Iface]
    limit: float | None


class Pauses:
    """The guests that this run pauses, and which of them have ended meanwhile."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        # The elements that guests had in their image before this run changed it, by UUID and MAC address.
        self._originals: dict[tuple[str, str], Iface] = {}
        self._clocks = guest_clock.Clocks(connection.libvirt, connection.uri)
        # For how long the guest of each domain stood still.
        self._seconds: dict[str, float] = {}
        self.restarted: set[str] = set()
        # For how many seconds each guest may be saved, by domain.
        self.limits: t.Mapping[str, float] = {}

    @property
    def done(self) -> dict[str, Paused]:
        """What the pause was for the guest of each domain."""
        return {name: Paused(seconds, name in self._clocks.are_set) for name, seconds in self._seconds.items()}

    def wait(self) -> None:
        """Let guest agents set the clocks of the guests that were paused."""
        self._clocks.wait()

    def pause(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, limited: bool = True) -> None:
        """Change the NICs of one running guest, all in one pause. A signal that arrives meanwhile waits.

        With ``limited`` a save that takes longer than ``limits`` is aborted.

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
                has_agent = running and self._clocks.has_agent(handle)
                live = self._live(handle)
            limit = self.limits.get(nic.domain) if limited else None
            receiving = pause_image.receiving_all(live, tasks)
            with self._requests.pausing(nic, running=running, receiving=receiving) as record:
                started = time.monotonic()
                try:
                    changed = self._restored(_Guest(handle, live, limit), tasks, record, journal)
                finally:
                    # A guest stands still also for a pause that fails.
                    self._seconds[nic.domain] = time.monotonic() - started
                    if has_agent:
                        self._set_clock(nic)
            if changed:
                with self._connection.translate_errors(f"cannot read domain {nic.domain!r}", path):
                    if self._connection.running(nic.uuid, nic.instance) is None:
                        self.restarted.add(nic.domain)

    def _set_clock(self, nic: Nic) -> None:
        # It never fails a pause.
        with contextlib.suppress(MacvtapError, self._connection.libvirt.libvirtError):
            handle = self._connection.running(nic.uuid, nic.instance)
            if handle is not None:
                self._clocks.set(nic.domain, handle)

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

    def _live(self, handle: t.Any) -> dict[str, Iface]:
        """Return the running guest's interfaces by MAC address, with what libvirt does not know of their links."""
        found = self._connection.interfaces(handle)
        if self._connection.local:
            found = hostlinks.with_link_states(found)
        return {iface.mac: iface for iface in found}

    def _restored(self, guest: _Guest, tasks: t.Sequence[Task], record: Record, journal: Journal[Nic]) -> bool:
        """Save a guest, change its image and restore it; return whether it has been changed.

        :raises MacvtapError: it was not.
        """
        handle, live, limit = guest
        libvirt, nic = self._connection.libvirt, tasks[0].before
        saved = False
        reached = save_limit.Limit()
        try:
            paused.mark(libvirt, handle, record.token)
            for task in tasks:
                journal.record(task.step, PAUSED)
            with save_limit.limited(libvirt, handle, limit) as reached:
                handle.managedSave(0)
            saved = True
            # After a signal it is only restored.
            changed = not is_pending()
            self._change_image(handle, tasks if changed else (), record, live)
            if not handle.hasManagedSaveImage():
                # It would be booted.
                raise MacvtapError("others have removed the guest's image, or started it")
            paused.restore(handle, record.document, local=self._connection.local)
        except (libvirt.libvirtError, MacvtapError) as exc:
            self._bring_back(nic, record, saved=saved or self._connection.lost)
            if nic.domain in self.restarted:
                return False
            what = message_of(exc) if isinstance(exc, libvirt.libvirtError) else exc.message
            if reached.reached and not saved:
                what = f"its save took longer than {limit:.1f} s, so that pause_max could not be kept, and was aborted"
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

    def _change_image(
        self, handle: t.Any, tasks: t.Sequence[Task], record: Record, live: t.Mapping[str, Iface]
    ) -> None:
        libvirt = self._connection.libvirt
        document = record.document = handle.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
        uuid = handle.UUIDString()
        originals = {mac: iface for (owner, mac), iface in self._originals.items() if owner == uuid}
        edits = pause_image.edits(xml.interfaces(document), live, tasks, originals)
        if not edits:
            return
        record.change(
            {one.saved.mac: element.render(one.old) for one in edits},
            {one.saved.mac: element.render(one.new) for one in edits},
        )
        document = xml.edit(document, [(one.saved, one.new) for one in edits])
        try:
            handle.managedSaveDefineXML(document, 0)
        except libvirt.libvirtError:
            if not self._connection.lost:
                record.keep()
            raise
        record.document = document
        for one in edits:
            self._originals.setdefault((uuid, one.saved.mac), one.old)

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
                    paused.complete(libvirt, handle, record.pause)
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
