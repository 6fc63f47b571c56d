# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates desired host interfaces: refuses what would cut off the host, or change what is not ours. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    DHCP,
    KERNEL_ROUTES,
    OWNER_ALIAS,
    Connection,
    DesiredShim,
    Host,
    Shim,
    family,
    is_managed,
    mtu_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.routing import (
    LIST_GUESTS,
    AddressOwners,
    Case,
    Routes,
    check_address_stays,
    check_route,
    contains,
    egress_link,
    simulate,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.tree import names_on
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import IPV6_MTU, WHY_NO_IPV6
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.validate import kind_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_validate import check_unused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names


def check_declared_once(desired: t.Sequence[DesiredShim]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for entry in desired:
        for option in ("addresses", "guests"):
            for index, value in enumerate(getattr(entry, option) if entry.state != "absent" else ()):
                path = f"{join_path(entry.path, option)}[{index}]"
                duplicate = seen.setdefault((option, value), path)
                if duplicate != path:
                    raise declared_twice(value, path, duplicate)


def check_name(entry: DesiredShim, host: Host) -> None:
    link = host.links.get(entry.name)
    if link is not None and not is_managed(link):
        raise MacvtapError(
            f"{entry.name} already exists and is {kind_of(link)} that is not managed by this collection (its alias is "
            f"not '{OWNER_ALIAS}'); it is left alone. Choose another name",
            path=join_path(entry.path, "name"),
        )


def check(changing: t.Sequence[Case], host: Host, *, allowed: bool = False) -> tuple[str, ...]:
    """Refuse steps that would harm the host; ``changing`` are those with changes.

    :returns: warnings of what cuts off the host, if that is ``allowed``.
    """
    names = {link.index: name for name, link in host.links.items() if link.netns is None}
    owners = [(names.get(address.index), address) for address in host.addresses]
    routes = [(names.get(route.index), route) for route in host.routes]
    final_owners, final_routes = simulate(changing, owners, routes)
    for entry, step in changing:
        if step.after is not None:
            _check_mtu(entry, host)
            _check_mac(entry, step, host)
            _check_addresses(entry, step, host, final_owners, routes)
            _check_guests(entry, step, final_owners, final_routes)
    disruptions = [one for entry, step in changing for one in _disruptions(entry, step)]
    connections = tuple(_with_link(connection, routes, host) for connection in host.connections)
    reach = replace(host.reach, connections=connections)
    warnings = reachability.check(disruptions, reach, host.links, allowed=allowed)
    if not allowed:
        for connection in host.connections:
            for entry, step in changing:
                check_address_stays(entry, step, connection)
                check_route(entry, step, connection.peer, routes, final_routes)
    # Last: that a connection would be cut off says more of the same routes.
    for entry, step in changing:
        _check_unused(entry, step, host)
    return warnings


def _with_link(connection: Connection, routes: Routes, host: Host) -> Connection:
    """Return the connection with its link by the main table, where the kernel did not resolve it."""
    link = host.links.get(egress_link(connection.peer, routes) or "")
    return connection if connection.index or link is None else replace(connection, index=link.index)


def _check_unused(entry: DesiredShim, step: Step[Shim], host: Host) -> None:
    """Refuse to remove with a host interface what others have put on it: links, a port, routes of other tables."""
    if step.before is None or not (step.after is None or step.recreates):
        return
    link, after = step.before.link, None if step.after is None else step.after.link
    check_unused(link, after, names_on(link, host.links), path=entry.path, force=None)
    # Those of the kernel and of a lease go with their address; for those apart see routing.check_others().
    over = [one for one in host.elsewhere if one.index == link.index and not one.apart]
    named = [f"{one.destination} in table {one.table}" for one in over if one.protocol not in (*KERNEL_ROUTES, DHCP)]
    if named:
        action = "removing" if after is None else "recreating"
        raise MacvtapError(
            f"{link.name} has routes to {join_names(named)}, which are not managed by this collection, and {action} it "
            "would remove them. Remove them first",
            path=entry.path,
        )


def _disruptions(entry: DesiredShim, step: Step[Shim]) -> t.Iterator[Disruption]:
    if step.before is None:
        return
    if step.after is None:
        yield Disruption(step.target, Loss.REMOVED, entry.path, declared=True)
    elif step.recreates:
        yield Disruption(step.target, Loss.RECREATED, entry.path, declared=True)
    elif any(change.field == "mac" for change in step.changes):
        yield Disruption(step.target, Loss.MAC, entry.path, declared=True)


def _check_mtu(entry: DesiredShim, host: Host) -> None:
    if entry.mtu is not None and entry.mtu < IPV6_MTU and host.ipv6:
        raise MacvtapError(
            f"{entry.mtu} is below {IPV6_MTU}, so the kernel would disable IPv6 on the host interface and drop its "
            f"IPv6 settings. Set {IPV6_MTU} or more, or remove mtu",
            path=join_path(entry.path, "mtu"),
        )


def _check_mac(entry: DesiredShim, step: Step[Shim], host: Host) -> None:
    """Refuse a MAC address in use: the switch would send its frames here, a router's included."""
    if entry.mac is None or (step.before is not None and step.before.link.mac == entry.mac):
        return
    link = next((one.name for one in host.links.values() if one.mac == entry.mac and one.name != entry.name), None)
    whose = f"the link {link}" if link else next((ip for ip, mac in host.neighbours.items() if mac == entry.mac), None)
    if whose is not None:
        raise MacvtapError(
            f"{entry.mac} is the MAC address of {whose}, whose frames would arrive here. Choose another one, or remove "
            "mac",
            path=join_path(entry.path, "mac"),
        )


def _check_addresses(entry: DesiredShim, step: Step[Shim], host: Host, owners: AddressOwners, routes: Routes) -> None:
    had = {address.address for address in step.before.addresses} if step.before else set()
    for index, address in enumerate(entry.addresses):
        path = f"{join_path(entry.path, 'addresses')}[{index}]"
        if family(address) == 6:
            _check_ipv6(address, step, host, path)
        _check_free(address, step, owners, path)
        if address in had:
            continue
        if any(route.gateway == address for _name, route in routes):
            raise MacvtapError(
                f"{address} is the address of a router that this host uses. Use a separate address",
                path=path,
            )
        if any(connection.peer == address for connection in host.connections):
            raise MacvtapError(
                f"{address} is the address that Ansible connects from. Use a separate address", path=path
            )


def _check_ipv6(address: str, step: Step[Shim], host: Host, path: str) -> None:
    """Refuse an IPv6 address that the kernel, its settings or the MTU of the link rule out."""
    if not host.ipv6:
        raise MacvtapError(
            f"{address} is IPv6, and this kernel has no IPv6 ({WHY_NO_IPV6}). Remove it, or enable IPv6", path=path
        )
    name = step.target if step.before is not None and not step.recreates else "default"
    if name in host.without_ipv6:
        raise MacvtapError(
            f"{address} is IPv6, which is disabled on {'new links' if name == 'default' else name} "
            f"(net.ipv6.conf.{name}.disable_ipv6). Enable it, or remove the address",
            path=path,
        )
    mtu = mtu_of(step.after.link, host) if step.after else None
    if mtu is not None and mtu < IPV6_MTU:
        raise MacvtapError(
            f"{address} is IPv6, which requires an MTU of {IPV6_MTU}; {step.target} has {mtu} from its parent. "
            "Raise the parent's MTU and set mtu, or remove the address",
            path=path,
        )


def _check_free(address: str, step: Step[Shim], owners: AddressOwners, path: str) -> None:
    """Refuse an address that another link of the host has, or that no host of its network can have."""
    other = next((name for name, one in owners if one.address == address and name != step.target), None)
    if other is not None:
        raise MacvtapError(
            f"{address} is already an address of the host, on {other}. Use a separate address", path=path
        )
    network = next((n for n in _networks(owners) if address in (str(n[0]), str(n[-1]))), None)
    if network is not None:
        raise MacvtapError(
            f"{address} is the {'network' if address == str(network[0]) else 'broadcast'} address of {network}. "
            "Use a host address",
            path=path,
        )


def _networks(owners: AddressOwners) -> t.Iterator[ipaddress.IPv4Network]:
    """Yield the IPv4 networks of the host, except those of one or two addresses (RFC 3021)."""
    for _name, one in owners:
        if family(one.address) == 4 and one.prefix < 31:
            yield ipaddress.IPv4Network((one.address, one.prefix), strict=False)


def _check_guests(entry: DesiredShim, step: Step[Shim], owners: AddressOwners, routes: Routes) -> None:
    had = {route.destination for route in step.before.routes} if step.before else set()
    for index, guests in enumerate(entry.guests):
        if guests in had:
            continue
        path = f"{join_path(entry.path, 'guests')}[{index}]"
        others = [(name, route) for name, route in routes if name != step.target]
        own = next(
            (
                f"{one.address} of {name}"
                for name, one in owners
                if name != step.target and contains(guests, one.address)
            ),
            None,
        )
        if own is not None:
            raise MacvtapError(f"{guests} contains an address of the host itself, {own}. {LIST_GUESTS}", path=path)
        router = next(
            (route.gateway for _name, route in others if route.gateway and contains(guests, route.gateway)), None
        )
        if router is not None:
            raise MacvtapError(f"{guests} contains a router that this host uses, {router}. {LIST_GUESTS}", path=path)
        same = next(((name, route) for name, route in others if route.destination == guests), None)
        if same is not None:
            kind = _NOWHERE.get(same[1].kind)
            route = f"a route of type {kind} to {guests}" if kind else f"a route to {guests} over {same[0]}"
            raise MacvtapError(f"there already is {route}. {LIST_GUESTS}", path=path)


# RTN_*: route types that send nothing.
_NOWHERE = {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
