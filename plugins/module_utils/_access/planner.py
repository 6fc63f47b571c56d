# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the steps from current to desired host interfaces, with their addresses and routes. Pure.

_links/planner.py plans the links themselves, as it does macvtap links.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import refusals, ways
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.caveats import warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    DHCP,
    INCOMPLETE_GROUP,
    IPV6_MTU,
    KERNEL_ROUTES,
    MARK,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    SETTINGS,
    UNICAST,
    Address,
    Companion,
    Host,
    Route,
    Wanted,
    family,
    fields,
    is_ours,
    mtu_of,
    source_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Wanted as WantedLink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, in_order, predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan, Step


def plan(desired: t.Sequence[Wanted], host: Host, *, allowed: bool = False) -> Plan[Companion]:
    """Plan the steps from ``host`` to ``desired``.

    :raises MacvtapError: the kernel would refuse it, it would change what is not ours, or (unless ``allowed``) cut off
        Ansible's connection.
    """
    refusals.check_declared_once(desired)
    for entry in desired:
        refusals.check_name(entry, host)
    links = predicted(planner.plan([_link(entry, host) for entry in desired], host.links), host.links)
    steps = []
    for entry in desired:
        before = found(entry.name, host, dhcp4=entry.dhcp4)
        steps.append(between_companions(before, _after(entry, before, links.get(entry.name), host), entry.path))
    changing = [(entry, step) for entry, step in zip(desired, steps) if step.changes]
    cut_off = refusals.check(changing, host, allowed=allowed)
    ways.check_others(changing, host)
    return in_order(steps, (*cut_off, *warnings(desired, steps, links, host)))


def purged(desired: t.Sequence[Wanted], host: Host) -> list[Wanted]:
    """Return entries that remove the host interfaces of this collection that are not ``desired``."""
    declared = {entry.name for entry in desired}
    ours = (link for link in host.links.values() if link.netns is None and is_ours(link))
    return [Wanted(link.name, "purge", "absent") for link in ours if link.name not in declared]


def found(name: str, host: Host, *, dhcp4: bool = False) -> Companion | None:
    """Return the host interface of this name, None if there is none of ours."""
    link = host.links.get(name)
    if link is None or not is_ours(link):
        return None
    managers = (*KERNEL_ROUTES, DHCP) if dhcp4 else KERNEL_ROUTES
    return Companion(
        link,
        host.settings.get(name, {}),
        tuple(
            address
            for address in host.addresses
            if address.index == link.index and not address.link_local and not (dhcp4 and address.leased)
        ),
        tuple(
            replace(route, index=0)
            for route in host.routes
            if route.index == link.index
            and route.protocol not in (managers if family(route.destination) == 4 else KERNEL_ROUTES)
        ),
        dhcp4=dhcp4,
    )


def _link(entry: Wanted, host: Host) -> WantedLink:
    now = host.links.get(entry.name)
    return WantedLink(
        entry.name,
        entry.path,
        "absent" if entry.state == "absent" else "up",
        entry.parent,
        "bridge",
        entry.mac,
        entry.mtu,
        alias=MARK,
        group=0 if now is not None and now.group == INCOMPLETE_GROUP else None,
        kind="macvlan",
    )


def between_companions(before: Companion | None, after: Companion | None, path: str) -> Step[Companion]:
    return between(before, after, fields, _impact, path=path)


def _impact(before: Companion, field: str, value: t.Any) -> Impact:
    return planner.impact(before.link, field, value)


def _after(entry: Wanted, before: Companion | None, link: Link | None, host: Host) -> Companion | None:
    """Return the desired state of the host interface: ``before`` itself where nothing changes."""
    if entry.state == "absent" or link is None:
        return None
    six = host.ipv6 and (mtu_of(link, host) or IPV6_MTU) >= IPV6_MTU
    settings = {name: value for name, value in SETTINGS.items() if six or not name.startswith("ipv6/")}
    addresses, routes = as_declared(entry).addresses, as_declared(entry).routes
    if before is None:
        return Companion(link, settings, addresses, routes, entry.dhcp4)
    if set(addresses) == set(before.addresses):
        addresses = before.addresses
    if link.parent_index == before.link.parent_index:
        gone = {address.address for address in before.addresses} - set(entry.addresses)
        # The kernel removes routes together with their source address.
        routes = _kept(routes, tuple(route for route in before.routes if route.source not in gone))
    after = Companion(link, settings, addresses, routes, entry.dhcp4)
    return before if after == before else after


def as_declared(entry: Wanted) -> Companion:
    """Return the declared companion: its addresses and routes, without a link."""
    # No network prefix: the kernel would route the whole network over the companion.
    addresses = tuple(Address(one, 32 if family(one) == 4 else 128) for one in entry.addresses)
    return Companion(Link(entry.name), {}, addresses, tuple(_route(one, entry) for one in entry.guests), entry.dhcp4)


def _route(guests: str, entry: Wanted) -> Route:
    scope = SCOPE_LINK if family(guests) == 4 else SCOPE_UNIVERSE
    return Route(guests, source=source_of(guests, entry.addresses), scope=scope)


def _kept(routes: tuple[Route, ...], there: tuple[Route, ...]) -> tuple[Route, ...]:
    """Return ``routes`` with equivalent existing routes in their places, whatever created them."""
    resolved = tuple(next((route for route in there if _serves(route, desired)), desired) for desired in routes)
    return there if set(resolved) == set(there) else resolved


def _serves(route: Route, desired: Route) -> bool:
    plain = route.gateway is None and route.kind == UNICAST and route.scope == desired.scope and not route.apart
    return route.destination == desired.destination and plain and desired.source in (None, route.source)
