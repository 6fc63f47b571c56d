# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which ways the host has to others, and what would take one away that is Ansible's or somebody else's. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    KERNEL_ROUTES,
    Address,
    Companion,
    Connection,
    Host,
    Route,
    Wanted,
    family,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import ALLOW, connection_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

Case = t.Tuple[Wanted, Step[Companion]]
# Addresses and routes by the names of their links, None for a route without one.
Held = t.Sequence[t.Tuple[t.Optional[str], Address]]
Ways = t.Sequence[t.Tuple[t.Optional[str], Route]]
SAY_GUESTS = "Say the guests' own addresses"
_MEND = f"Run this over another address of the host, or set {ALLOW}: true"


def when_done(changing: t.Sequence[Case], held: Held, ways: Ways) -> tuple[Held, Ways]:
    """Return whose the addresses and routes are when the steps are done."""
    final_held, final_ways = list(held), list(ways)
    for _want, step in changing:
        before, after, name = step.before, step.after, step.target
        if before is not None:
            going = after is None or step.recreates
            final_held = [(n, a) for n, a in final_held if n != name or not (going or a in before.addresses)]
            final_ways = [(n, r) for n, r in final_ways if n != name or not (going or _is_among(r, before.routes))]
        if after is not None:
            final_held += [(name, address) for address in after.addresses]
            final_ways += [(name, route) for route in after.routes]
        left = [address.address for n, address in final_held if n == name]
        gone = [address.address for n, address in held if n == name and address.address not in left]
        final_ways = [(n, r) for n, r in final_ways if n != name or not _goes_with(r, gone, left)]
    return final_held, final_ways


def _is_among(route: Route, routes: t.Sequence[Route]) -> bool:
    return any(
        (one.destination, one.gateway, one.metric) == (route.destination, route.gateway, route.metric) for one in routes
    )


def _goes_with(route: Route, gone: t.Sequence[str], left: t.Sequence[str]) -> bool:
    """Say whether the kernel has made the route for addresses of its network, none of which is left."""
    if route.protocol not in KERNEL_ROUTES or any(has(route.destination, address) for address in left):
        return False
    return any(has(route.destination, address) for address in gone)


def check_others(changing: t.Sequence[Case], host: Host) -> None:
    """Refuse what would take others' routes away: such that go with an address, or that are only one with a link's."""
    names = {link.index: name for name, link in host.links.items() if link.netns is None}
    for want, step in changing:
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
                    f"the route to {route.destination} over {other or 'no link'} has {route.source} of {name} as its "
                    "source, and the kernel would remove it with that address. Give it another source, or remove it",
                    path=join_path(want.path, "addresses") if after else want.path,
                )
            theirs = going or replace(route, index=0) in before.routes
            if other == name and route.apart and theirs:
                raise MacvtapError(
                    f"the route to {route.destination} over {name} {route.apart}, so that it would not go alone, or "
                    "not at all. Something else has made it: remove it first",
                    path=join_path(want.path, "guests") if after else want.path,
                )


def check_address_stays(want: Wanted, step: Step[Companion], connection: Connection) -> None:
    """Refuse to take away an address of the companion that somebody's connection needs."""
    before, after, local = step.before, step.after, connection.local
    if before is None or after is None:
        return
    if local in {one.address for one in before.addresses} - {one.address for one in after.addresses}:
        raise MacvtapError(
            f"{connection_text(connection, step.target)}, and taking away {local} would cut it off. {_MEND}",
            path=join_path(want.path, "addresses"),
        )


def check_way(want: Wanted, step: Step[Companion], peer: str, ways: Ways, final: Ways) -> None:
    now, then = over(peer, ways), over(peer, final)
    if now == then or step.target not in (now, then):
        return
    index = next((index for index, guests in enumerate(want.guests) if then == step.target and has(guests, peer)), None)
    path = join_path(want.path, "guests")
    if index is not None:
        raise MacvtapError(
            f"{want.guests[index]} contains {peer}, whom Ansible connects from, over {now or 'no link'}, and "
            f"that connection would be cut off. {SAY_GUESTS}, or set {ALLOW}: true",
            path=f"{path}[{index}]",
        )
    raise MacvtapError(
        f"Ansible connects from {peer}, which is routed over {now}, and would be cut off with that route. {_MEND}",
        path=path,
    )


def over(peer: str, ways: Ways) -> str | None:
    """Return the link over which ``peer`` is reached by the main table."""
    # Every link has a route to link-local addresses; which one is meant, the connection's other address says.
    if ipaddress.ip_address(peer).is_link_local:
        return None
    fitting = [(name, route) for name, route in ways if has(route.destination, peer)]
    best = min(fitting, key=lambda way: (-_length(way[1].destination), way[1].metric), default=None)
    return best[0] if best else None


def has(network: str, address: str) -> bool:
    return family(network) == family(address) and ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _length(network: str) -> int:
    return int(network.rpartition("/")[2])
