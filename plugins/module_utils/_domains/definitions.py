# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The stored configuration of libvirt domains: edited, defined, and put back."""

from __future__ import annotations

import typing as t
from concurrent import futures

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, jobs, writes, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, words
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import STORED, Nic, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")
# libvirtd works on five requests of a client at once (max_client_requests); fewer domains are not worth the threads.
_AT_ONCE = 4
# How often one edit is made again because another editor has changed something else of the domain.
_EDITS = 5
_WORTH_THREADS = 8


class Definitions:
    """What is stored over a connection, and what it replaced."""

    def __init__(self, connection: Connection) -> None:
        self._on = connection
        # What the last run of store() has found of each domain, and what libvirt has made of its own, or "" while that
        # is under way: by it another editor is noticed.
        self._defined: dict[str, tuple[str, str]] = {}
        # Domains that another editor has stored at the same moment.
        self.overwritten: set[str] = set()

    def store(self, domains: t.Sequence[t.Sequence[Task]], journal: Journal[Nic]) -> None:
        """Store what changes of each of these domains, all of whose tasks are in one of ``domains``.

        :raises StaleError: somebody else has just changed the same interface.
        :raises MacvtapError: libvirt refuses, or the domain has gone.
        """
        self._defined = {}
        changing = [tasks for tasks in map(_changing, domains) if tasks]
        if changing:
            with self._counted() as counts:
                _side_by_side(lambda tasks: self._store(tasks, journal, counts), changing)

    def put_back(self, tasks: t.Sequence[Task]) -> None:
        """Store one domain as it was before :meth:`store`; the whole document, if nobody has changed it since.

        :raises MacvtapError: as :meth:`store`.
        """
        changing = _changing(tasks)
        if changing:
            with self._counted() as counts:
                self._store(changing, Journal(), counts, back=True)

    def made(self, name: str) -> str:
        """Return what libvirt has made of what :meth:`store` has stored of a domain, "" if that is nothing."""
        return self._defined.get(name, ("", ""))[1]

    def _counted(self) -> t.ContextManager[writes.Writes]:
        return writes.counted(self._on.libvirt, self._on.uri)

    def _store(
        self, changing: t.Sequence[Task], journal: Journal[Nic], counts: writes.Writes, *, back: bool = False
    ) -> None:
        """Store what changes of one domain; on the way ``back`` the whole document, if nobody has changed it since."""
        before, path = changing[0].before, changing[0].path
        name = before.domain
        with self._on.said(f"libvirt refuses the configuration of domain {name!r}", path):
            document = before.document
            for _attempt in range(_EDITS):
                edited = xml.edit(document, [(task.before.stored, task.after.stored) for task in changing])
                stored = counts.count(before.uuid)
                # Right before it is replaced: what somebody stores from here on is overwritten.
                now = self._on.stored_xml(self._existing(before, path))
                if now == document:
                    break
                _refuse_stale(now, changing)
                document = now
            else:
                raise StaleError(_stale(changing[0]), path=path)
            was, made = self._defined.get(name, ("", ""))
            if back and document == made and _differ_by_controllers(edited, was):
                # Undoing the edits alone would leave the controllers that libvirt added for a NIC.
                edited = was
            elif not back:
                self._defined[name] = document, ""
            for task in changing:
                journal.record(task.step, STORED)
            made = self._on.stored_xml(self._define(edited, document, changing))
            if not back:
                self._defined[name] = document, made
            if counts.count(before.uuid) - stored > 1:
                self.overwritten.add(name)
                raise MacvtapError(_overwritten(name), path=path)

    def _define(self, edited: str, document: str, tasks: t.Sequence[Task]) -> t.Any:
        """Store a configuration; if libvirt refuses it, say so of the one of ``tasks`` that it refuses."""
        try:
            return self._on.handle.defineXML(edited)
        except self._on.libvirt.libvirtError as exc:
            fault = next((task for task in tasks[1:] if self._refuses(document, task) == words(exc)), tasks[0])
            with self._on.said(f"libvirt refuses the configuration of domain {fault.key[0]!r}", fault.path):
                raise

    def _refuses(self, document: str, task: Task) -> str:
        """Say what libvirt has against one edit alone, "" if nothing. It only translates it, and stores nothing."""
        edited = xml.edit(document, [(task.before.stored, task.after.stored)])
        try:
            self._on.handle.domainXMLToNative("qemu-argv", edited, 0)
        except self._on.libvirt.libvirtError as exc:
            return words(exc)
        return ""

    def _existing(self, nic: Nic, path: str) -> t.Any:
        """Return the libvirt domain of ``nic``: defining one that has gone would bring it back.

        :raises MacvtapError: it was undefined, or another one has its name.
        """
        try:
            handle = self._on.handle.lookupByUUIDString(nic.uuid)
            if handle.isPersistent() and handle.name() == nic.domain:
                if nic.instance:
                    jobs.refuse(nic.domain, self._on.job(handle), path=path, live=False)
                return handle
        except self._on.libvirt.libvirtError as exc:
            if exc.get_error_code() != self._on.libvirt.VIR_ERR_NO_DOMAIN:
                raise
        raise MacvtapError(f"domain {nic.domain!r} was undefined or renamed while this ran", path=path)


def _changing(tasks: t.Sequence[Task]) -> list[Task]:
    return [task for task in tasks if not element.same(task.before.stored, task.after.stored)]


def _side_by_side(do: t.Callable[[_T], _R], items: t.Sequence[_T]) -> list[_R]:
    """Return what ``do`` makes of each item: libvirt stores several domains at once, each of them written to the disk.

    When one fails, those that have not begun are left.
    """
    if len(items) < _WORTH_THREADS:
        return [do(item) for item in items]
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(do, item) for item in items]
        try:
            return [one.result() for one in running]
        except BaseException:
            for one in running:
                one.cancel()
            raise


def _differ_by_controllers(one: str, other: str) -> bool:
    """Whether nothing else differs, as what another editor has stored before this run could read what it had stored."""
    return xml.without_pci_controllers(one) == xml.without_pci_controllers(other)


def _refuse_stale(document: str, tasks: t.Sequence[Task]) -> None:
    """Refuse to edit a configuration in which somebody else has just changed the same interface."""
    now: dict[str, set[str]] = {}
    for iface in xml.interfaces(document):
        now.setdefault(iface.mac, set()).add(iface.xml)
    for task in tasks:
        there, was = now.get(task.before.mac, set()), task.before.stored
        if (was.xml not in there) if was else there:
            raise StaleError(_stale(task), path=task.path)


def _stale(task: Task) -> str:
    return (
        f"domain {task.after.domain!r}: the stored configuration of interface {task.before.mac} changed while this "
        "ran, again and again. Find out who else is editing it"
    )


def _overwritten(name: str) -> str:
    return f"domain {name!r} was changed by another editor at the very moment when this run stored it"
