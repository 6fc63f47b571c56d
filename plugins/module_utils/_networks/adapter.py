# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads networks and who is on them, and applies the steps of a Plan."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris, writes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import live, reader, users
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    AUTOSTART,
    DEFINED,
    RESTARTED,
    STARTED,
    STOPPED,
    UNDEFINED,
    UPDATED,
    Host,
    Network,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

Confirm = t.Callable[[Step[Network]], None]


class Networks:
    """A connection, and what this run has stored over it so far."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # By UUID: what libvirt returned right after this run stored a network.
        self._defined: dict[str, str] = {}
        self._overwritten: set[str] = set()

    def observe(self, names: t.Collection[str] | None, uplinks: t.Collection[str] = ()) -> Host:
        """Read the networks ``names`` (None: all), who is on them, and the host's links ``uplinks`` in full."""
        return self._connection.retry(lambda: self._observe(names, uplinks))

    def _observe(self, names: t.Collection[str] | None, uplinks: t.Collection[str]) -> Host:
        connection = self._connection
        listed = reader.networks(connection, None if self._defined else names)
        # One that this run has stored is known by its UUID, whatever its name.
        found = {
            name: replace(network, defined=self._defined.get(network.uuid, ""))
            for name, network in listed.items()
            if names is None or name in names or network.uuid in self._defined
        }
        active = [network.name for network in found.values() if network.active and network.direct]
        on_them, unreadable = users.users(connection, active)
        host = Host(connection.uri, found, on_them, unreadable, overwritten=frozenset(self._overwritten))
        if not connection.local:
            return replace(host, links_unknown=uris.unknown_links(connection.uri))
        names_of = {one for network in found.values() for one in (*network.interfaces, network.pf) if one}
        links = _links({*names_of, *uplinks})
        non_vfs = frozenset(link.name for link in links.values() if link.pci and _is_non_vf(link.pci))
        return replace(host, links=links, non_vfs=non_vfs, functions=_functions(links))

    def apply(
        self, steps: t.Sequence[Step[Network]], journal: Journal[Network] | None = None, confirm: Confirm | None = None
    ) -> None:
        """Carry out ``steps``; ``confirm`` raises right before a network is taken from guests that are on it by now.

        :raises MacvtapError: a step failed; the ``journal`` has what was begun.
        """
        log = Journal() if journal is None else journal
        with writes.counted(self._connection.libvirt, self._connection.uri, networks=True) as counts:
            for step in steps:
                _Run(self._connection, step, log, counts).apply(self._stored, confirm)

    def _stored(self, uuid: str, document: str) -> None:
        if document:
            self._defined[uuid] = document
        else:
            self._overwritten.add(uuid)

    def revert(self, steps: t.Sequence[Step[Network]]) -> None:
        """Carry out the plan of an undo, and continue if a part of it fails.

        :raises MacvtapError: with everything that could not be restored.
        """
        self._connection.ensure()
        failures = []
        for step in steps:
            try:
                self.apply([step])
            except MacvtapError as exc:
                failures.append(str(exc))
        if failures:
            raise MacvtapError(". ".join(failures))


class _Run:
    """One step that is carried out."""

    def __init__(
        self, connection: Connection, step: Step[Network], journal: Journal[Network], counts: writes.Writes
    ) -> None:
        self._connection = connection
        self._step = step
        self._journal = journal
        self._counts = counts
        self._count = 0

    def apply(self, stored: t.Callable[[str, str], None], confirm: Confirm | None) -> None:
        """Carry the step out; ``stored`` gets the UUID, and the XML or "" if another editor stored it as well."""
        before, after = self._step.before, self._step.after
        name = self._step.target
        with self._connection.translate_errors(f"libvirt refuses to change network {name!r}", self._step.path):
            # Before the last look at it: a define in between is one that is overwritten.
            self._count = self._counts.count((after or before or Network()).uuid)
            handle: t.Any = self._unchanged(before) if before is not None else None
            if after is None:
                self._remove(handle, before, confirm)
                return
            if before is None or after.xml != before.xml or (after.persistent and not before.persistent):
                handle = self._store(after, stored)
            elif before.persistent and not after.persistent:
                self._do(UNDEFINED, handle.undefine)
            self._activate(handle, before, after, confirm)
            if after.persistent and bool(handle.autostart()) != after.autostart:
                self._do(AUTOSTART, lambda: handle.setAutostart(int(after.autostart)))

    def _remove(self, handle: t.Any, before: Network | None, confirm: Confirm | None) -> None:
        if handle is None or before is None:
            return
        if before.active:
            self._confirm(confirm)
            self._do(STOPPED, handle.destroy)
        if before.persistent:
            self._do(UNDEFINED, handle.undefine)

    def _store(self, after: Network, stored: t.Callable[[str, str], None]) -> t.Any:
        if not after.xml:
            # A transient network comes back as it was.
            return self._do(STARTED, lambda: self._connection.handle.networkCreateXML(after.live_xml))
        handle = self._do(DEFINED, lambda: self._connection.handle.networkDefineXML(after.xml))
        stored(after.uuid, handle.XMLDesc(self._connection.libvirt.VIR_NETWORK_XML_INACTIVE))
        if self._counts.count(after.uuid) - self._count > 1:
            stored(after.uuid, "")
            raise MacvtapError(
                f"network {after.name!r} was changed by another editor at the moment when this run stored it",
                path=self._step.path,
            )
        return handle

    def _activate(self, handle: t.Any, before: Network | None, after: Network, confirm: Confirm | None) -> None:
        was_active = before is not None and before.active
        if was_active and not after.active:
            self._confirm(confirm)
            self._do(STOPPED, handle.destroy)
        elif was_active and self._step.recreates:
            self._confirm(confirm)
            self._record(RESTARTED)
            handle.destroy()
            handle.create()
        elif was_active and before is not None and before.live is not None and after.live is not None:
            for update in live.updates(before.live, after.live, self._connection.libvirt):
                self._record(UPDATED)
                handle.update(*update, self._connection.libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)
        elif after.active and not handle.isActive():
            self._do(STARTED, handle.create)

    def _unchanged(self, before: Network) -> t.Any:
        """Return the libvirt network ``before``, right before it is changed.

        :raises MacvtapError: it has gone, or another editor has changed it.
        """
        libvirt = self._connection.libvirt
        try:
            handle = self._connection.handle.networkLookupByUUIDString(before.uuid)
            now = reader.read(self._connection, handle)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
            now = None
        if now is None or now.name != before.name:
            raise MacvtapError(f"network {before.name!r} was removed while this ran. Run again", path=self._step.path)
        if (now.xml, now.active, now.persistent) != (before.xml, before.active, before.persistent) or (
            now.live != before.live
        ):
            raise MacvtapError(
                f"network {before.name!r} was changed by another editor while this ran. Run again", path=self._step.path
            )
        return handle

    def _confirm(self, confirm: Confirm | None) -> None:
        if confirm is not None:
            confirm(self._step)

    def _do(self, action: str, request: t.Callable[[], t.Any]) -> t.Any:
        with self._connection.recorded(self._journal, [self._step], action):
            return request()

    def _record(self, action: str) -> None:
        self._journal.record(self._step, action)


def _links(names: t.Collection[str]) -> Links:
    with netlink.session() as session:
        return session.observe(set(), parents=set(names))


def _functions(links: Links) -> dict[str, tuple[str, ...]]:
    """Return the virtual functions of physical functions, both by the names that their links have here."""
    by_pci = {link.pci: link.name for link in links.values() if link.pci}
    found = {}
    for pci, name in by_pci.items():
        device = f"/sys/bus/pci/devices/{pci}"
        with contextlib.suppress(OSError):
            entries = [entry for entry in sorted(os.listdir(device)) if entry.startswith("virtfn")]
            addresses = [os.path.basename(os.path.realpath(f"{device}/{entry}")) for entry in entries]
            found[name] = tuple(by_pci[address] for address in addresses if address in by_pci)
    return found


def _is_non_vf(pci: str) -> bool:
    # sysfs has the PCI devices of all network namespaces. Without it nothing is known.
    device = f"/sys/bus/pci/devices/{pci}"
    return os.path.isdir(device) and not os.path.lexists(f"{device}/physfn")
