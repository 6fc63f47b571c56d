# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads domains into a Host, and applies the steps of a Plan."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hostlinks, networks, pause_facts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.definitions import Definitions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.domain_reader import DomainReader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.guests import Guests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    RULE,
    Domain,
    Host,
    Nic,
    Paused,
    PauseFacts,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pause_records import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.saving import Pauses
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task, rules_of, tasks_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.udev_rules import Rules, RuleStore
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.withheld import Withheld
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


@contextlib.contextmanager
def connect(
    uri: str, *, timeout: float = 0, read_only: bool = False, rules: RuleStore | None = None
) -> t.Iterator[Hypervisor]:
    """Connect to libvirt at ``uri``; ``timeout`` is how many seconds guests have to release NICs.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    with opened(uri, Connection, read_only=read_only) as connection:
        yield Hypervisor(connection, timeout, rules or RuleStore())


class Hypervisor:
    """A connection, and what this run has done over it so far."""

    only_domain = ""
    # libvirt keeps no copy.
    backup_file: str | None = None

    def __init__(self, connection: Connection, timeout: float, rules: RuleStore) -> None:
        self._connection = connection
        self._timeout = timeout
        self._rules = rules
        self._requests = Requests(
            connection.uri,
            local=connection.local,
            library=os.path.dirname(getattr(connection.libvirt, "__file__", None) or ""),
        )
        self._requests.continued = connection.continued
        # A guest may still do what it was asked for, or have a NIC in another slot since a rollback.
        self._earlier_warnings: list[str] = []
        self._forget()
        with connection.translate_errors("cannot query libvirt"):
            self._version = int(connection.handle.getLibVersion())
        self._local = connection.local
        # The rules belong to other guests than those of qemu:///session, which only root's own libvirt can start.
        self._manages_rules = self._local and not uris.is_session(connection.url)

    def _forget(self) -> None:
        """Replace what knows what an attempt has done: test_sequences_attempts.py lists what stays."""
        self._guests = Guests(self._connection, self._timeout, self._requests)
        self._pauses = Pauses(self._connection, self._requests)
        self._withheld = Withheld(self._connection, self._requests)
        self.removed: t.Sequence[Nic] = ()
        # The NICs that guests were asked to release before the rollback; None before one.
        self._to_keep: list[Nic] | None = None
        self.save_limits: t.Mapping[str, float] = {}
        self._definitions = Definitions(self._connection)
        self._reader = DomainReader(self._connection, self._definitions)

    def begin(self) -> None:
        self._earlier_warnings += self._guests.warnings
        self._pauses.wait()
        self._rules.begin()
        self._forget()

    @property
    def unanswered(self) -> set[tuple[str, str]]:
        """The NICs (domain, MAC address) that a guest did not release in time."""
        return self._guests.unanswered

    @property
    def warnings(self) -> list[str]:
        every = (*self._rules.warnings, *self._earlier_warnings, *self._guests.warnings, *self._requests.warnings)
        return list(dict.fromkeys(every))

    def observe(
        self, names: t.Iterable[str] | None, sources: t.Collection[str] = (), declared: t.Collection[str] = ()
    ) -> Host:
        """Read the domains ``names`` (None: all); the result omits those that do not exist.

        ``sources`` are links of the host that the plan has to know in full, ``declared`` are networks.
        """
        selected = None if names is None else list(dict.fromkeys(names))
        return self._connection.retry(lambda: self._observe(selected, sources, declared))

    def _observe(self, names: t.Sequence[str] | None, sources: t.Collection[str], declared: t.Collection[str]) -> Host:
        listed = self._reader.list_all()
        selected = sorted(listed) if names is None else names
        pending = self._requests.outstanding()
        found = {name: self._reader.read(listed[name], pending) for name in selected if name in listed}
        domains = {name: domain for name, domain in found.items() if domain is not None}
        known = () if len(domains) == len(selected) else tuple(sorted(listed))
        host = Host(self._connection.uri, domains, known, self._version)
        host = networks.with_direct(self._reader.with_networks(host, declared))
        sources = {*sources, *networks.uplinks_of(declared, host.networks)}
        if not self._local:
            return replace(host, links_unknown=uris.unknown_links(self._connection.uri))
        host = hostlinks.with_host_links(host, sources, self._rules.observe() if self._manages_rules else Rules(None))
        # A guest that stops, or releases a NIC, after it was read and before its links were, has lost none.
        lost = [name for name in hostlinks.without_links(host) if name in listed]
        again = {name: self._reader.read(listed[name], pending) for name in lost}
        same = {name for name, one in again.items() if one is not None and _running(one) == _running(domains[name])}
        return hostlinks.without_claims(host, set(lost) - same)

    def with_macs(self, host: Host) -> Host:
        """Return ``host`` with the MAC addresses and link names of its other domains.

        A domain that this user may not read is listed in ``unreadable``, and is no error.
        """
        return host if host.macs is not None else self._connection.retry(lambda: self._reader.with_macs(host))

    def apply(self, steps: t.Sequence[Step[Nic]], journal: Journal[Nic] | None = None) -> None:
        """Store, then detach, then attach: so a MAC address can move from one running guest to another.

        :raises MacvtapError: a step failed; the ``journal`` has what was begun.
        """
        self.require(steps)
        journal = Journal() if journal is None else journal
        tasks = tasks_of(steps)
        # Requests of earlier runs complete with what is stored now, not with what this run stores.
        with self._withheld.storing(tasks, self.removed, journal):
            self._requests.ensure_keeper()
            self._definitions.store(_by_domain(tasks), journal)
        self._write_rules(tasks, journal)
        for task_group in _in_order(tasks):
            self._pauses.limits = self.save_limits
            for one in _by_domain([task for task in task_group if task.pauses]):
                self._pauses.pause(one, journal)
            self._guests.bring([task for task in task_group if not task.pauses], journal)
        self._pauses.wait()
        self._check_links([task for task in tasks if task.attaches or task.pauses or task.changes_link])

    def revert(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Apply the plan of an undo, and continue if a part of it fails.

        :raises MacvtapError: with everything that could not be restored.
        """
        tasks = tasks_of(steps)
        journal: Journal[Nic] = Journal()
        errors: list[MacvtapError] = []

        def attempt(do: t.Callable[[], None]) -> None:
            try:
                self._connection.retry(do)
            except MacvtapError as exc:
                errors.append(exc)

        # From now on a NIC that was asked for is attached again when the guest releases it. Not those that the rollback
        # itself asks for, if it takes a second attempt.
        if self._to_keep is None:
            self._to_keep = list(self._guests.asked)
        to_keep, released = self._to_keep, list(self._guests.released)
        attempt(lambda: self._requests.keep_after_release(to_keep))
        for one in _by_domain(tasks):
            attempt(lambda one=one: self._definitions.put_back(one))  # type: ignore[misc]
        attempt(lambda: self._withheld.put_back(released))
        attempt(lambda: self._write_rules(tasks, journal, restore=True))
        for one in _by_domain([task for task in tasks if task.pauses]):
            attempt(lambda one=one: self._pauses.pause(one, journal, limited=False))  # type: ignore[misc]
        errors += self._guests.bring([task for task in tasks if not task.pauses], journal, go_on=True)
        self._pauses.wait()
        if errors:
            raise MacvtapError("; ".join(dict.fromkeys(map(str, errors))))

    def free_memory(self) -> int | None:
        """Return the bytes of memory that the host could give to guests, None if unknown."""
        return self._connection.retry(self._connection.free_memory)

    def networks(self) -> dict[str, Network]:
        """Return all libvirt networks, of every kind.

        :raises MacvtapError: this driver has none, or its daemon does not run.
        """
        return self._connection.retry(lambda: reader.networks(self._connection))

    @property
    def pauses(self) -> t.Mapping[str, Paused]:
        """What the pause was for the guest of each domain that this run has paused."""
        return self._pauses.done

    def pause_facts(self, host: Host, names: t.Collection[str]) -> dict[str, PauseFacts]:
        """Return whether the guests of these domains can be paused, and what that takes."""
        domains = [host.domains[name] for name in names]
        return self._connection.retry(lambda: pause_facts.read(self._connection, domains))

    def outstanding(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the NICs of ``host`` with an outstanding request to release them: see pending.py."""
        return self._requests.listed(host)

    def paused(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the domains of ``host`` whose guest is being paused: see pause_records.py."""
        return self._requests.paused(host)

    @property
    def outlives_boot(self) -> bool:
        """Whether the keeper handles outstanding requests after a reboot of this host too."""
        return self._requests.outlives_boot

    @property
    def sees_requests(self) -> bool:
        """Whether this user may read the outstanding requests."""
        return self._requests.readable

    def settle_requests(self, removed: t.Iterable[Nic] = ()) -> None:
        """Let ``removed`` NICs not come back, and make sure that a keeper runs if any request is outstanding."""
        self._requests.keep_released(removed)
        self._requests.ensure_keeper()

    def _write_rules(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, restore: bool = False) -> None:
        if not self._manages_rules:
            return
        for task in tasks:
            if rules_of([task])[0]:
                journal.record(task.step, RULE)
        # Before new links appear, so that udev applies the rules to them.
        self._rules.apply(*rules_of(tasks), restore=restore)

    def require(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Check whether this user can apply ``steps``, before anything is changed.

        :raises MissingLibraryError: what changes links is not installed.
        :raises MacvtapError: this user may not change links, or write the rules.
        """
        tasks = tasks_of(steps)
        changing = next((task for task in tasks if task.changes_link), None)
        if changing is not None:
            hostlinks.require(changing.path)
        if self._manages_rules:
            self._rules.require(*rules_of(tasks))

    def _check_links(self, tasks: t.Sequence[Task]) -> None:
        """Check that the kernel has the links that libvirt reports."""
        requested = [
            task
            for task in tasks
            if task.key not in self.unanswered and task.key[0] not in self._guests.restarted | self._pauses.restarted
        ]
        if not requested or not self._local:
            return
        host = self.observe(task.after.domain for task in requested)
        for task in requested:
            domain = host.domains.get(task.after.domain)
            live = domain.live if domain is not None and domain.instance == task.before.instance else ()
            iface = next((i for i in live if i.mac == task.after.mac), None)
            if iface is not None and iface.type == "direct" and host.links is not None:
                fault = hostlinks.link_fault(iface, task.after.domain, host)
                if fault:
                    raise MacvtapError(f"{task.after.domain} {iface.mac}: {fault}", path=task.path)


def _in_order(tasks: t.Sequence[Task]) -> list[list[Task]]:
    """Return the tasks of guests that are not paused, and then those of the others, whose failure costs more.

    All at once if a MAC address moves: the guest that gets it waits for the one that has it.
    """
    names = {task.after.domain for task in tasks if task.pauses}
    groups = [[task for task in tasks if (task.after.domain in names) is paused] for paused in (False, True)]
    macs = [{task.before.mac for task in group} for group in groups]
    return groups if macs[0].isdisjoint(macs[1]) else [list(tasks)]


def _by_domain(tasks: t.Sequence[Task]) -> list[list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.after.domain, []).append(task)
    return list(found.values())


def _running(domain: Domain) -> tuple[str, list[tuple[str, str | None]]]:
    """Return what identifies a running guest's links."""
    return domain.instance, [(iface.mac, iface.get("target")) for iface in domain.live]
