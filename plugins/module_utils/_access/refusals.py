# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What would take from the host a way by which it is reached, or touch what is not ours. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    IPV6_MTU,
    KERNEL_ROUTES,
    MARK,
    Address,
    Companion,
    Connection,
    Host,
    Route,
    Wanted,
    family,
    is_ours,
    mtu_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import kind_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

Case = t.Tuple[Wanted, Step[Companion]]
# Addresses and routes by the names of their links, None for a route without one.
Held = t.Sequence[t.Tuple[t.Optional[str], Address]]
Ways = t.Sequence[t.Tuple[t.Optional[str], Route]]


def check_declared_once(wanted: t.Sequence[Wanted]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for want in wanted:
        for option in ("addresses", "guests"):
            for index, value in enumerate(getattr(want, option) if want.state != "absent" else ()):
                path = f"{join_path(want.path, option)}[{index}]"
                twin = seen.setdefault((option, value), path)
                if twin != path:
                    raise MacvtapError(f"{value} is declared twice, here and in {twin}", path=path)


def check_name(want: Wanted, host: Host) -> None:
    link = host.links.get(want.name)
    if link is not None and not is_ours(link):
        raise MacvtapError(
            f"{want.name} exists and is no companion but {kind_of(link)}, which something else has made (its alias is "
            f"not '{MARK}'); it is left alone. Choose another name",
            path=join_path(want.path, "name"),
        )


def check(changing: t.Sequence[Case], host: Host) -> None:
    """Refuse what the steps, those that change something, would do to what is there."""
    names = {link.index: name for name, link in host.links.items() if link.netns is None}
    held = [(names.get(address.index), address) for address in host.addresses]
    ways = [(names.get(route.index), route) for route in host.routes]
    final_held, final_ways = _final(changing, held, ways)
    for want, step in changing:
        if step.after is not None:
            _check_mtu(want, host)
            _check_mac(want, step, host)
            _check_addresses(want, step, host, final_held, ways)
            _check_guests(want, step, final_held, final_ways)
    for connection in host.connections:
        for want, step in changing:
            over = names.get(connection.index) if connection.index else _over(connection.peer, ways)
            _check_stays(want, step, connection, held, over)
            _check_way(want, step, connection.peer, ways, final_ways)


def _final(changing: t.Sequence[Case], held: Held, ways: Ways) -> tuple[Held, Ways]:
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
    if route.protocol not in KERNEL_ROUTES or any(_has(route.destination, address) for address in left):
        return False
    return any(_has(route.destination, address) for address in gone)


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


def _check_mtu(want: Wanted, host: Host) -> None:
    if want.mtu is not None and want.mtu < IPV6_MTU and host.ipv6:
        raise MacvtapError(
            f"{want.mtu} is less than the {IPV6_MTU} bytes that IPv6 needs, and the kernel would take all of IPv6 from "
            "the companion, its settings included. Say that or more, or leave it out",
            path=join_path(want.path, "mtu"),
        )


def _check_mac(want: Wanted, step: Step[Companion], host: Host) -> None:
    """Refuse somebody else's MAC address: the switch would send here what is for them, a router's frames included."""
    if want.mac is None or (step.before is not None and step.before.link.mac == want.mac):
        return
    link = next((one.name for one in host.links.values() if one.mac == want.mac and one.name != want.name), None)
    whose = f"the link {link}" if link else host.neighbours.get(want.mac)
    if whose is not None:
        raise MacvtapError(
            f"{want.mac} is the address of {whose}, and what is for that would come here. Choose another one, or leave "
            "it out",
            path=join_path(want.path, "mac"),
        )


def _check_addresses(want: Wanted, step: Step[Companion], host: Host, held: Held, ways: Ways) -> None:
    had = {address.address for address in step.before.addresses} if step.before else set()
    for index, address in enumerate(want.addresses):
        path = f"{join_path(want.path, 'addresses')}[{index}]"
        if family(address) == 6 and not host.ipv6:
            raise MacvtapError(f"{address} is IPv6, which this host's kernel has not. Leave it out", path=path)
        _check_switched_on(address, step, host, path)
        mtu = mtu_of(step.after.link, host) if step.after else None
        if family(address) == 6 and mtu is not None and mtu < IPV6_MTU:
            raise MacvtapError(
                f"{address} is IPv6, which needs an MTU of {IPV6_MTU} bytes, and {step.target} has {mtu}, as its "
                "parent has or had. Raise the parent's, and say mtu here, or leave the address out",
                path=path,
            )
        other = next((name for name, one in held if one.address == address and name != step.target), None)
        if other is not None:
            raise MacvtapError(
                f"{address} is an address of the host already, of {other}. Give the companion one of its own", path=path
            )
        network = next((n for n in _networks(held) if address in (str(n[0]), str(n[-1]))), None)
        if network is not None:
            raise MacvtapError(
                f"{address} is the {'first' if address == str(network[0]) else 'last'} of {network}, and means all of "
                "that. Give the companion an address of its own",
                path=path,
            )
        if address in had:
            continue
        if any(route.gateway == address for _name, route in ways):
            raise MacvtapError(
                f"{address} is a router's, by which this host reaches others. Give the companion an address of its own",
                path=path,
            )
        if any(connection.peer == address for connection in host.connections):
            raise MacvtapError(
                f"{address} is whom Ansible connects from. Give the companion an address of its own", path=path
            )


def _check_switched_on(address: str, step: Step[Companion], host: Host, path: str) -> None:
    name = step.target if step.before is not None and not step.recreates else "default"
    if family(address) == 6 and name in host.without_ipv6:
        raise MacvtapError(
            f"{address} is IPv6, which is switched off on {'new links' if name == 'default' else name} "
            f"(net.ipv6.conf.{name}.disable_ipv6). Switch it on, or leave the address out",
            path=path,
        )


def _networks(held: Held) -> t.Iterator[ipaddress.IPv4Network]:
    """Yield the networks of IPv4 in which the host is, those of two addresses and of one apart (RFC 3021)."""
    for _name, one in held:
        if family(one.address) == 4 and one.prefix < 31:
            yield ipaddress.IPv4Network((one.address, one.prefix), strict=False)


def _check_guests(want: Wanted, step: Step[Companion], held: Held, ways: Ways) -> None:
    had = {route.destination for route in step.before.routes} if step.before else set()
    for index, guests in enumerate(want.guests):
        if guests in had:
            continue
        path = f"{join_path(want.path, 'guests')}[{index}]"
        others = [(name, route) for name, route in ways if name != step.target]
        own = next(
            (f"{one.address} of {name}" for name, one in held if name != step.target and _has(guests, one.address)),
            None,
        )
        if own is not None:
            raise MacvtapError(f"{guests} contains an address of the host itself, {own}. {_SAY_GUESTS}", path=path)
        router = next((route.gateway for _name, route in others if route.gateway and _has(guests, route.gateway)), None)
        if router is not None:
            raise MacvtapError(
                f"{guests} contains a router by which this host reaches others, {router}. {_SAY_GUESTS}", path=path
            )
        same = next((name or "nothing" for name, route in others if route.destination == guests), None)
        if same is not None:
            raise MacvtapError(f"{guests} is routed over {same} already. {_SAY_GUESTS}", path=path)


_SAY_GUESTS = "Say the guests' own addresses"


def _check_stays(want: Wanted, step: Step[Companion], connection: Connection, held: Held, over: str | None) -> None:
    """Refuse to take away the companion that somebody's connection runs over, or its address."""
    before, after, local, peer = step.before, step.after, connection.local, connection.peer
    if before is None:
        return
    deed = None
    if after is None:
        deed = "removing it"
    elif step.recreates:
        deed = "making it anew"
    elif any(change.field == "mac" for change in step.changes):
        deed = "changing its MAC address"
    own = {address.address for name, address in held if name == step.target}
    if deed is not None and (local in own or over == step.target):
        raise MacvtapError(
            f"{_SSH.format(peer, local, step.target)}, and {deed} would cut it off. {_MEND}", path=want.path
        )
    kept = set(after.addresses) if after else set()
    if local in {address.address for address in before.addresses if address not in kept}:
        raise MacvtapError(
            f"{_SSH.format(peer, local, step.target)}, and taking away {local} would cut it off. {_MEND}",
            path=join_path(want.path, "addresses"),
        )


def _check_way(want: Wanted, step: Step[Companion], peer: str, ways: Ways, final: Ways) -> None:
    now, then = _over(peer, ways), _over(peer, final)
    if now == then or step.target not in (now, then):
        return
    index = next(
        (index for index, guests in enumerate(want.guests) if then == step.target and _has(guests, peer)), None
    )
    path = join_path(want.path, "guests")
    if index is not None:
        raise MacvtapError(
            f"{want.guests[index]} contains {peer}, whom Ansible connects from, over {now or 'no link'}, and "
            f"that connection would be cut off. {_SAY_GUESTS}",
            path=f"{path}[{index}]",
        )
    raise MacvtapError(
        f"Ansible connects from {peer}, which is routed over {now}, and would be cut off with that route. {_MEND}",
        path=path,
    )


_SSH = "the connection from {0} to {1}, by which Ansible runs, goes over {2}"
_MEND = "Run this over another address of the host"


def _over(peer: str, ways: Ways) -> str | None:
    """Return the link over which ``peer`` is reached by the main table."""
    # Every link has a route to link-local addresses; which one is meant, the connection's other address says.
    if ipaddress.ip_address(peer).is_link_local:
        return None
    fitting = [(name, route) for name, route in ways if _has(route.destination, peer)]
    best = min(fitting, key=lambda way: (-_length(way[1].destination), way[1].metric), default=None)
    return best[0] if best else None


def _has(network: str, address: str) -> bool:
    return family(network) == family(address) and ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _length(network: str) -> int:
    return int(network.rpartition("/")[2])
