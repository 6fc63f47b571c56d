# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds changes that would remove the host's own addresses and routes, or cut off Ansible's connection. Pure.

All callers use this one check: for macvtap links, VLAN links, interfaces of domains, and declarations.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    KERNEL_ROUTES,
    RA,
    UNICAST,
    Connection,
    Reach,
    family,
    is_managed,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.tree import BRIDGES, Tree, needing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import IPV6_MTU, MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# The option of all modules by which a user allows this.
ALLOW = "allow_host_disconnect"

_WITH_ALL_ON_IT = (Loss.REMOVED, Loss.RECREATED, Loss.DOWN, Loss.UNCONFIGURED)
# Options that prevent a disruption which users may not have asked for: the role sets them for all links.
_INSTEAD = {
    Loss.ARP: ", set arp: true (in the role macvtap_links_guest_only: false)",
    Loss.RA: ", set accept_ra: true (in the role macvtap_links_guest_only: false)",
}


def of_steps(steps: t.Iterable[Step[Link]]) -> tuple[Disruption, ...]:
    """Return the disruptions of links in this network namespace by steps of macvtap or VLAN links."""
    return tuple(disruption for step in steps for disruption in _of_step(step))


def _of_step(step: Step[Link]) -> t.Iterator[Disruption]:
    before, after = step.before, step.after
    if before is not None and before.netns is None:
        if after is None:
            yield Disruption(before.name, Loss.REMOVED, step.path)
        elif step.recreates:
            yield Disruption(before.name, Loss.RECREATED, step.path)
        else:
            yield from _in_place(before, after, step.path)
    if after is not None and after.parent is not None and after.mode == "passthru":
        had = before is not None and before.mode == "passthru" and before.parent_index == after.parent_index
        if not had:
            yield Disruption(after.parent, Loss.PASSTHRU, step.path)
    if after is not None and after.parent is not None:
        stayed = before if before is not None and before.parent_index == after.parent_index else None
        macs = _swallows(after) - _swallows(stayed)
        if macs:
            yield Disruption(after.parent, Loss.SOURCE, step.path, macs=macs)
        if after.kind == "vlan" and not vlan_model.stays(before, after):
            yield Disruption(after.parent, Loss.VLAN, step.path, vlan=(after.vlan_id, after.vlan_protocol))


def _swallows(link: Link | None) -> frozenset[str]:
    """Return the addresses whose frames no longer reach the link's parent."""
    return link.source_macs if link is not None and link.mode == "source" and link.nodst and link.up else frozenset()


def _in_place(before: Link, after: Link, path: str) -> t.Iterator[Disruption]:
    if before.up and not after.up:
        yield Disruption(before.name, Loss.DOWN, path)
    if after.mac not in (None, before.mac):
        yield Disruption(before.name, Loss.MAC, path)
    if after.mtu not in (None, before.mtu):
        yield Disruption(before.name, Loss.MTU, path, after.mtu)
    if before.arp and after.arp is False:
        yield Disruption(before.name, Loss.ARP, path)
    if before.accept_ra and after.accept_ra is False:
        yield Disruption(before.name, Loss.RA, path)


def check(disruptions: t.Iterable[Disruption], reach: Reach, links: Links, *, allowed: bool = False) -> tuple[str, ...]:
    """Refuse what would cut off the host, or (``allowed``) return it as warnings.

    :raises MacvtapError: the first disruption, with the path of its option.
    """
    return _check(disruptions, reach, Tree(links), allowed=allowed)


def _check(disruptions: t.Iterable[Disruption], reach: Reach, tree: Tree, *, allowed: bool = False) -> tuple[str, ...]:
    warnings = []
    for disruption in disruptions:
        found = _cut_off(disruption, reach, tree)
        if found is None:
            continue
        message, hint = found
        if not allowed:
            raise MacvtapError(f"{message}. {hint}, or set {ALLOW}: true", path=disruption.path)
        warnings.append(f"{message}. It is done, since {ALLOW} is true")
    return tuple(dict.fromkeys(warnings))


def checked(planned: Plan[Link], reach: Reach, links: Links, *, allowed: bool) -> Plan[Link]:
    """Return the plan of macvtap or VLAN links, with warnings of what it cuts off if ``allowed``.

    :raises MacvtapError: it would cut off the host.
    """
    warnings = check(of_steps(planned.steps), reach, links, allowed=allowed)
    return replace(planned, warnings=(*planned.warnings, *warnings))


def cuts(
    steps: t.Iterable[Step[Link]], reach: Reach, links: Links, *, since: Reach | None = None
) -> dict[str, MacvtapError]:
    """Return why steps must not be carried out in the current state, by target.

    A rollback only checks what the host got ``since`` the beginning: the rest worked with the state it restores.
    """
    if since is not None:
        had = {(one.address, one.index) for one in since.addresses}
        addresses = tuple(one for one in reach.addresses if (one.address, one.index) not in had)
        reach = Reach(addresses, tuple(route for route in reach.routes if route not in since.routes))
    refused, tree = {}, Tree(links)
    for step in steps:
        try:
            _check(of_steps([step]), reach, tree)
        except MacvtapError as exc:
            refused[step.target] = exc
    return refused


def cut_off(disruption: Disruption, reach: Reach, links: Links) -> tuple[str, str] | None:
    """Return what the host loses, and a hint for the user; None if it loses nothing."""
    return _cut_off(disruption, reach, Tree(links))


def _cut_off(disruption: Disruption, reach: Reach, tree: Tree) -> tuple[str, str] | None:
    target = tree.links.get(disruption.link)
    if target is None:
        return None
    if disruption.loss is Loss.SOURCE:
        return _cut_off_by_source(disruption, target, reach)
    if disruption.loss is Loss.RA:
        reach = _advertised(target, reach)
    concerned = list(_concerned(disruption, target, tree))
    found = _cut_connection(disruption, target, concerned, reach) or _cut_own(disruption, target, concerned, reach)
    return found and (found[0], disruption.hint or found[1])


def _cut_connection(
    disruption: Disruption, target: Link, concerned: t.Sequence[Link], reach: Reach
) -> tuple[str, str] | None:
    """Return Ansible's connection over one of the links ``concerned``, and a hint."""
    names = {link.index: link for link in concerned}
    for connection in reach.connections:
        link = next((names[i] for i in _indexes_of(connection, reach) if i in names), None)
        if link is not None:
            text = f"{connection_text(connection, link.name)}, {_through(link, target)}and {disruption.loss.value[0]} "
            could = "could" if disruption.loss in (Loss.MTU, Loss.RA) else "would"
            instead = _INSTEAD.get(disruption.loss, "")
            return f"{text}{could} cut it off", f"Connect to another address of the host{instead}"
    return None


def _cut_own(disruption: Disruption, target: Link, concerned: t.Sequence[Link], reach: Reach) -> tuple[str, str] | None:
    """Return the host's own addresses or routes on one of the links ``concerned``, and a hint."""
    cause, effect = disruption.loss.value
    for link in concerned[1:] if disruption.declared else concerned:
        addresses, routes = own_addresses(link, reach), own_routes(link, reach)
        if disruption.loss is Loss.MTU and link is not target:
            addresses, routes = ([one for one in own if family(one) == 6] for own in (addresses, routes))
        if addresses or routes:
            own = f"addresses of the host ({join_names(addresses)})" if addresses else f"routes to {join_names(routes)}"
            remove = f"Remove them first{_INSTEAD.get(disruption.loss, '')}"
            hint = "Use another uplink" if disruption.loss is Loss.PASSTHRU else remove
            return f"{link.name} has {own}, {_through(link, target)}and {cause} {effect}", hint
    return None


def _advertised(target: Link, reach: Reach) -> Reach:
    """Return the part of ``reach`` that depends on router advertisements on ``target``."""
    addresses = tuple(one for one in reach.addresses if one.index == target.index and one.advertised)
    routes = tuple(one for one in reach.routes if one.index == target.index and one.protocol == RA)
    own, gateways = {one.address for one in addresses}, {one.gateway for one in routes} - {None}
    connections = (
        one for one in reach.connections if one.local in own or (one.index == target.index and one.gateway in gateways)
    )
    return Reach(addresses, routes, tuple(connections))


def _cut_off_by_source(disruption: Disruption, target: Link, reach: Reach) -> tuple[str, str] | None:
    """As :func:`cut_off`, for a link in mode source that receives the frames of certain senders."""
    cause, effect = disruption.loss.value
    there = {address for address, mac in reach.neighbours.items() if mac in disruption.macs}
    hint = "Remove their addresses from source_macs, set nodst: false"
    for connection in reach.connections:
        if target.index in _indexes_of(connection, reach) and (connection.gateway or connection.peer) in there:
            return f"{connection_text(connection, target.name)}, and {cause} would cut it off", hint
    over = (route for route in reach.routes if route.index == target.index and route.kind == UNICAST)
    routes = [route.destination for route in over if route.gateway in there]
    if routes:
        return f"{target.name} has routes to {join_names(routes)} through a router there, and {cause} {effect}", hint
    return None


def connection_text(connection: Connection, link: str) -> str:
    return f"Ansible's connection from {connection.peer} to {connection.local} goes over {link}"


def _indexes_of(connection: Connection, reach: Reach) -> t.Iterator[int]:
    """Yield the links that a connection needs: the outgoing one, and the one with its local address."""
    if connection.index:
        yield connection.index
    yield from (one.index for one in reach.having(connection.local))


def own_addresses(link: Link, reach: Reach) -> list[str]:
    """Return the addresses of the host on a link, with their prefixes, without link-local ones."""
    on_it = (one for one in reach.addresses_on(link.index) if not one.link_local)
    # The kernel gives a guest's link more of them by accident, from any router advertisement.
    return [f"{one.address}/{one.prefix}" for one in on_it if not (one.advertised and link.kind == "macvtap")]


def own_routes(link: Link, reach: Reach) -> list[str]:
    """Return the destinations of the routes over a link that the kernel did not create itself."""
    kernel = (*KERNEL_ROUTES, RA) if link.kind == "macvtap" else KERNEL_ROUTES
    on_it = (one for one in reach.routes_over(link.index) if one.kind == UNICAST)
    return [one.destination for one in on_it if one.protocol not in kernel]


def _through(link: Link, target: Link) -> str:
    return "" if link.name == target.name else f"which depends on {target.name}, "


def _concerned(disruption: Disruption, target: Link, tree: Tree) -> t.Iterator[Link]:
    """Yield the disrupted links, ``target`` first."""
    if disruption.loss in _WITH_ALL_ON_IT:
        yield from needing(target, tree)
        return
    if disruption.loss is Loss.VLAN:
        yield from _tagged(target, disruption.vlan, tree)
        return
    if disruption.loss is Loss.UNMANAGED:
        # Its manager puts it into a bridge, and creates links on it; but not ours, and not those of guests.
        ours = {link.name: link for link in tree.above(target) if _is_ours(link)}
        yield from needing(target, tree, exclude=ours)
        return
    yield target
    if disruption.mtu is not None and disruption.mtu < IPV6_MTU:
        # The kernel lowers the MTU of the links on it too, and disables IPv6 below its minimum.
        yield from (link for link in needing(target, tree) if link is not target)


def _tagged(target: Link, vlan: tuple[int | None, str | None], tree: Tree) -> t.Iterator[Link]:
    """Yield what receives frames of a VLAN through ``target``, which a VLAN link on ``target`` would consume."""
    passing, new = {target.name: target}, [target]
    while new:
        one = new.pop(0)
        for link in tree.here:
            if link.kind == "vlan" and link.parent_index == one.index and one is not target:
                if (link.vlan_id, link.vlan_protocol) == vlan:
                    yield from needing(link, tree)
            elif link.parent_index == one.index and link.kind in MACVLAN_KINDS:
                new.append(link)
        bridge = tree.links.get(one.master or "")
        if bridge is not None and bridge.kind in BRIDGES and bridge.name not in passing:
            passing[bridge.name] = bridge
            new.append(bridge)
            if vlan == (bridge.bridge_pvid, "802.1Q"):
                # The PVID, whose frames it receives untagged.
                yield bridge


def _is_ours(link: Link) -> bool:
    return link.kind == "macvtap" or vlan_model.is_managed(link) or is_managed(link)
