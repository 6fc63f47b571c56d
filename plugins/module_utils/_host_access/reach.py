# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How the host is reached: reads it from the kernel, and checks that the routes to Ansible stay the same."""

from __future__ import annotations

import functools
import ipaddress
import socket
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import connections, decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Address, Connection, Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

Apply = t.Callable[[t.Sequence[Step[Link]], Journal[Link]], None]


def of(links: Links | None) -> Reach:
    """Return how this host is reached, an empty Reach if its links are not known: the guests are elsewhere."""
    if links is None:
        return Reach()
    with rtnetlink.open_socket() as sock:
        return RouteMonitor(sock).observe()


@functools.lru_cache(maxsize=1)
def _connections() -> tuple[Connection, ...]:
    """Return the connections that this process was started over, found once: later ones are not among them."""
    # The kernel walks its whole table of connections for that, which takes longer than to read all links.
    return connections.find()


class RouteMonitor:
    """The host's addresses and routes, and the link over which the kernel sends to the Ansible controller.

    The kernel resolves the latter, before and after all changes: it also applies rules and tables that are not
    modelled here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # The state at the beginning, with the route of each connection.
        self.first: Reach | None = None

    def observe(self, addresses: tuple[Address, ...] | None = None) -> Reach:
        """Return the current state; ``addresses`` are those of all links, if already read."""
        if addresses is None:
            addresses = self._addresses()
        families = (socket.AF_INET, socket.AF_INET6)
        routes = decode.routes([body for one in families for body in rtnetlink.dump_routes(self._socket, one)])
        known = _connections() if self.first is None else self.first.connections
        found = tuple(self._with_route(connection, addresses) for connection in known)
        reach = Reach(addresses, routes, found, decode.neighbours(rtnetlink.dump_neighbours(self._socket)))
        self.first = self.first or reach
        return reach

    def check_unchanged(self) -> None:
        """Check that the kernel still sends to the Ansible controller as it did in the beginning.

        :raises MacvtapError: it does not.
        """
        connections = self.first.connections if self.first else ()
        addresses = self._addresses() if connections else ()
        for before in connections:
            if before.index and self._with_route(before, addresses) != before:
                raise MacvtapError(
                    f"Ansible's connection from {before.peer} to {before.local} would be cut off: the kernel now uses "
                    "another route to it. Connect to another address of the host"
                )

    def kept(self, apply: Apply) -> Apply:
        """Return ``apply`` followed by :func:`check_unchanged`."""

        def applied(steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
            apply(steps, journal)
            self.check_unchanged()

        return applied

    def _addresses(self) -> tuple[Address, ...]:
        return decode.addresses(rtnetlink.dump_addresses(self._socket))

    def _with_route(self, connection: Connection, addresses: t.Sequence[Address]) -> Connection:
        local, peer = (ipaddress.ip_address(one) for one in (connection.local, connection.peer))
        if peer.is_link_local:
            # Link-local addresses exist on every link; the right one has the local address.
            index = next((one.index for one in addresses if one.address == connection.local), 0)
            return replace(connection, index=index)
        index, gateway = decode.route_of(rtnetlink.route_between(self._socket, local.packed, peer.packed))
        return replace(connection, index=index, gateway=gateway)
