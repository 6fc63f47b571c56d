# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the steps from current to desired host interfaces, with their addresses and routes. Pure.

_links/planner.py plans the links themselves, as it does macvtap links.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import routing, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    DHCP,
    KERNEL_ROUTES,
    OWNER_ALIAS,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    SETTINGS,
    UNICAST,
    Address,
    DesiredShim,
    Host,
    Route,
    Shim,
    family,
    fields,
    is_managed,
    mtu_of,
    source_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.warnings import warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.impacts import impact_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    INCOMPLETE_GROUP,
    IPV6_MTU,
    DesiredLink,
    Link,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, in_order, predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan, Step


def plan(desired: t.Sequence[DesiredShim], host: Host, *, allowed: bool = False) -> Plan[Shim]:
    """Plan the steps from ``host`` to ``desired``.

    :raises MacvtapError: the kernel would refuse it, it would change what is not ours, or (unless ``allowed``) cut off
        Ansible's connection.
    """
    validate.check_declared_once(desired)
    for entry in desired:
        validate.check_name(entry, host)
    links = predicted(planner.plan([_link(entry, host) for entry in desired], host.links), host.links)
    steps = []
    for entry in desired:
        before = current(entry.name, host, dhcp4=entry.dhcp4)
        steps.append(between_shims(before, _after(entry, before, links.get(entry.name), host), entry.path))
    changing = [(entry, step) for entry, step in zip(desired, steps) if step.changes]
    cut_off = validate.check(changing, host, allowed=allowed)
    routing.check_others(changing, host)
    return in_order(steps, (*cut_off, *warnings(desired, steps, links, host)))


def purged(desired: t.Sequence[DesiredShim], host: Host) -> list[DesiredShim]:
    """Return entries that remove the host interfaces of this collection that are not ``desired``."""
    declared = {entry.name for entry in desired}
    ours = (link for link in host.links.values() if link.netns is None and is_managed(link))
    return [DesiredShim(link.name, "purge", "absent") for link in ours if link.name not in declared]


def current(name: str, host: Host, *, dhcp4: bool = False) -> Shim | None:
    """Return the host interface of this name, None if there is none of ours."""
    link = host.links.get(name)
    if link is None or not is_managed(link):
        return None
    managers = {4: (*KERNEL_ROUTES, DHCP) if dhcp4 else KERNEL_ROUTES, 6: KERNEL_ROUTES}
    routes = (route for route in host.routes if route.index == link.index)
    return Shim(
        link,
        host.settings.get(name, {}),
        tuple(
            address
            for address in host.addresses
            if address.index == link.index and not address.link_local and not (dhcp4 and address.leased)
        ),
        tuple(replace(route, index=0) for route in routes if route.protocol not in managers[family(route.destination)]),
        dhcp4=dhcp4,
    )


def _link(entry: DesiredShim, host: Host) -> DesiredLink:
    now = host.links.get(entry.name)
    return DesiredLink(
        entry.name,
        entry.path,
        "absent" if entry.state == "absent" else "up",
        entry.parent,
        "bridge",
        entry.mac,
        entry.mtu,
        alias=OWNER_ALIAS,
        group=0 if now is not None and now.group == INCOMPLETE_GROUP else None,
        kind="macvlan",
    )


def between_shims(before: Shim | None, after: Shim | None, path: str) -> Step[Shim]:
    return between(before, after, fields, _impact, path=path)


def _impact(before: Shim, field: str, value: t.Any) -> Impact:
    return impact_of(before.link, field, value)


def _after(entry: DesiredShim, before: Shim | None, link: Link | None, host: Host) -> Shim | None:
    """Return the desired state of the host interface: ``before`` itself where nothing changes."""
    if entry.state == "absent" or link is None:
        return None
    six = host.ipv6 and (mtu_of(link, host) or IPV6_MTU) >= IPV6_MTU
    settings = {name: value for name, value in SETTINGS.items() if six or not name.startswith("ipv6/")}
    addresses, routes = as_declared(entry).addresses, as_declared(entry).routes
    if before is None:
        return Shim(link, settings, addresses, routes, entry.dhcp4)
    if set(addresses) == set(before.addresses):
        addresses = before.addresses
    if link.parent_index == before.link.parent_index:
        gone = {address.address for address in before.addresses} - set(entry.addresses)
        # The kernel removes routes together with their source address.
        routes = _kept(routes, tuple(route for route in before.routes if route.source not in gone))
    after = Shim(link, settings, addresses, routes, entry.dhcp4)
    return before if after == before else after


def as_declared(entry: DesiredShim) -> Shim:
    """Return the declared shim: its addresses and routes, without a link."""
    # No network prefix: the kernel would route the whole network over the shim.
    addresses = tuple(Address(one, 32 if family(one) == 4 else 128) for one in entry.addresses)
    return Shim(Link(entry.name), {}, addresses, tuple(_route(one, entry) for one in entry.guests), entry.dhcp4)


def _route(guests: str, entry: DesiredShim) -> Route:
    scope = SCOPE_LINK if family(guests) == 4 else SCOPE_UNIVERSE
    return Route(guests, source=source_of(guests, entry.addresses), scope=scope)


def _kept(routes: tuple[Route, ...], there: tuple[Route, ...]) -> tuple[Route, ...]:
    """Return ``routes`` with equivalent existing routes in their places, whatever created them."""
    resolved = tuple(next((route for route in there if _serves(route, desired)), desired) for desired in routes)
    return there if set(resolved) == set(there) else resolved


def _serves(route: Route, desired: Route) -> bool:
    plain = route.gateway is None and route.kind == UNICAST and route.scope == desired.scope and not route.apart
    return route.destination == desired.destination and plain and desired.source in (None, route.source)
