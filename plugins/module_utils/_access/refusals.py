# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What would take from the host a way by which it is reached, or touch what is not ours. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    IPV6_MTU,
    MARK,
    Companion,
    Connection,
    Host,
    Wanted,
    family,
    is_ours,
    mtu_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.ways import (
    SAY_GUESTS,
    Case,
    Held,
    Ways,
    check_address_stays,
    check_way,
    has,
    over,
    when_done,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import kind_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice


def check_declared_once(wanted: t.Sequence[Wanted]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for want in wanted:
        for option in ("addresses", "guests"):
            for index, value in enumerate(getattr(want, option) if want.state != "absent" else ()):
                path = f"{join_path(want.path, option)}[{index}]"
                twin = seen.setdefault((option, value), path)
                if twin != path:
                    raise declared_twice(value, path, twin)


def check_name(want: Wanted, host: Host) -> None:
    link = host.links.get(want.name)
    if link is not None and not is_ours(link):
        raise MacvtapError(
            f"{want.name} exists and is no companion but {kind_of(link)}, which something else has made (its alias is "
            f"not '{MARK}'); it is left alone. Choose another name",
            path=join_path(want.path, "name"),
        )


def check(changing: t.Sequence[Case], host: Host, *, allowed: bool = False) -> tuple[str, ...]:
    """Refuse what the steps, those that change something, would do to what is there.

    :returns: what cuts off the host all the same, since that is ``allowed``, in sentences.
    """
    names = {link.index: name for name, link in host.links.items() if link.netns is None}
    held = [(names.get(address.index), address) for address in host.addresses]
    ways = [(names.get(route.index), route) for route in host.routes]
    final_held, final_ways = when_done(changing, held, ways)
    for want, step in changing:
        if step.after is not None:
            _check_mtu(want, host)
            _check_mac(want, step, host)
            _check_addresses(want, step, host, final_held, ways)
            _check_guests(want, step, final_held, final_ways)
    disruptions = [one for want, step in changing for one in _disruptions(want, step)]
    connections = tuple(_with_link(connection, ways, host) for connection in host.connections)
    reach = replace(host.reach, connections=connections)
    warnings = reachability.check(disruptions, reach, host.links, allowed=allowed)
    if not allowed:
        for connection in host.connections:
            for want, step in changing:
                check_address_stays(want, step, connection)
                check_way(want, step, connection.peer, ways, final_ways)
    return warnings


def _with_link(connection: Connection, ways: Ways, host: Host) -> Connection:
    """Return the connection with the link that the main table sends it over, where the kernel was not asked."""
    link = host.links.get(over(connection.peer, ways) or "")
    return connection if connection.index or link is None else replace(connection, index=link.index)


def _disruptions(want: Wanted, step: Step[Companion]) -> t.Iterator[Disruption]:
    if step.before is None:
        return
    if step.after is None:
        yield Disruption(step.target, Loss.REMOVED, want.path, declared=True)
    elif step.recreates:
        yield Disruption(step.target, Loss.RECREATED, want.path, declared=True)
    elif any(change.field == "mac" for change in step.changes):
        yield Disruption(step.target, Loss.MAC, want.path, declared=True)


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
    whose = f"the link {link}" if link else next((ip for ip, mac in host.neighbours.items() if mac == want.mac), None)
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
            (f"{one.address} of {name}" for name, one in held if name != step.target and has(guests, one.address)),
            None,
        )
        if own is not None:
            raise MacvtapError(f"{guests} contains an address of the host itself, {own}. {SAY_GUESTS}", path=path)
        router = next((route.gateway for _name, route in others if route.gateway and has(guests, route.gateway)), None)
        if router is not None:
            raise MacvtapError(
                f"{guests} contains a router by which this host reaches others, {router}. {SAY_GUESTS}", path=path
            )
        same = next(((name, route) for name, route in others if route.destination == guests), None)
        if same is not None:
            kind = _NOWHERE.get(same[1].kind)
            said = f"there is a route of type {kind} to {guests}" if kind else f"{guests} is routed over {same[0]}"
            raise MacvtapError(f"{said} already. {SAY_GUESTS}", path=path)


# RTN_: where nothing is sent to.
_NOWHERE = {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
