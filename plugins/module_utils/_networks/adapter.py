# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads networks and who is on them, and applies the steps of a Plan."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris, writes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink, sriov
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import reader, users
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.execution import Confirm, Execution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Host, Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.restart_watch import RestartWatch
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


class Networks:
    """A connection, and what this run has stored over it so far."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watch = RestartWatch(connection)
        self.begin()

    def begin(self) -> None:
        """Begin an attempt at the run: forget what an earlier one has done, which was rolled back or kept."""
        # By UUID: what libvirt returned right after this attempt stored a network.
        self._defined: dict[str, str] = {}
        self._overwritten: set[str] = set()

    def close(self) -> None:
        """End what watches over this run."""
        self._watch.close()

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
        return replace(host, links=links, non_vfs=sriov.non_vfs(links), functions=sriov.functions(links))

    def apply(
        self, steps: t.Sequence[Step[Network]], journal: Journal[Network] | None = None, confirm: Confirm | None = None
    ) -> None:
        """Carry out ``steps``; ``confirm`` raises right before a network is taken from guests that are on it by now.

        :raises MacvtapError: a step failed; the ``journal`` has what was begun.
        """
        log = Journal() if journal is None else journal
        with writes.counted(self._connection.libvirt, self._connection.uri, networks=True) as counts:
            for step in steps:
                Execution(self._connection, step, log, counts, self._watch).apply(self._stored, confirm)

    def _stored(self, uuid: str, document: str) -> None:
        if document:
            self._defined[uuid] = document
        else:
            self._overwritten.add(uuid)

    def revert(self, steps: t.Sequence[Step[Network]], confirm: Confirm | None = None) -> None:
        """Carry out the plan of an undo, and continue if a part of it fails; see apply() for ``confirm``.

        :raises MacvtapError: with everything that could not be restored.
        """
        self._connection.ensure()
        failures = []
        for step in steps:
            try:
                self.apply([step], confirm=confirm)
            except MacvtapError as exc:
                failures.append(str(exc))
        if failures:
            raise MacvtapError(". ".join(failures))


def _links(names: t.Collection[str]) -> Links:
    with netlink.session() as session:
        return session.observe(set(), parents=set(names))
