# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What would take away the host's own addresses and routes, or the connection that Ansible runs over. Pure.

The one function for that, whatever does it: a macvtap or VLAN link, an interface of a domain, or what is only declared.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    IPV6_MTU,
    KERNEL_ROUTES,
    RA,
    UNICAST,
    Connection,
    Reach,
    family,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import stays
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# The option by which a user says that this is meant, of all modules.
ALLOW = "allow_host_disconnect"

# Masters whose ports carry all that the master's own addresses receive; of those of the second kind, one is enough.
_BRIDGES, _BONDS = ("bridge", "openvswitch"), ("bond", "team", "vrf")


class Loss(enum.Enum):
    """What a link is to lose, in the words of a refusal: who does it, and what it does to addresses and routes."""

    REMOVED = ("removing it", "would take them away")
    RECREATED = ("recreating it", "would take them away")
    DOWN = ("setting it down", "would cut them off")
    MAC = ("changing its MAC address", "would cut them off until the LAN has learnt the new one")
    MTU = ("changing its MTU", "could cut them off where the LAN has another one")
    # macvlan_handle_frame(): all frames are for the one link in mode passthru, also while that is down. A VLAN on the
    # same parent is served before that.
    PASSTHRU = ("a link in mode passthru on it, which takes all of its frames,", "would cut them off")
    # The same function: with nodst the parent gets no frame from these addresses, whomever that is for.
    SOURCE = ("a link in mode source on it, which with nodst takes all frames from there,", "would cut them off")
    # __netif_receive_skb_core(): vlan_do_receive() comes before bridges and macvlan links, and takes tagged frames
    # even where the VLAN link is down.
    VLAN = ("a VLAN link of this ID on it, which gets the frames first,", "would cut them off")


_WITH_ALL_ON_IT = (Loss.REMOVED, Loss.RECREATED, Loss.DOWN)


@dataclass(frozen=True)
class Disruption:
    """That the link of this name, one of this network namespace, is to lose something; ``path`` is who says so.

    ``mtu`` is the new one in bytes, where that is what changes, ``macs`` are the addresses that a link in mode source
    takes frames from, ``vlan`` is the ID and the protocol of a VLAN link that is made. ``declared``: what is on the
    link is declared along with it, and goes because the user says so, so that only connections are looked at there.
    """

    link: str
    loss: Loss
    path: str = ""
    mtu: int | None = None
    declared: bool = False
    macs: frozenset[str] = frozenset()
    vlan: tuple[int | None, str | None] = (None, None)


def of_steps(steps: t.Iterable[Step[Link]]) -> tuple[Disruption, ...]:
    """Return what the steps, of macvtap or VLAN links, do to links of this network namespace."""
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
        if after.kind == "vlan" and not stays(before, after):
            yield Disruption(after.parent, Loss.VLAN, step.path, vlan=(after.vlan_id, after.vlan_protocol))


def _swallows(link: Link | None) -> frozenset[str]:
    """Return the addresses whose frames the link's parent does not get any more."""
    return link.source_macs if link is not None and link.mode == "source" and link.nodst and link.up else frozenset()


def _in_place(before: Link, after: Link, path: str) -> t.Iterator[Disruption]:
    if before.up and not after.up:
        yield Disruption(before.name, Loss.DOWN, path)
    if after.mac not in (None, before.mac):
        yield Disruption(before.name, Loss.MAC, path)
    if after.mtu not in (None, before.mtu):
        yield Disruption(before.name, Loss.MTU, path, after.mtu)


def check(disruptions: t.Iterable[Disruption], reach: Reach, links: Links, *, allowed: bool = False) -> tuple[str, ...]:
    """Refuse what would cut off the host, or (``allowed``) return it in sentences that a user should know.

    :raises MacvtapError: the first of it, with the path of who says so.
    """
    warnings = []
    for disruption in disruptions:
        found = cut_off(disruption, reach, links)
        if found is None:
            continue
        said, mend = found
        if not allowed:
            raise MacvtapError(f"{said}. {mend}, or set {ALLOW}: true", path=disruption.path)
        warnings.append(f"{said}; {ALLOW} is true, so it is done")
    return tuple(dict.fromkeys(warnings))


def checked(planned: Plan[Link], reach: Reach, links: Links, *, allowed: bool) -> Plan[Link]:
    """Return the plan of macvtap or VLAN links, with what it cuts off as warnings where that is ``allowed``.

    :raises MacvtapError: it would cut off the host.
    """
    warnings = check(of_steps(planned.steps), reach, links, allowed=allowed)
    return replace(planned, warnings=(*planned.warnings, *warnings))


def cuts(
    steps: t.Iterable[Step[Link]], reach: Reach, links: Links, *, since: Reach | None = None
) -> dict[str, MacvtapError]:
    """Return why steps must not be carried out as things are now, by their targets.

    On the way back that is for what the host has got ``since`` the beginning alone: with the rest it was well then.
    """
    if since is not None:
        had = {(one.address, one.index) for one in since.addresses}
        addresses = tuple(one for one in reach.addresses if (one.address, one.index) not in had)
        reach = Reach(addresses, tuple(route for route in reach.routes if route not in since.routes))
    refused = {}
    for step in steps:
        try:
            check(of_steps([step]), reach, links)
        except MacvtapError as exc:
            refused[step.target] = exc
    return refused


def cut_off(disruption: Disruption, reach: Reach, links: Links) -> tuple[str, str] | None:
    """Say what of the host is lost, and what a user can do about it; None if it is nothing."""
    target = links.get(disruption.link)
    if target is None:
        return None
    if disruption.loss is Loss.SOURCE:
        return _unheard(disruption, target, reach)
    doer, deed = disruption.loss.value
    concerned = list(_concerned(disruption, target, links))
    names = {link.index: link for link in concerned}
    for connection in reach.connections:
        link = next((names[i] for i in _indexes_of(connection, reach) if i in names), None)
        if link is not None:
            said = f"{connection_text(connection, link.name)}, {_through(link, target)}and {doer} "
            could = "could" if disruption.loss is Loss.MTU else "would"
            return f"{said}{could} cut it off", "Run this over another address of the host"
    for link in concerned[1:] if disruption.declared else concerned:
        addresses, routes = own_addresses(link, reach), own_routes(link, reach)
        if disruption.loss is Loss.MTU and link is not target:
            addresses, routes = ([one for one in own if family(one) == 6] for own in (addresses, routes))
        if addresses or routes:
            own = f"addresses of the host ({join_names(addresses)})" if addresses else f"routes to {join_names(routes)}"
            return f"{link.name} has {own}, {_through(link, target)}and {doer} {deed}", "Remove them first"
    return None


def _unheard(disruption: Disruption, target: Link, reach: Reach) -> tuple[str, str] | None:
    """Say of whom among those that the host needs no frame arrives any more."""
    doer, deed = disruption.loss.value
    there = {address for address, mac in reach.neighbours.items() if mac in disruption.macs}
    mend = "Leave their addresses out of source_macs, set nodst: false"
    for connection in reach.connections:
        if target.index in _indexes_of(connection, reach) and (connection.gateway or connection.peer) in there:
            return f"{connection_text(connection, target.name)}, and {doer} would cut it off", mend
    over = (route for route in reach.routes if route.index == target.index and route.kind == UNICAST)
    routes = [route.destination for route in over if route.gateway in there]
    if routes:
        return f"{target.name} has routes to {join_names(routes)} by a router there, and {doer} {deed}", mend
    return None


def connection_text(connection: Connection, link: str) -> str:
    return f"the connection from {connection.peer} to {connection.local}, by which Ansible runs, goes over {link}"


def _indexes_of(connection: Connection, reach: Reach) -> t.Iterator[int]:
    """Yield the links that a connection needs: the one it is sent over, and the one that has its local address."""
    if connection.index:
        yield connection.index
    yield from (one.index for one in reach.addresses if one.address == connection.local)


def own_addresses(link: Link, reach: Reach) -> list[str]:
    """Return the addresses of the host on a link, with their prefixes, less what the kernel gives to each link."""
    on_it = (one for one in reach.addresses if one.index == link.index and not one.link_local)
    # A guest's link has others by accident: from what any router advertises on any link that is up.
    return [f"{one.address}/{one.prefix}" for one in on_it if not (one.advertised and link.kind == "macvtap")]


def own_routes(link: Link, reach: Reach) -> list[str]:
    """Return where the routes over a link lead that somebody has made, and not the kernel for an address of it."""
    kernel = (*KERNEL_ROUTES, RA) if link.kind == "macvtap" else KERNEL_ROUTES
    on_it = (one for one in reach.routes if one.index == link.index and one.kind == UNICAST)
    return [one.destination for one in on_it if one.protocol not in kernel]


def _through(link: Link, target: Link) -> str:
    return "" if link.name == target.name else f"which needs {target.name}, "


def _concerned(disruption: Disruption, target: Link, links: Links) -> t.Iterator[Link]:
    """Yield the links that lose something with ``target``, which comes first."""
    if disruption.loss in _WITH_ALL_ON_IT:
        yield from _needing(target, links)
        return
    if disruption.loss is Loss.VLAN:
        yield from _tagged(target, disruption.vlan, links)
        return
    yield target
    if disruption.mtu is not None and disruption.mtu < IPV6_MTU:
        # The kernel lowers that of what is on it as well, and takes all of IPv6 from what has less.
        yield from (link for link in _needing(target, links) if link is not target)


def _tagged(target: Link, vlan: tuple[int | None, str | None], links: Links) -> t.Iterator[Link]:
    """Yield what gets its frames by way of ``target`` in a VLAN of which a link on ``target`` itself takes them."""
    here = [link for link in links.values() if link.netns is None]
    passing, new = {target.name: target}, [target]
    while new:
        one = new.pop(0)
        for link in here:
            if link.kind == "vlan" and link.parent_index == one.index and one is not target:
                if (link.vlan_id, link.vlan_protocol) == vlan:
                    yield from _needing(link, links)
            elif link.parent_index == one.index and link.kind in MACVLAN_KINDS:
                new.append(link)
        bridge = links.get(one.master or "")
        if bridge is not None and bridge.kind in _BRIDGES and bridge.name not in passing:
            passing[bridge.name] = bridge
            new.append(bridge)
            if vlan == (bridge.bridge_pvid, "802.1Q"):
                # Which it has without their tag.
                yield bridge


def _needing(target: Link, links: Links) -> t.Iterator[Link]:
    """Yield ``target`` and what does not work without it: links on it, bridges that it is a port of, and so on."""
    here = [link for link in links.values() if link.netns is None]
    needing, new = {target.name: target}, [target]
    while new:
        one = new.pop(0)
        yield one
        above = [link for link in here if one.index in (link.under, link.parent_index if link.parent else 0)]
        master = links.get(one.master or "")
        if master is not None and (master.kind in _BRIDGES or _is_last_port(one, master, needing, here)):
            above.append(master)
        for link in above:
            if link.name not in needing:
                needing[link.name] = link
                new.append(link)


def _is_last_port(port: Link, master: Link, needing: t.Container[str], here: t.Iterable[Link]) -> bool:
    others = (link for link in here if link.master == master.name and link.up and link.name not in needing)
    return master.kind in _BONDS and port.master == master.name and next(others, None) is None
