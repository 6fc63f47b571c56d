# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Simulates the host's routes, and refuses changes that break Ansible's or other routes. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    KERNEL_ROUTES,
    Address,
    Connection,
    DesiredShim,
    Host,
    Route,
    Shim,
    family,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW, connection_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

Case = t.Tuple[DesiredShim, Step[Shim]]
# Addresses and routes by the names of their links, None for a route without one.
AddressOwners = t.Sequence[t.Tuple[t.Optional[str], Address]]
Routes = t.Sequence[t.Tuple[t.Optional[str], Route]]
LIST_GUESTS = "List only addresses of guests"
_HINT = f"Connect to another address of the host, or set {ALLOW}: true"


def simulate(changing: t.Sequence[Case], owners: AddressOwners, routes: Routes) -> tuple[AddressOwners, Routes]:
    """Simulate the steps: return the addresses and routes afterwards, with their links."""
    final_owners, final_routes = list(owners), list(routes)
    for _entry, step in changing:
        before, after, name = step.before, step.after, step.target
        if before is not None:
            going = after is None or step.recreates
            final_owners = [(n, a) for n, a in final_owners if n != name or not (going or a in before.addresses)]
            final_routes = [(n, r) for n, r in final_routes if n != name or not (going or _is_among(r, before.routes))]
        if after is not None:
            final_owners += [(name, address) for address in after.addresses]
            final_routes += [(name, route) for route in after.routes]
        left = [address.address for n, address in final_owners if n == name]
        gone = [address.address for n, address in owners if n == name and address.address not in left]
        final_routes = [(n, r) for n, r in final_routes if n != name or not _goes_with(r, gone, left)]
    return final_owners, final_routes


def _is_among(route: Route, routes: t.Sequence[Route]) -> bool:
    return any(
        (one.destination, one.gateway, one.metric) == (route.destination, route.gateway, route.metric) for one in routes
    )


def _goes_with(route: Route, gone: t.Sequence[str], left: t.Sequence[str]) -> bool:
    """Whether the kernel created the route for addresses of its network, none of which remains."""
    if route.protocol not in KERNEL_ROUTES or any(contains(route.destination, address) for address in left):
        return False
    return any(contains(route.destination, address) for address in gone)


def check_others(changing: t.Sequence[Case], host: Host) -> None:
    """Refuse to remove routes of others: those removed with an address, or inseparable from one of a link."""
    names = {link.index: name for name, link in host.links.items() if link.netns is None}
    for entry, step in changing:
        before, after, name = step.before, step.after, step.target
        if before is None:
            continue
        going = after is None or step.recreates
        kept = () if after is None or going else after.addresses
        own = [address for address in host.addresses if names.get(address.index) == name]
        gone = {a.address for a in own if going or (a in before.addresses and a not in kept)}
        for route in (*host.routes, *host.elsewhere):
            other = names.get(route.index)
            # fib_sync_down_addr(); of IPv6 a route loses only its source (fib6_remove_prefsrc()).
            if other != name and route.source in gone and family(route.destination) == 4:
                raise MacvtapError(
                    f"the route to {route.destination} over {other or 'no link'} has the source {route.source} of "
                    f"{name}; the kernel would remove it with that address. Change its source, or remove it first",
                    path=join_path(entry.path, "addresses") if after else entry.path,
                )
            theirs = going or replace(route, index=0) in before.routes
            if other == name and route.apart and theirs:
                raise MacvtapError(
                    f"the route to {route.destination} over {name} {route.apart}, so it cannot be removed on its own. "
                    "It is not managed by this collection: remove it first",
                    path=join_path(entry.path, "guests") if after else entry.path,
                )


def check_address_stays(entry: DesiredShim, step: Step[Shim], connection: Connection) -> None:
    """Refuse to remove an address of the host interface that a connection uses."""
    before, after, local = step.before, step.after, connection.local
    if before is None or after is None:
        return
    if local in {one.address for one in before.addresses} - {one.address for one in after.addresses}:
        raise MacvtapError(
            f"{connection_text(connection, step.target)}, and removing {local} would cut it off. {_HINT}",
            path=join_path(entry.path, "addresses"),
        )


def check_route(entry: DesiredShim, step: Step[Shim], peer: str, routes: Routes, final: Routes) -> None:
    now, then = egress_link(peer, routes), egress_link(peer, final)
    if now == then or step.target not in (now, then):
        return
    index = next(
        (index for index, guests in enumerate(entry.guests) if then == step.target and contains(guests, peer)), None
    )
    path = join_path(entry.path, "guests")
    if index is not None:
        raise MacvtapError(
            f"{entry.guests[index]} contains {peer}, which Ansible connects from over {now or 'no link'}; it would "
            f"be cut off. {LIST_GUESTS}, or set {ALLOW}: true",
            path=f"{path}[{index}]",
        )
    raise MacvtapError(
        f"Ansible connects from {peer} over {now}; removing that route would cut it off. {_HINT}",
        path=path,
    )


def egress_link(peer: str, routes: Routes) -> str | None:
    """Return the link over which ``peer`` is reached by the main table."""
    # Every link has a route to link-local addresses; the local address of the connection tells the link.
    if ipaddress.ip_address(peer).is_link_local:
        return None
    fitting = [(name, route) for name, route in routes if contains(route.destination, peer)]
    best = min(fitting, key=lambda way: (-_length(way[1].destination), way[1].metric), default=None)
    return best[0] if best else None


def contains(network: str, address: str) -> bool:
    return family(network) == family(address) and ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _length(network: str) -> int:
    return int(network.rpartition("/")[2])
