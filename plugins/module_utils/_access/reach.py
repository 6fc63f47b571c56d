# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""By what the host is reached: reads it from the kernel, and looks whether the ways are those of the beginning."""

from __future__ import annotations

import ipaddress
import socket
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import connections, decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Address, Connection, Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

Apply = t.Callable[[t.Sequence[Step[Link]], Journal[Link]], None]


class Ways:
    """The host's addresses and routes, and over which link the kernel sends to whom Ansible connects from.

    The kernel is asked for the latter, and asked again when all is done: it heeds rules and tables that nothing here
    models.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # That of the beginning, and which way each connection has gone then.
        self.first: Reach | None = None

    def observe(self, addresses: tuple[Address, ...] | None = None) -> Reach:
        """Return what there is now; ``addresses`` are those of all links, if they have been read already."""
        if addresses is None:
            addresses = self._addresses()
        families = (socket.AF_INET, socket.AF_INET6)
        routes = decode.routes([body for one in families for body in rtnetlink.dump_routes(self._socket, one)])
        # Who is connected now and was not is not whom this runs for.
        known = connections.find() if self.first is None else self.first.connections
        found = tuple(self._with_way(connection, addresses) for connection in known)
        reach = Reach(addresses, routes, found, decode.neighbours(rtnetlink.dump_neighbours(self._socket)))
        self.first = self.first or reach
        return reach

    def check_unchanged(self) -> None:
        """Look whether the kernel sends where it sent in the beginning to whom Ansible connects from.

        :raises MacvtapError: it does not.
        """
        addresses = self._addresses()
        for before in self.first.connections if self.first else ():
            if before.index and self._with_way(before, addresses) != before:
                raise MacvtapError(
                    f"the connection from {before.peer} to {before.local}, by which Ansible runs, would be cut off, "
                    "since the kernel sends to there another way now. Run this over another address of the host"
                )

    def kept(self, apply: Apply) -> Apply:
        """Return ``apply`` with the look at the ways after it."""

        def applied(steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
            apply(steps, journal)
            self.check_unchanged()

        return applied

    def _addresses(self) -> tuple[Address, ...]:
        return decode.addresses(rtnetlink.dump_addresses(self._socket))

    def _with_way(self, connection: Connection, addresses: t.Sequence[Address]) -> Connection:
        local, peer = (ipaddress.ip_address(one) for one in (connection.local, connection.peer))
        if peer.is_link_local:
            # Each link leads to some; the one that is meant has the other end.
            index = next((one.index for one in addresses if one.address == connection.local), 0)
            return replace(connection, index=index)
        index, gateway = decode.way(rtnetlink.route_between(self._socket, local.packed, peer.packed))
        return replace(connection, index=index, gateway=gateway)
