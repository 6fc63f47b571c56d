# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads domains into Hosts, carries out the steps of a Plan."""

from __future__ import annotations

import contextlib
import os
import typing as t
from concurrent import futures
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, hostlinks, uris, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, opened, words
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.guests import Guests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.keeping import Keeper, Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    RULE,
    STORED,
    Domain,
    Host,
    Iface,
    Nic,
    StaleError,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pending import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task, rules_of, tasks_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")
# libvirtd works on five requests of a client at once (max_client_requests); fewer domains are not worth the threads.
_AT_ONCE = 4
# How often one edit is made again because another editor has changed something else of the domain.
_EDITS = 5
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
    paused: bool


class Hypervisor:
    """A connection, and what this run has done over it so far."""

    def __init__(self, connection: Connection, timeout: float, keeper: Keeper) -> None:
        self._on = connection
        self._keeper = keeper
        self._requests = Requests(
            connection.uri,
            local=connection.local,
            library=os.path.dirname(getattr(connection.libvirt, "__file__", None) or ""),
        )
        self._guests = Guests(connection, timeout, self._requests)
        # What this apply has found of each domain's stored configuration, and what libvirt has made of its own, or ""
        # while that is under way: by it another editor is noticed.
        self._defined: dict[str, tuple[str, str]] = {}
        with connection.said("cannot ask libvirt what it is"):
            self._version = int(connection.handle.getLibVersion())
        self._local = connection.local
        # A user's own libvirt has no running guest with such an interface, and the rules are those of other guests.
        self._keeps = self._local and not uris.is_session(connection.url)

    @property
    def unanswered(self) -> set[tuple[str, str]]:
        """The NICs (domain, MAC address) that a guest did not let go of in time."""
        return self._guests.unanswered

    @property
    def warnings(self) -> list[str]:
        return [*self._keeper.warnings, *self._guests.warnings]

    def observe(self, names: t.Iterable[str] | None, sources: t.Collection[str] = ()) -> Host:
        """Read the domains of these ``names`` (None: all); those that do not exist are left out.

        ``sources`` are the links of the host of which all must be known that decides what can use them.
        """
        self._on.ensure()
        there = self._list()
        wanted = sorted(there) if names is None else list(dict.fromkeys(names))
        pending = self._requests.outstanding()
        found = {name: self._read(there[name], pending) for name in wanted if name in there}
        domains = {name: domain for name, domain in found.items() if domain is not None}
        known = () if len(domains) == len(wanted) else tuple(sorted(there))
        host = Host(self._on.uri, domains, known, self._version)
        if not self._local:
            return host
        return hostlinks.seen(host, sources, self._keeper.observe() if self._keeps else Rules(None))

    def with_macs(self, host: Host) -> Host:
        """Return ``host`` with the addresses and the links' names that its other domains have.

        One that this user may not read is told of, and keeps nobody from changing others.
        """
        if host.macs is not None:
            return host
        macs: dict[str, list[str]] = {}
        targets: dict[str, list[str]] = {}
        unread = []
        for name, listed in self._list().items():
            if name in host.domains:
                continue
            try:
                stored, live = self._glance(listed)
            except MacvtapError:
                unread.append(name)
                continue
            for mac in {iface.mac for iface in (*stored, *live)}:
                macs.setdefault(mac, []).append(name)
            for target in {iface.get("target") for iface in stored} - {None}:
                targets.setdefault(target or "", []).append(name)
        return replace(
            host,
            macs={mac: tuple(names) for mac, names in macs.items()},
            targets={target: tuple(names) for target, names in targets.items()},
            unread=tuple(unread),
        )

    def _glance(self, listed: _Listed) -> tuple[tuple[Iface, ...], tuple[Iface, ...]]:
        """Return a domain's interfaces, stored and live, without the passwords that it would be defined with."""
        with self._on.said(f"cannot read domain {listed.handle.name()!r}"):
            try:
                inactive = self._on.libvirt.VIR_DOMAIN_XML_INACTIVE
                stored = xml.interfaces(listed.handle.XMLDesc(inactive)) if listed.persistent else ()
                return stored, xml.interfaces(listed.handle.XMLDesc(0)) if listed.active else ()
            except self._on.libvirt.libvirtError as exc:
                if exc.get_error_code() != self._on.libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return (), ()

    def apply(self, steps: t.Sequence[Step[Nic]], journal: Journal[Nic] | None = None) -> None:
        """Store first, then detach, then attach: a MAC can move from one running guest to another in one run.

        :raises MacvtapError: something cannot be done; what was begun is in the ``journal``.
        """
        self.require(steps)
        journal = Journal() if journal is None else journal
        self._defined = {}
        tasks = tasks_of(steps)
        self._requests.keep()
        _side_by_side(lambda one: self._store(one, journal), _by_domain(tasks))
        self._write_rules(tasks, journal)
        self._guests.bring(tasks, journal)
        self._check_links([task for task in tasks if task.comes or task.changes_link])

    def revert(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Carry out what undo has planned, and go on where one thing cannot be put back.

        :raises MacvtapError: with all that could not be put back.
        """
        tasks = tasks_of(steps)
        journal: Journal[Nic] = Journal()
        errors: list[MacvtapError] = []

        def attempt(do: t.Callable[[], None]) -> None:
            try:
                do()
            except MacvtapError as exc:
                errors.append(exc)

        # A NIC that is stored again and was asked for is to come back from now on.
        attempt(self._requests.keep)
        for one in _by_domain(tasks):
            attempt(lambda one=one: self._store(one, journal, back=True))  # type: ignore[misc]
        attempt(lambda: self._write_rules(tasks, journal, back=True))
        errors += self._guests.bring(tasks, journal, go_on=True)
        if errors:
            raise MacvtapError("; ".join(dict.fromkeys(map(str, errors))))

    def outstanding(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the NICs of ``host`` that guests were asked to release and still hold, by whichever run."""
        states = self._requests.outstanding()
        pid = self._requests.keeper()
        return [
            {
                "domain": domain.name,
                "mac": mac,
                "target": next((i.get("target") for i in domain.live if i.mac == mac), None),
                "since": states[domain.uuid]["nics"][mac]["since"],
                "pid": pid,
            }
            for domain in host.domains.values()
            for mac in sorted(domain.pending)
            if mac in states.get(domain.uuid, {"nics": {}})["nics"]
        ]

    @property
    def sees_requests(self) -> bool:
        """Whether this user may see what guests were asked for."""
        return self._requests.readable

    def keep(self) -> None:
        """See to it that what guests were asked for and have not answered is owned when this run ends."""
        self._requests.keep()

    def _write_rules(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, back: bool = False) -> None:
        if not self._keeps:
            return
        for task in tasks:
            if rules_of([task])[0]:
                journal.record(task.step, RULE)
        # Before the links that come, which udev then gives it as well.
        self._keeper.apply(*rules_of(tasks), back=back)

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
        """Return all domains by name: four calls, where asking each domain costs three for each."""
        with self._on.said("cannot list the domains"):
            handles = self._on.handle.listAllDomains()
            active, persistent, executing = (
                {handle.name() for handle in self._on.handle.listAllDomains(flag)}
                for flag in (
                    self._on.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE,
                    self._on.libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT,
                    self._on.libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING,
                )
            )
        return {
            (name := h.name()): _Listed(h, name in active, name in persistent, name in active - executing)
            for h in handles
        }

    def _read(self, listed: _Listed, pending: t.Mapping[str, t.Any] | None = None) -> Domain | None:
        """Return a domain, None if it has gone since it was listed; ``pending`` is what is outstanding, by UUID."""
        handle = listed.handle
        with self._on.said(f"cannot read domain {handle.name()!r}"):
            try:
                document = self._on.stored_xml(handle) if listed.persistent else ""
                live = handle.XMLDesc(0) if listed.active else ""
                instance = self._on.instance(handle) if listed.active else ""
            except self._on.libvirt.libvirtError as exc:
                if exc.get_error_code() != self._on.libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
        uuid = handle.UUIDString()
        asked = (pending or {}).get(uuid)
        there = xml.interfaces(live) if live else ()
        made = self._defined.get(handle.name(), ("", ""))[1]
        return Domain(
            name=handle.name(),
            uuid=uuid,
            running=listed.active,
            persistent=listed.persistent,
            paused=listed.paused,
            document=document,
            stored=xml.interfaces(document) if document else (),
            live=there,
            instance=instance,
            defined=xml.interfaces(made) if made else None,
            pending=frozenset(asked["nics"]) & {iface.mac for iface in there}
            if asked and asked["instance"] == instance
            else frozenset(),
        )

    def _store(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, back: bool = False) -> None:
        """Store what changes of one domain; on the way ``back`` the whole document, if nobody has changed it since."""
        changing = [task for task in tasks if not element.same(task.before.stored, task.after.stored)]
        if not changing:
            return
        before, path = changing[0].before, changing[0].path
        name = before.domain
        with self._on.said(f"libvirt refuses the configuration of domain {name!r}", path):
            document = before.document
            for _attempt in range(_EDITS):
                edited = xml.edit(document, [(task.before.stored, task.after.stored) for task in changing])
                # Right before it is replaced: what somebody stores or undefines from here on, nothing can see.
                now = self._on.stored_xml(self._existing(before, path))
                if now == document:
                    break
                _refuse_stale(now, changing)
                document = now
            else:
                raise StaleError(_stale(changing[0]), path=path)
            was, made = self._defined.get(name, ("", ""))
            if back and document == made:
                # Undoing the edits alone would leave the controllers that libvirt added for a NIC.
                edited = was
            elif not back:
                self._defined[name] = document, ""
            for task in changing:
                journal.record(task.step, STORED)
            made = self._on.stored_xml(self._define(edited, document, changing))
            if not back:
                self._defined[name] = document, made

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
        try:
            self._on.handle.domainXMLToNative(
                "qemu-argv", xml.edit(document, [(task.before.stored, task.after.stored)]), 0
            )
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
                return handle
        except self._on.libvirt.libvirtError as exc:
            if exc.get_error_code() != self._on.libvirt.VIR_ERR_NO_DOMAIN:
                raise
        raise MacvtapError(f"domain {nic.domain!r} was undefined or renamed while this ran", path=path)

    def _check_links(self, tasks: t.Sequence[Task]) -> None:
        """Look whether the kernel has what libvirt says to have done."""
        asked = [task for task in tasks if task.key not in self.unanswered and task.key[0] not in self._guests.moved]
        if not asked or not self._local:
            return
        host = self.observe({task.after.domain for task in asked})
        for task in asked:
            domain = host.domains.get(task.after.domain)
            live = domain.live if domain is not None and domain.instance == task.before.instance else ()
            iface = next((i for i in live if i.mac == task.after.mac), None)
            if iface is not None and iface.type == "direct" and host.links is not None:
                said = hostlinks.fault(iface, task.after.domain, host)
                if said:
                    raise MacvtapError(f"{task.after.domain} {iface.mac}: {said}", path=task.path)


def _by_domain(tasks: t.Sequence[Task]) -> list[list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.after.domain, []).append(task)
    return list(found.values())


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
            raise StaleError(_stale(task), path=task.path)


def _stale(task: Task) -> str:
    return (
        f"domain {task.after.domain!r}: the stored configuration of interface {task.before.mac} changed while this "
        "ran, again and again. Find out who else is editing it"
    )
