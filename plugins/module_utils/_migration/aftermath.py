# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""After a migration that broke off: finds the guest, lets it run on one host, and removes what the other has of it."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import INCOMING, MIGRATION
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import whereabouts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Guest

# How long the two hosts have to agree on where the guest is.
_RESOLVE_SECONDS = 20.0
_POLL_SECONDS = 0.2
_TWICE = (
    "The hosts' connection broke off right when {1} had begun to run {0}, and libvirt let it go on here as well. "
    "What ran here is ended"
)
_HERE = {whereabouts.HERE: "It is still here", whereabouts.RESUME: "It stood still for a moment, and goes on here"}
_THIS = "this host"
# virDomainState and its reason, of guests that are neither here nor there yet: their memory is on two hosts, or they
# are being started. Not every version of the bindings has names for all of them.
_UNDECIDED_STATES = {
    (3, 12): whereabouts.SPLIT,
    (3, 13): whereabouts.SPLIT,
    (1, 10): "running in post-copy",
    (1, 11): "running in post-copy",
    (3, 11): "being started",
}
_BY_JOB = {INCOMING: whereabouts.STANDS_BY, MIGRATION: whereabouts.MIGRATING}


class Aftermath:
    """Both connections, and what is to be told of what was done."""

    def __init__(self, source: Connection, destination: Connection) -> None:
        self._source = source
        self._destination = destination
        self.warnings: list[str] = []
        # Which host was asked last, for the message if that fails.
        self._asked = _THIS

    def resolve(self, guest: Guest) -> str:
        """Wait until the guest is on one host after a migration that broke off. Return "" if it is the destination.

        Otherwise return in words where it is. A guest that stands still here, and is nowhere else, goes on here. What
        is here of a guest that runs on the destination is removed.
        """
        until = time.monotonic() + _RESOLVE_SECONDS
        while True:
            where, here, undecided = whereabouts.UNDECIDED, "", ""
            try:
                here, there = (self._looked(one, guest) for one in (self._source, self._destination))
                undecided = f"Here it is {here}, and on {guest.host} it is {there}. Run again when that has changed"
                place = whereabouts.place(here, there, running=guest.running, was_stored_there=guest.was_stored_there)
                where = self._decided(place, guest)
            except (MacvtapError, self._source.libvirt.libvirtError) as exc:
                here = self._of_source(guest) if self._asked == guest.host else "not known"
                undecided = f"Here the guest is {here}, and {self._asked} cannot be asked: {_text(exc)}"
            if where == whereabouts.THERE:
                return ""
            if where != whereabouts.UNDECIDED:
                ends = guest.running and here == whereabouts.STORED
                return "The guest has stopped meanwhile, and is stored here" if ends else _HERE[where]
            if time.monotonic() > until:
                return undecided
            time.sleep(_POLL_SECONDS)

    def _looked(self, connection: Connection, guest: Guest) -> str:
        self._ask(connection, guest).ensure()
        return _look(connection, guest.uuid)

    def _ask(self, connection: Connection, guest: Guest) -> Connection:
        self._asked = _THIS if connection is self._source else guest.host
        return connection

    def _of_source(self, guest: Guest) -> str:
        try:
            return _look(self._source, guest.uuid)
        except (MacvtapError, self._source.libvirt.libvirtError):
            return "not known"

    def _decided(self, where: str, guest: Guest) -> str:
        """Do what is to be done for a guest that is at this place, and return where it is then."""
        here = self._ask(self._source, guest).guest(guest.uuid)
        if where == whereabouts.RESUME:
            here.resume()
        if where == whereabouts.TWICE:
            # The destination had begun to run it, and could not say so. Then libvirt lets it go on here as well. What
            # runs there for another reason is not this guest.
            if not self._is_left_twice(here, self._ask(self._destination, guest).guest(guest.uuid)):
                return whereabouts.UNDECIDED
            self._ask(self._source, guest)
            here.destroy()
            self.warnings.append(_TWICE.format(guest.domain, guest.host))
            where = whereabouts.THERE
        if where == whereabouts.THERE and here is not None:
            there = self._ask(self._destination, guest).guest(guest.uuid)
            there_persists = there is not None and there.isPersistent()
            self._ask(self._source, guest)
            if here.isPersistent() and not there_persists:
                return where
            if here.isActive() and self._is_left(guest):
                here.destroy()
            if here.isActive():
                return whereabouts.UNDECIDED
            undefine(self._source, guest.uuid)
        return where

    def _is_left(self, guest: Guest) -> bool:
        found = is_left(self._source, self._ask(self._destination, guest), guest.uuid)
        self._ask(self._source, guest)
        return found

    def _is_left_twice(self, here: t.Any, there: t.Any) -> bool:
        libvirt = self._source.libvirt
        reasons = libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, libvirt.VIR_DOMAIN_RUNNING_MIGRATED
        running = libvirt.VIR_DOMAIN_RUNNING
        return bool([one.state()[:2] for one in (here, there)] == [[running, reason] for reason in reasons])


def _look(connection: Connection, uuid: str) -> str:
    """Return what one host says of the domain of this UUID: see whereabouts.py."""
    domain = connection.guest(uuid)
    if domain is None:
        return whereabouts.ABSENT
    if not domain.isActive():
        return whereabouts.STORED
    job = connection.job(domain)
    state = tuple(domain.state()[:2])
    if state in _UNDECIDED_STATES:
        # Post-copy that has failed has no job any more, and where one goes on it says less.
        return _UNDECIDED_STATES[state]
    if job:
        return _BY_JOB.get(job, job)
    return whereabouts.PAUSED if state[0] == connection.libvirt.VIR_DOMAIN_PAUSED else whereabouts.RUNNING


def _text(exc: t.Any) -> str:
    return str(exc.message if isinstance(exc, MacvtapError) else message_of(exc))


def is_left(source: Connection, destination: Connection, uuid: str) -> bool:
    """Whether a guest stands by here, and runs on the destination, right now."""
    return (_look(source, uuid), _look(destination, uuid)) == (whereabouts.STANDS_BY, whereabouts.RUNNING)


def undefine(connection: Connection, uuid: str) -> None:
    """Remove what is stored of a domain, but not the files of its NVRAM and TPM."""
    domain = connection.guest(uuid)
    if domain is None or not domain.isPersistent():
        return
    libvirt = connection.libvirt
    # The second one since 8.9: on shared storage it is what the guest uses.
    flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)
    domain.undefineFlags(flags)
