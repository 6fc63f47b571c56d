# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads a guest on both hosts, and moves it."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hypervisor import Hypervisor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.udev_rules import RuleStore
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of, opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import capabilities, disks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.aftermath import Aftermath, is_left, undefine
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    ENDED,
    MOVED,
    UNDEFINED,
    Both,
    Desired,
    Guest,
    Side,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.transfer import Ended, Sent, transfer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import deferred

_UNDER_WAY = "Whether it is here or on {} is known when that has ended (virsh domjobinfo)"


@contextlib.contextmanager
def connected(uri: str, destination_uri: str) -> t.Iterator[Migration]:
    """Connect to the libvirt that has the guest, and to that of the destination.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(opened(uri, Connection, read_only=False, bounded=True))
        try:
            destination = stack.enter_context(opened(destination_uri, Connection, read_only=False, bounded=True))
        except MacvtapError as exc:
            exc.path = "destination_uri"
            raise
        yield Migration(source, destination)


class Migration:
    """Both connections, and what this run has done over them."""

    def __init__(self, source: Connection, destination: Connection) -> None:
        self._source = source
        self._destination = destination
        self._rules = RuleStore()
        self._hosts = {id(one): Hypervisor(one, 0, self._rules) for one in (source, destination)}
        # Of this host, None where they are not known.
        self._links: Links | None = None
        # What libvirt measured of the guest that has moved.
        self.measured: dict[str, t.Any] = {}
        self._aftermath = Aftermath(source, destination)
        # Whether a migration is under way that this run no longer waits for.
        self._is_given_up = False
        # Whether the guest's host is this one.
        self.is_local = source.local

    @property
    def warnings(self) -> list[str]:
        return self._aftermath.warnings

    def observe(self, name: str) -> Both:
        """Read the domain ``name`` on both hosts.

        :raises MacvtapError: one of them cannot be read.
        """
        if self._is_given_up:
            raise MacvtapError("libvirt has not ended the migration yet", path="domain")
        # The source first: a guest that is on its way to it has left nothing running on the destination.
        source = self._source.retry(lambda: self._side(self._source, name))
        destination = self._destination.retry(lambda: self._side(self._destination, name, source.domain))
        both = Both(source, destination)
        here = source.domain
        if here is None or (destination.domain is not None and destination.domain.running):
            return both
        return self._source.retry(lambda: self._with_guest(both, here))

    def _side(self, connection: Connection, name: str, guest: Domain | None = None) -> Side:
        """Read one of the hosts; ``guest`` is the domain on the other one."""
        one = self._hosts[id(connection)]
        host = one.observe([name])
        networks = host.networks
        if connection is self._source:
            self._links = host.links
        if guest is not None:
            host = one.with_macs(host)
            networks = one.networks()
        with connection.translate_errors(f"cannot query {connection.uri}"):
            return Side(
                uri=connection.uri,
                name=str(connection.handle.getHostname()),
                uuid=capabilities.host_uuid(connection),
                version=int(connection.handle.getLibVersion()),
                emulator=int(connection.handle.getVersion()),
                domain=host.domains.get(name),
                namesake=_namesake(connection, guest.uuid) if guest is not None else "",
                known=host.known,
                macs=host.macs,
                targets=host.targets,
                networks=networks,
                free=connection.free_memory(),
            )

    def _with_guest(self, both: Both, here: Domain) -> Both:
        """Return ``both`` with what decides whether the guest can move."""
        source = self._source
        with source.translate_errors(f"cannot read domain {here.name!r}"):
            handle = source.handle.lookupByUUIDString(here.uuid)
            live, stored = _documents(source, handle)
            facts = capabilities.of_guest(source, handle, here)
        with self._destination.translate_errors(f"cannot query {both.destination.uri}", "destination_uri"):
            unfit = capabilities.unfit(self._destination, facts)
        modes = {iface.mac: iface.values["mode"] for iface in here.live if iface.stale_mode is not None}
        files = disks.files(live or stored)
        return replace(
            both,
            live=xml.interfaces(live) if here.running and live else (),
            stored=xml.interfaces(stored),
            modes=modes,
            blockers=facts.blockers,
            unfit=unfit,
            memory=facts.memory if here.running else None,
            used=facts.used,
            mtus=self._mtus(here),
            links=self._links or {},
            disks=files,
            # Of another host it is not known.
            local_disks=disks.alone(files) if self.is_local else {},
        )

    def _mtus(self, here: Domain) -> dict[str, int]:
        """Return the MTUs of the guest's links; none where they are out of reach."""
        links = self._links or {}
        found = {iface.mac: links[name].mtu for iface in here.live if (name := iface.get("target") or "") in links}
        return {mac: mtu for mac, mtu in found.items() if mtu is not None}

    def here(self, name: str) -> Domain | None:
        """Read the domain ``name`` on this host, None if it has none.

        :raises MacvtapError: it cannot be read.
        """
        return self._hosts[id(self._source)].observe([name]).domains.get(name)

    def ruled(self) -> frozenset[str]:
        """Return the MAC addresses whose links receive all multicast by a rule of this host."""
        return self._rules.observe().managed_rules or frozenset()

    def apply(
        self,
        steps: t.Sequence[Step[Guest]],
        journal: Journal[Guest],
        desired: Desired,
        check: t.Callable[[], None] = lambda: None,
    ) -> None:
        """Move the guest, or remove what is left of it here. ``check`` is called right before the guest is moved.

        :raises MacvtapError: that failed. The message has where the guest is.
        """
        for step in steps:
            guest = t.cast("Guest", step.after)
            if guest.action == MOVED:
                self._move(step, guest, journal, desired, check)
            else:
                self._remove_rest(step, guest, journal)

    def _move(
        self,
        step: Step[Guest],
        guest: Guest,
        journal: Journal[Guest],
        desired: Desired,
        check: t.Callable[[], None],
    ) -> None:
        check()
        # Read last: what is sent is as it is now. libvirtd may have been restarted since the guest was observed.
        handle, sent = self._source.retry(lambda: self._prepared(guest, desired))
        journal.record(step, MOVED)
        # A run that is stopped waits too until it is known where the guest is.
        with deferred():
            ended = transfer(
                self._source.libvirt, handle, desired, sent, running=guest.running, answers=self._destination_answers
            )
            if ended.error is None and not ended.is_under_way:
                self._measure(guest)
                return
            reason = ended.aborted or f"{message_of(ended.error)}{self._hint(message_of(ended.error), guest)}"
            self._is_given_up = ended.is_under_way
            # Questions about a guest that is on its way may wait for libvirt's call as well.
            where = _UNDER_WAY.format(guest.host) if ended.is_under_way else self._aftermath.resolve(guest)
            if where:
                raise _failed(guest, ended, reason, where)

    def _destination_answers(self) -> bool:
        """Whether the destination can be asked, after a restart too."""
        with contextlib.suppress(MacvtapError):
            self._destination.ensure()
            return True
        return False

    def _hint(self, message: str, guest: Guest) -> str:
        if "Migration without shared storage is unsafe" in message:
            return " (to have the disks copied, set storage: copy)"
        # Measured with 9.0: of 40 refusals over SSH 14 had no other text, and over TLS none.
        is_lost = "End of file while reading data" in message and "ssh" in self._destination.uri
        return (
            f" (libvirt loses some reasons on their way over SSH; its log on {guest.host} may have it)"
            if is_lost
            else ""
        )

    def _prepared(self, guest: Guest, desired: Desired) -> tuple[t.Any, Sent]:
        """Return the guest's libvirt domain, and what is sent of it.

        :raises MacvtapError: it cannot be read, or it is not as it was observed.
        """
        source = self._source
        with source.translate_errors(f"cannot read domain {guest.domain!r}"):
            handle = self._unchanged(guest)
            live, stored = _documents(source, handle)
            keep = bool(handle.isPersistent()) if desired.persistent is None else desired.persistent
        to_store = xml.edit(stored, guest.stored)
        # A guest that does not run is moved by what is stored.
        sent_live = xml.edit(live, guest.live) if guest.running else to_store
        return handle, Sent(sent_live, to_store if keep else None, self._destination.uri)

    def _unchanged(self, guest: Guest) -> t.Any:
        """Return the guest's libvirt domain.

        :raises MacvtapError: it was started or stopped since it was observed.
        """
        handle = self._source.handle.lookupByUUIDString(guest.uuid)
        if self._source.instance(handle) != guest.instance:
            raise MacvtapError(f"domain {guest.domain!r} was started or stopped meanwhile. Run again", path="domain")
        return handle

    def _measure(self, guest: Guest) -> None:
        """Note what libvirt measured; it never fails a run."""
        destination = self._destination
        with contextlib.suppress(destination.libvirt.libvirtError, MacvtapError):
            handle = destination.handle.lookupByUUIDString(guest.uuid)
            self.measured = dict(handle.jobStats(destination.libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))

    def _remove_rest(self, step: Step[Guest], guest: Guest, journal: Journal[Guest]) -> None:
        """Remove the domain here of a guest that runs there."""
        source = self._source
        with source.translate_errors(f"cannot remove domain {guest.domain!r} here"):
            handle = self._unchanged(guest)
            if guest.action == ENDED and not is_left(source, self._destination, guest.uuid):
                raise MacvtapError(
                    f"the state of domain {guest.domain!r} has changed meanwhile. Run again", path="domain"
                )
            journal.record(step, guest.action)
            if guest.action == ENDED:
                handle.destroy()
            if guest.action in (ENDED, UNDEFINED):
                undefine(source, guest.uuid)


def _failed(guest: Guest, ended: Ended, reason: str, where: str) -> MacvtapError:
    what = f"domain {guest.domain!r} did not move to {guest.host}: {reason}"
    if ended.is_under_way:
        what = f"the migration of domain {guest.domain!r} has not ended, and is no longer waited for: {reason}"
    return MacvtapError(f"{what}. {where}", path="domain")


def _documents(connection: Connection, handle: t.Any) -> tuple[str, str]:
    """Return the XML that libvirt sends of a guest that runs ("" if it does not), and of what is stored.

    Of a guest that is not stored here, the latter is what would be.
    """
    libvirt = connection.libvirt
    secure, inactive = libvirt.VIR_DOMAIN_XML_SECURE, libvirt.VIR_DOMAIN_XML_INACTIVE
    live = str(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | secure)) if handle.isActive() else ""
    return live, str(handle.XMLDesc(inactive | secure))


def _namesake(connection: Connection, uuid: str) -> str:
    domain = connection.guest(uuid)
    return "" if domain is None else str(domain.name())
