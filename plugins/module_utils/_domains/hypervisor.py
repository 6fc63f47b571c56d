# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads domains into Hosts, carries out the steps of a Plan."""

from __future__ import annotations

import contextlib
import typing as t
from concurrent import futures
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, hostlinks, uris, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.guests import Guests, Task, rules_of, tasks_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.keeping import Keeper, Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Nic, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")
# libvirtd works on five requests of a client at once (max_client_requests); fewer domains are not worth the threads.
_AT_ONCE = 4
_WORTH_THREADS = 8


@contextlib.contextmanager
def connect(
    uri: str, *, timeout: float = 0, read_only: bool = False, keeper: Keeper | None = None
) -> t.Iterator[Hypervisor]:
    """Connect to libvirt at ``uri``; ``timeout`` is how many seconds a guest has to let go of NICs.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    with opened(uri, read_only=read_only) as connection:
        yield Hypervisor(connection, timeout, keeper or Keeper())


class _Listed(t.NamedTuple):
    """A domain as libvirt lists it."""

    handle: t.Any
    active: bool
    persistent: bool


class Hypervisor:
    """A connection, and what this run has done over it so far."""

    def __init__(self, connection: Connection, timeout: float, keeper: Keeper) -> None:
        self._on = connection
        self._keeper = keeper
        self._guests = Guests(connection, timeout)
        self._handles: dict[str, t.Any] = {}
        # What this run found of each domain's stored configuration, and made of it, to notice another editor.
        self._defined: dict[str, tuple[str, str]] = {}
        # What libvirt has made of it in the last apply, read back at once: it shows whether that is what was meant.
        self._read_back: dict[str, str] = {}
        with connection.said("cannot ask libvirt what it is"):
            self._version = int(connection.handle.getLibVersion())
            uri = connection.handle.getURI()
        self._local = uris.is_local(uri)
        # A user's own libvirt has no running guest with such an interface, and the rules are those of other guests.
        self._keeps = self._local and not uris.is_session(uri)

    @property
    def unanswered(self) -> set[tuple[str, str]]:
        """The NICs (domain, MAC address) that a guest did not let go of in time."""
        return self._guests.unanswered

    @property
    def warnings(self) -> list[str]:
        return [*self._keeper.warnings, *self._guests.warnings]

    def observe(self, names: t.Iterable[str] | None, sources: t.Collection[str] = ()) -> Host:
        """Read the domains of these ``names`` (None: all); those that do not exist are left out.

        ``sources`` are the links of the host of which all must be known that decides what can use them. What has just
        been stored and read back is not read once more.
        """
        documents, self._read_back = self._read_back, {}
        return self._host(names, sources, documents)

    def _host(self, names: t.Iterable[str] | None, sources: t.Collection[str], documents: t.Mapping[str, str]) -> Host:
        there = self._list()
        wanted = sorted(there) if names is None else list(dict.fromkeys(names))
        found = {name: self._read(there[name], documents.get(name)) for name in wanted if name in there}
        domains = {name: domain for name, domain in found.items() if domain is not None}
        known = () if len(domains) == len(wanted) else tuple(sorted(there))
        host = Host(self._on.uri, domains, known, self._version)
        if not self._local:
            return host
        return hostlinks.seen(host, sources, self._keeper.observe() if self._keeps else Rules(None))

    def with_macs(self, host: Host) -> Host:
        """Return ``host`` with the addresses and the links' names that its other domains have."""
        if host.macs is not None:
            return host
        macs: dict[str, list[str]] = {}
        targets: dict[str, list[str]] = {}
        for name, listed in self._list().items():
            domain = self._read(listed) if name not in host.domains else None
            if domain is None:
                continue
            for mac in {iface.mac for iface in (*domain.stored, *domain.live)}:
                macs.setdefault(mac, []).append(name)
            for target in {iface.get("target") for iface in domain.stored} - {None}:
                targets.setdefault(target or "", []).append(name)
        return replace(
            host,
            macs={mac: tuple(names) for mac, names in macs.items()},
            targets={target: tuple(names) for target, names in targets.items()},
        )

    def apply(self, steps: t.Sequence[Step[Nic]], journal: Journal[Nic] | None = None) -> None:
        """Store first, then unplug, then plug: a MAC can move from one running guest to another in one run."""
        self.require(steps)
        journal = journal or Journal()
        for step in steps:
            journal.record(step)
        tasks = tasks_of(steps)
        by_domain: dict[str, list[Task]] = {}
        for task in tasks:
            by_domain.setdefault(task.after.domain, []).append(task)
        stored = _side_by_side(self._store, list(by_domain.values()))
        if self._keeps:
            # Before the links that come, which udev then gives it as well.
            back = any(task.after.document or task.after.left for task in tasks)
            self._keeper.apply(*rules_of(tasks), back=back)
        self._guests.bring(tasks)
        self._check_links([task for task in tasks if task.comes or task.changes_link])
        self._read_back = {name: made for name, made in zip(by_domain, stored) if made is not None}

    def require(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Look whether ``steps`` can be done, before anything is.

        :raises MissingLibraryError: what changes links is not installed.
        :raises MacvtapError: the rules cannot be written by this user.
        """
        tasks = tasks_of(steps)
        if any(task.changes_link for task in tasks):
            hostlinks.require()
        if self._keeps:
            self._keeper.require(*rules_of(tasks))

    def _list(self) -> dict[str, _Listed]:
        """Return all domains by name: three calls, where asking each domain costs three for each."""
        with self._on.said("cannot list the domains"):
            handles = self._on.handle.listAllDomains()
            active, persistent = (
                {handle.name() for handle in self._on.handle.listAllDomains(flag)}
                for flag in (
                    self._on.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE,
                    self._on.libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT,
                )
            )
        listed = {(name := h.name()): _Listed(h, name in active, name in persistent) for h in handles}
        self._handles = {name: one.handle for name, one in listed.items()}
        return listed

    def _read(self, listed: _Listed, document: str | None = None) -> Domain | None:
        """Return a domain, None if it has gone since it was listed; ``document`` is its stored XML if that is known."""
        handle = listed.handle
        with self._on.said(f"cannot read domain {handle.name()!r}"):
            try:
                if document is None:
                    document = self._on.stored_xml(handle) if listed.persistent else ""
                live = handle.XMLDesc(0) if listed.active else ""
            except self._on.libvirt.libvirtError as exc:
                if exc.get_error_code() != self._on.libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
        return Domain(
            name=handle.name(),
            uuid=handle.UUIDString(),
            running=listed.active,
            persistent=listed.persistent,
            document=document,
            stored=xml.interfaces(document) if document else (),
            live=xml.interfaces(live) if live else (),
        )

    def _store(self, tasks: t.Sequence[Task]) -> str | None:
        """Store what changes of one domain, and return what libvirt has made of that, None if nothing changes."""
        path, after = tasks[0].path, tasks[0].after
        name = after.domain
        changing = [task for task in tasks if not element.same(task.before.stored, task.after.stored)]
        if not changing:
            return None
        if after.document and name not in self._defined:
            # On the way back, of a domain that this run has not stored: what differs there, somebody else has changed.
            return None
        with self._on.said(f"libvirt refuses the configuration of domain {name!r}", path):
            document = self._on.stored_xml(self._handles[name])
            if document != tasks[0].before.document:
                _refuse_stale(document, changing)
            edited = xml.edit(document, [(task.before.stored, task.after.stored) for task in changing])
            was, made = self._defined.get(name, ("", ""))
            if after.document and document == made:
                # The way back. Undoing the edits alone would leave the controllers that libvirt added for a NIC.
                edited = was
            handle = self._on.handle.defineXML(edited)
            made = self._on.stored_xml(handle)
        self._defined[name] = document, made
        return made

    def _check_links(self, tasks: t.Sequence[Task]) -> None:
        """Look whether the kernel has what libvirt says to have done."""
        asked = [task for task in tasks if (task.after.domain, task.after.mac) not in self.unanswered]
        if not asked or not self._local:
            return
        host = self._host({task.after.domain for task in asked}, (), {})
        for task in asked:
            name = task.after.domain
            iface = next((i for i in host.domains[name].live if i.mac == task.after.mac), None)
            if iface is not None and iface.type == "direct" and host.links is not None:
                said = hostlinks.fault(iface, name, host.links, host.holders)
                if said:
                    raise MacvtapError(f"{name} {iface.mac}: {said}", path=task.path)


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


def _refuse_stale(document: str, tasks: t.Sequence[Task]) -> None:
    """Refuse to edit a configuration in which somebody else has just changed the same interface."""
    now: dict[str, set[str]] = {}
    for iface in xml.interfaces(document):
        now.setdefault(iface.mac, set()).add(iface.xml)
    for task in tasks:
        there, was = now.get(task.before.mac, set()), task.before.stored
        if (was.xml not in there) if was else there:
            raise StaleError(
                f"domain {task.after.domain!r}: the stored configuration of interface {task.before.mac} changed while "
                "this ran, again and again. Find out who else is editing it",
                path=task.path,
            )
