# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a user should know of companions that are as declared, or will be. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    Companion,
    Host,
    Wanted,
    family,
    is_ours,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.caveats import of_parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# What a companion, which is in mode bridge, reaches through a switch port that reflects, or not at all.
UNREACHED = ("vepa", "private")


def warnings(
    wanted: t.Sequence[Wanted], steps: t.Sequence[Step[Companion]], links: Links, host: Host
) -> tuple[str, ...]:
    """Gather what a user should know; ``links`` are those that there are when the steps are done."""
    pairs = [(want, step) for want, step in zip(wanted, steps) if step.after is not None]
    down = of_parents((want.name for want, _step in pairs), links)
    return (*down, *_without_carrier(pairs, host), *_off_the_network(pairs, host), *_unreached(pairs, links))


def _without_carrier(pairs: t.Sequence[tuple[Wanted, Step[Companion]]], host: Host) -> t.Iterator[str]:
    unasked = []
    for want, step in pairs:
        parent = _parent_of(step, host.links)
        if step.changes and want.addresses and parent is not None and not parent.carrier:
            unasked.append(f"{want.name} ({parent.name})")
    if unasked:
        yield (
            f"{join_names(unasked)}: the parent has no carrier, so nobody could be asked whether the addresses are "
            "taken, and the kernel uses those of IPv6 only when it has one"
        )


def _off_the_network(pairs: t.Sequence[tuple[Wanted, Step[Companion]]], host: Host) -> t.Iterator[str]:
    """Name new addresses that guests, who are in the network of the parent, take for one beyond their router."""
    for want, step in pairs:
        parent = _parent_of(step, host.links)
        networks = _networks(parent, host) if parent is not None else []
        had = {one.address for one in step.before.addresses} if step.before else set()
        for address in want.addresses:
            alike = [network for network in networks if network.version == family(address)]
            if address not in had and alike and not any(ipaddress.ip_address(address) in one for one in alike):
                yield (
                    f"{want.name}: {address} is in no network that this host has on {parent.name if parent else ''} "
                    f"({join_names([str(one) for one in alike])}), so each guest needs a route to it: "
                    f"ip route add {address} dev LINK, in the guest"
                )


def _networks(parent: Link, host: Host) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    on_it = [one for one in host.addresses if one.index == parent.index and not one.link_local]
    return [ipaddress.ip_network((one.address, one.prefix), strict=False) for one in on_it]


def _unreached(pairs: t.Sequence[tuple[Wanted, Step[Companion]]], links: Links) -> t.Iterator[str]:
    for want, step in pairs:
        parent = _parent_of(step, links)
        others = [
            f"{link.key} ({link.mode})"
            for link in links.values()
            if parent is not None
            and link.kind in MACVLAN_KINDS
            and link.parent_index == parent.index
            and link.parent is not None
            and link.mode in UNREACHED
            and not is_ours(link)
        ]
        if want.guests and others and parent is not None:
            yield f"{want.name}: {unreached(join_names(others), parent.name)}"


def unreached(others: str, parent: str) -> str:
    return (
        f"{others} on {parent} are not reached over it. It is in mode bridge, and reaches what is in mode bridge "
        "too; vepa only where the switch port reflects, and private not at all. Set mode: bridge for these guests"
    )


def _parent_of(step: Step[Companion], links: Links) -> Link | None:
    return links.get((step.after.link.parent if step.after else None) or "")
