# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The stored configuration of libvirt domains: edits, defines and restores it."""

from __future__ import annotations

import typing as t
from concurrent import futures

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, jobs, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import STORED, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import writes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted, deferred

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")
# libvirtd handles five requests of a client at a time (max_client_requests).
_THREADS = 4
# How often an edit is repeated because another editor has changed something else of the domain.
_EDITS = 5
_MIN_DOMAINS_FOR_THREADS = 8


class Definitions:
    """What this run has stored over a connection, and what it replaced."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # By domain: the XML before the last store(), and the XML that libvirt returned after it ("" while it is in
        # progress). This detects another editor.
        self._defined: dict[str, tuple[str, str]] = {}
        # Domains that another editor stored at the same moment.
        self.overwritten: set[str] = set()

    def store(self, domains: t.Sequence[t.Sequence[Task]], journal: Journal[Nic]) -> None:
        """Store the changes of these domains; each item of ``domains`` has all tasks of one domain.

        :raises StaleError: another editor has just changed the same interface.
        :raises MacvtapError: libvirt refuses, or the domain has gone.
        """
        self._defined = {}
        changing = [tasks for tasks in map(_changing, domains) if tasks]
        if changing:
            with self._counted() as counts:
                listed = self._persistent(changing[0][0].path)
                _in_parallel(lambda tasks: self._store(tasks, journal, counts, listed), changing)

    def put_back(self, tasks: t.Sequence[Task]) -> None:
        """Store one domain as it was before :meth:`store`; the whole document, if it is unchanged since.

        :raises MacvtapError: as :meth:`store`.
        """
        changing = _changing(tasks)
        if changing:
            with self._counted() as counts:
                self._store(changing, Journal(), counts, {}, restore=True)

    def defined_xml(self, name: str) -> str:
        """Return the XML that libvirt has of a domain after :meth:`store`, "" if nothing was stored."""
        return self._defined.get(name, ("", ""))[1]

    def _counted(self) -> t.ContextManager[writes.Writes]:
        return writes.counted(self._connection.libvirt, self._connection.uri)

    def _persistent(self, path: str) -> dict[str, t.Any]:
        """Return the persistent libvirt domains by UUID: one call, where looking each up takes two."""
        flag = self._connection.libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
        with self._connection.translate_errors("cannot list the domains", path):
            return {handle.UUIDString(): handle for handle in self._connection.handle.listAllDomains(flag)}

    def _store(
        self,
        changing: t.Sequence[Task],
        journal: Journal[Nic],
        counts: writes.Writes,
        listed: t.Mapping[str, t.Any],
        *,
        restore: bool = False,
    ) -> None:
        """Store the changes of one domain; ``restore`` stores the whole document, if it is unchanged since.

        ``listed`` are the domains that were persistent after ``counts`` began.
        """
        before, path = changing[0].before, changing[0].path
        name = before.domain
        with self._connection.translate_errors(f"libvirt refuses the configuration of domain {name!r}", path):
            document = before.document
            for _attempt in range(_EDITS):
                edited = xml.edit(document, [(task.before.stored, task.after.stored) for task in changing])
                stored = counts.count(before.uuid)
                handle = listed.get(before.uuid)
                # A guest's job has no event, so that of a running one is read.
                known = handle is not None and handle.name() == name and handle.ID() == -1
                if handle is None or not known or stored or counts.may_differ(before.uuid):
                    handle = self._existing(before, path)
                # Read again right before the define: what others store from here on is overwritten.
                current = self._connection.stored_xml(handle)
                if current == document:
                    break
                _validate_unchanged(current, changing)
                document = current
            else:
                raise StaleError(_stale_message(changing[0]), path=path)
            replaced, defined = self._defined.get(name, ("", ""))
            if restore and document == defined and _differ_by_controllers(edited, replaced):
                # Undoing only the edits would leave the controllers that libvirt added for a NIC.
                edited = replaced
            elif not restore:
                self._defined[name] = document, ""
            known_as_off = handle.ID() == -1

            def define() -> t.Any:
                handle = self._define(edited, document, changing, journal)
                if not restore:
                    self._defined[name] = document, self._connection.stored_xml(handle)
                return handle

            error = writes.OverwrittenError(f"domain {name!r}", path=path)
            handle = counts.define(before.uuid, stored, define, lambda: self.overwritten.add(name), error)
            if known_as_off and handle.ID() != -1:
                # A guest that arrives from another host runs for a moment before there is an event.
                jobs.validate_job(name, self._connection.job(handle), path=path, live=False)

    def _define(self, edited: str, document: str, tasks: t.Sequence[Task], journal: Journal[Nic]) -> t.Any:
        """Define a configuration; if libvirt refuses it, blame the one of ``tasks`` at fault."""
        try:
            with self._connection.recorded(journal, [task.step for task in tasks], STORED):
                return self._connection.handle.defineXML(edited)
        except self._connection.libvirt.libvirtError as exc:
            refused = next(
                (task for task in tasks[1:] if self._refusal_of(document, task) == message_of(exc)), tasks[0]
            )
            with self._connection.translate_errors(
                f"libvirt refuses the configuration of domain {refused.key[0]!r}", refused.path
            ):
                raise

    def _refusal_of(self, document: str, task: Task) -> str:
        """Return libvirt's error for one edit alone, "" if none. libvirt only translates it, and stores nothing."""
        edited = xml.edit(document, [(task.before.stored, task.after.stored)])
        try:
            self._connection.handle.domainXMLToNative("qemu-argv", edited, 0)
        except self._connection.libvirt.libvirtError as exc:
            return message_of(exc)
        return ""

    def _existing(self, nic: Nic, path: str) -> t.Any:
        """Return the libvirt domain of ``nic``; defining an undefined one would recreate it.

        :raises MacvtapError: it was undefined, or another one has its name.
        """
        try:
            handle = self._connection.handle.lookupByUUIDString(nic.uuid)
            # The ID as of the lookup: the guest may have started, and may be migrating, since it was planned for.
            job = self._connection.job(handle) if handle.ID() != -1 else ""
            # Last: the stored XML, which is read next, does not show that the domain of a guest was undefined.
            if handle.isPersistent() and handle.name() == nic.domain:
                jobs.validate_job(nic.domain, job, path=path, live=False)
                return handle
        except self._connection.libvirt.libvirtError as exc:
            if exc.get_error_code() != self._connection.libvirt.VIR_ERR_NO_DOMAIN:
                raise
        raise MacvtapError(f"domain {nic.domain!r} was undefined, renamed or moved while this ran", path=path)


def _changing(tasks: t.Sequence[Task]) -> list[Task]:
    return [task for task in tasks if not element.same(task.before.stored, task.after.stored)]


def _in_parallel(do: t.Callable[[_T], _R], items: t.Sequence[_T]) -> list[_R]:
    """Return the result of ``do`` for each item, with several in parallel: each define waits for the disk.

    If one fails, or a signal arrives, those that have not begun are cancelled. The error names what else was
    overwritten.
    """
    if len(items) < _MIN_DOMAINS_FOR_THREADS:
        return [do(item) for item in items]
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        running: list[futures.Future[_R]] = []
        try:
            with deferred():
                running += (pool.submit(do, item) for item in items)
            return [one.result() for one in running]
        except BaseException as exc:
            ended, late = _ended(running)
            failed = late or exc
            others = [str(one) for one in ended if isinstance(one, writes.OverwrittenError) and one is not failed]
            if isinstance(failed, Interrupted):
                first = () if failed is exc or isinstance(exc, writes.OverwrittenError) else (str(exc),)
                failed.errors += (*first, *others)
                raise failed from None
            if others and isinstance(exc, MacvtapError):
                # Also instead of a StaleError: a second attempt could succeed without a word about the others.
                raise MacvtapError(". ".join([str(exc), *others])) from exc
            raise


def _ended(running: t.Sequence[futures.Future[t.Any]]) -> tuple[list[BaseException | None], Interrupted | None]:
    """Cancel what has not begun, and return how the others ended, and the signal that arrived meanwhile."""
    ended: list[BaseException | None] = []
    try:
        with deferred():
            begun = [one for one in running if not one.cancel()]
            ended += (one.exception() for one in begun)
    except Interrupted as exc:
        return ended, exc
    return ended, None


def _differ_by_controllers(one: str, other: str) -> bool:
    """Whether only PCI controllers differ; another editor's change would differ in more."""
    return xml.without_pci_controllers(one) == xml.without_pci_controllers(other)


def _validate_unchanged(document: str, tasks: t.Sequence[Task]) -> None:
    """Refuse to edit a configuration in which another editor has just changed the same interface."""
    current: dict[str, set[str]] = {}
    for iface in xml.interfaces(document):
        current.setdefault(iface.mac, set()).add(iface.xml)
    for task in tasks:
        present, replaced = current.get(task.before.mac, set()), task.before.stored
        if (replaced.xml not in present) if replaced else present:
            raise StaleError(_stale_message(task), path=task.path)


def _stale_message(task: Task) -> str:
    return (
        f"domain {task.after.domain!r}: the stored configuration of interface {task.before.mac} kept "
        "changing while this ran. Find out what else edits it"
    )
