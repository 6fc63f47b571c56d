# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What must be done to make companions as declared, with their addresses and routes. Pure.

The links themselves are planned as macvtap links are, by _links/planner.py.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import refusals, ways
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.caveats import warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    DHCP,
    HALF_MADE,
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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, foreseen, in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan, Step


def plan(wanted: t.Sequence[Wanted], host: Host, *, allowed: bool = False) -> Plan[Companion]:
    """Plan the way from ``host`` to ``wanted``.

    :raises MacvtapError: the kernel would refuse it, it would touch what is not ours, or (unless ``allowed``) cut off
        the connection that Ansible runs over.
    """
    refusals.check_declared_once(wanted)
    for want in wanted:
        refusals.check_name(want, host)
    links = foreseen(planner.plan([_link(want, host) for want in wanted], host.links), host.links)
    steps = []
    for want in wanted:
        before = found(want.name, host, dhcp4=want.dhcp4)
        steps.append(between_companions(before, _after(want, before, links.get(want.name), host), want.path))
    changing = [(want, step) for want, step in zip(wanted, steps) if step.changes]
    cut_off = refusals.check(changing, host, allowed=allowed)
    ways.check_others(changing, host)
    return in_order(steps, (*cut_off, *warnings(wanted, steps, links, host)))


def purged(wanted: t.Sequence[Wanted], host: Host) -> list[Wanted]:
    """Return what removes the companions of this collection that are not ``wanted``."""
    declared = {want.name for want in wanted}
    ours = (link for link in host.links.values() if link.netns is None and is_ours(link))
    return [Wanted(link.name, "purge", "absent") for link in ours if link.name not in declared]


def found(name: str, host: Host, *, dhcp4: bool = False) -> Companion | None:
    """Return the companion of this name, None if there is none that is ours."""
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


def _link(want: Wanted, host: Host) -> WantedLink:
    now = host.links.get(want.name)
    return WantedLink(
        want.name,
        want.path,
        "absent" if want.state == "absent" else "up",
        want.parent,
        "bridge",
        want.mac,
        want.mtu,
        alias=MARK,
        group=0 if now is not None and now.group == HALF_MADE else None,
        kind="macvlan",
    )


def between_companions(before: Companion | None, after: Companion | None, path: str) -> Step[Companion]:
    return between(before, after, fields, _impact, path=path)


def _impact(before: Companion, field: str, value: t.Any) -> Impact:
    return planner.impact(before.link, field, value)


def _after(want: Wanted, before: Companion | None, link: Link | None, host: Host) -> Companion | None:
    """Return the companion as it is to be: ``before`` itself where that is as declared already."""
    if want.state == "absent" or link is None:
        return None
    six = host.ipv6 and (mtu_of(link, host) or IPV6_MTU) >= IPV6_MTU
    settings = {name: value for name, value in SETTINGS.items() if six or not name.startswith("ipv6/")}
    addresses, routes = as_declared(want).addresses, as_declared(want).routes
    if before is None:
        return Companion(link, settings, addresses, routes, want.dhcp4)
    if set(addresses) == set(before.addresses):
        addresses = before.addresses
    if link.parent_index == before.link.parent_index:
        gone = {address.address for address in before.addresses} - set(want.addresses)
        # The kernel would take them with their source.
        routes = _kept(routes, tuple(route for route in before.routes if route.source not in gone))
    after = Companion(link, settings, addresses, routes, want.dhcp4)
    return before if after == before else after


def as_declared(want: Wanted) -> Companion:
    """Return the companion with the addresses and routes that are declared, of which no link is known."""
    # Not a network's: the kernel would route all of it over the companion.
    addresses = tuple(Address(one, 32 if family(one) == 4 else 128) for one in want.addresses)
    return Companion(Link(want.name), {}, addresses, tuple(_route(one, want) for one in want.guests), want.dhcp4)


def _route(guests: str, want: Wanted) -> Route:
    scope = SCOPE_LINK if family(guests) == 4 else SCOPE_UNIVERSE
    return Route(guests, source=source_of(guests, want.addresses), scope=scope)


def _kept(routes: tuple[Route, ...], there: tuple[Route, ...]) -> tuple[Route, ...]:
    """Return ``routes`` with those that are there already in their places, whoever has made them."""
    settled = tuple(next((route for route in there if _serves(route, wanted)), wanted) for wanted in routes)
    return there if set(settled) == set(there) else settled


def _serves(route: Route, wanted: Route) -> bool:
    plain = route.gateway is None and route.kind == UNICAST and route.scope == wanted.scope and not route.apart
    return route.destination == wanted.destination and plain and wanted.source in (None, route.source)
