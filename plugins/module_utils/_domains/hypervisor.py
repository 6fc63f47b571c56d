# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads domains into Hosts, carries out the steps of a Plan."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hostlinks, uris, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection, opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.definitions import Definitions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.guests import Guests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.keeping import Keeper, Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    RULE,
    Domain,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pending import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task, rules_of, tasks_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


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
        self._definitions = Definitions(connection)
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
        return [*self._keeper.warnings, *self._guests.warnings, *self._requests.warnings]

    def observe(self, names: t.Iterable[str] | None, sources: t.Collection[str] = ()) -> Host:
        """Read the domains of these ``names`` (None: all); those that do not exist are left out.

        ``sources`` are the links of the host of which all must be known that decides what can use them.
        """
        wanted = None if names is None else list(dict.fromkeys(names))
        return self._on.again(lambda: self._observe(wanted, sources))

    def _observe(self, names: t.Sequence[str] | None, sources: t.Collection[str]) -> Host:
        there = self._list()
        wanted = sorted(there) if names is None else names
        pending = self._requests.outstanding()
        found = {name: self._read(there[name], pending, closely=True) for name in wanted if name in there}
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
        return host if host.macs is not None else self._on.again(lambda: self._with_macs(host))

    def _with_macs(self, host: Host) -> Host:
        macs: dict[str, list[str]] = {}
        targets: dict[str, list[str]] = {}
        placed: dict[str, list[tuple[str, str, str | None]]] = {}
        unread = []
        for name, listed in self._list().items():
            if name in host.domains:
                continue
            try:
                stored, live = self._glance(listed)
            except MacvtapError:
                if self._on.lost:
                    raise
                unread.append(name)
                continue
            for mac in {iface.mac for iface in (*stored, *live)}:
                macs.setdefault(mac, []).append(name)
            for target in {iface.get("target") for iface in stored} - {None}:
                targets.setdefault(target or "", []).append(name)
            # Those of a running guest have links.
            for iface in () if listed.active else stored:
                if iface.type == "direct" and (source := iface.get("source")):
                    placed.setdefault(source, []).append((name, iface.mac, iface.get("mode")))
        return replace(
            host,
            macs={mac: tuple(names) for mac, names in macs.items()},
            targets={target: tuple(names) for target, names in targets.items()},
            placed={source: tuple(nics) for source, nics in placed.items()},
            unread=tuple(unread),
        )

    def _glance(self, listed: _Listed) -> tuple[tuple[Iface, ...], tuple[Iface, ...]]:
        """Return a domain's interfaces, stored and live, without the passwords that it would be defined with."""
        with self._on.said(f"cannot read domain {listed.handle.name()!r}"):
            try:
                inactive = self._on.libvirt.VIR_DOMAIN_XML_INACTIVE
                stored = xml.interfaces(listed.handle.XMLDesc(inactive)) if listed.persistent else ()
                if listed.active:
                    return stored, xml.interfaces(listed.handle.XMLDesc(0))
                # What a saved guest comes back with.
                return stored, self._on.saved(listed.handle) or ()
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
        tasks = tasks_of(steps)
        # What earlier runs have asked for is settled by what is stored now, not by what this one stores.
        for uuid in dict.fromkeys(task.before.uuid for task in tasks):
            self._requests.catch_up(self._on.libvirt, self._on.handle, uuid)
        self._requests.keep()
        self._definitions.store(_by_domain(tasks), journal)
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
                self._on.again(do)
            except MacvtapError as exc:
                errors.append(exc)

        # A NIC that is stored again and was asked for is to come back from now on.
        attempt(lambda: self._requests.take_back(self._guests.asked))
        for one in _by_domain(tasks):
            failed = len(errors)
            attempt(lambda one=one: self._definitions.put_back(one))  # type: ignore[misc]
            if len(errors) > failed:
                # The guest had these NICs, and has them until it lets go: what is stored may not have them again.
                asked = [nic for nic in self._guests.asked if nic.uuid == one[0].before.uuid]
                attempt(lambda asked=asked: self._requests.take_back(asked, unstored=True))  # type: ignore[misc]
        attempt(lambda: self._write_rules(tasks, journal, back=True))
        errors += self._guests.bring(tasks, journal, go_on=True)
        if errors:
            raise MacvtapError("; ".join(dict.fromkeys(map(str, errors))))

    def outstanding(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the NICs of ``host`` that guests were asked to release and that are not settled: see pending.py."""
        return self._requests.listed(host)

    @property
    def outlives_boot(self) -> bool:
        """Whether what is outstanding is known and watched after a reboot of this host too."""
        return self._requests.outlives_boot

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
        :raises MacvtapError: this user may not change links, or write the rules.
        """
        tasks = tasks_of(steps)
        changing = next((task for task in tasks if task.changes_link), None)
        if changing is not None:
            hostlinks.require(changing.path)
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
        # What is neither has gone between two of the calls, and is no transient domain.
        return {
            name: _Listed(h, name in active, name in persistent, name in active - executing)
            for h in handles
            if (name := h.name()) in active | persistent
        }

    def _read(
        self, listed: _Listed, pending: t.Mapping[str, t.Any] | None = None, *, closely: bool = False
    ) -> Domain | None:
        """Return a domain, None if it has gone since it was listed; ``pending`` is what is outstanding, by UUID.

        ``closely`` is with its state, its job and its managed save.
        """
        handle = listed.handle
        with self._on.said(f"cannot read domain {handle.name()!r}"):
            try:
                document = self._on.stored_xml(handle) if listed.persistent else ""
                live, instance = self._on.live_xml(handle) if listed.active else ("", "")
                state, job = (self._on.state(handle), self._on.job(handle)) if closely and live else ("", "")
                saved = self._on.saved(handle) if closely and listed.persistent and not live else None
            except self._on.libvirt.libvirtError as exc:
                if exc.get_error_code() != self._on.libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
        uuid = handle.UUIDString()
        asked = (pending or {}).get(uuid)
        there = xml.interfaces(live) if live else ()
        made = self._definitions.made(handle.name())
        return Domain(
            name=handle.name(),
            uuid=uuid,
            running=bool(live),
            persistent=listed.persistent,
            paused=listed.paused,
            document=document,
            stored=xml.interfaces(document) if document else (),
            live=there,
            instance=instance,
            state=state,
            job=job,
            saved=saved,
            defined=xml.interfaces(made) if made else None,
            overwritten=handle.name() in self._definitions.overwritten,
            pending=frozenset(asked["nics"]) & {iface.mac for iface in there}
            if asked and asked["instance"] == instance
            else frozenset(),
        )

    def _check_links(self, tasks: t.Sequence[Task]) -> None:
        """Look whether the kernel has what libvirt says to have done."""
        asked = [task for task in tasks if task.key not in self.unanswered and task.key[0] not in self._guests.moved]
        if not asked or not self._local:
            return
        host = self.observe(task.after.domain for task in asked)
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
