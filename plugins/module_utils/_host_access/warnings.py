# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Warnings about host interfaces that are, or will be, as desired. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    DesiredShim,
    Host,
    Shim,
    family,
    is_managed,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.warnings import of_parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# A host interface, in mode bridge, reaches these modes through a reflecting switch port, or not at all.
UNREACHED = ("vepa", "private")


def warnings(
    desired: t.Sequence[DesiredShim], steps: t.Sequence[Step[Shim]], links: Links, host: Host
) -> tuple[str, ...]:
    """Return the warnings; ``links`` are the predicted links, after the steps."""
    pairs = [(entry, step) for entry, step in zip(desired, steps) if step.after is not None]
    down = of_parents((entry.name for entry, _step in pairs), links)
    return (*down, *_without_carrier(pairs, host), *_off_the_network(pairs, host), *_unreached(pairs, links))


def _without_carrier(pairs: t.Sequence[tuple[DesiredShim, Step[Shim]]], host: Host) -> t.Iterator[str]:
    unprobed = []
    for entry, step in pairs:
        parent = _parent_of(step, host.links)
        if step.changes and entry.addresses and parent is not None and not parent.carrier:
            unprobed.append(f"{entry.name} ({parent.name})")
    if unprobed:
        yield (
            f"{join_names(unprobed)}: the parent has no carrier, so duplicate addresses could not be detected. The "
            "kernel uses IPv6 addresses only once there is a carrier"
        )


def _off_the_network(pairs: t.Sequence[tuple[DesiredShim, Step[Shim]]], host: Host) -> t.Iterator[str]:
    """Warn of new addresses outside the parent's network, which guests would send to their router."""
    for entry, step in pairs:
        parent = _parent_of(step, host.links)
        networks = _networks(parent, host) if parent is not None else []
        had = {one.address for one in step.before.addresses} if step.before else set()
        for address in entry.addresses:
            alike = [network for network in networks if network.version == family(address)]
            if address not in had and alike and not any(ipaddress.ip_address(address) in one for one in alike):
                yield (
                    f"{entry.name}: {address} is outside of the networks on {parent.name if parent else ''} "
                    f"({join_names([str(one) for one in alike])}), so each guest needs a route to it. "
                    f"Run in the guest: ip route add {address} dev LINK"
                )


def _networks(parent: Link, host: Host) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    on_it = [one for one in host.addresses if one.index == parent.index and not one.link_local]
    return [ipaddress.ip_network((one.address, one.prefix), strict=False) for one in on_it]


def _unreached(pairs: t.Sequence[tuple[DesiredShim, Step[Shim]]], links: Links) -> t.Iterator[str]:
    for entry, step in pairs:
        parent = _parent_of(step, links)
        if parent is None:
            continue
        siblings = [one for one in links.values() if one.parent is not None and one.parent_index == parent.index]
        guests = [one for one in siblings if one.kind in MACVLAN_KINDS and not is_managed(one)]
        others = [f"{link.key} ({link.mode})" for link in guests if link.mode in UNREACHED]
        if entry.guests and others:
            yield f"{entry.name}: {unreached(join_names(others), parent.name)}"


def unreached(others: str, parent: str) -> str:
    return (
        f"{others} on {parent} cannot be reached over it. A host interface reaches links in mode bridge, links in mode "
        "vepa only through a reflecting switch port, and links in mode private never. Set mode: bridge for these guests"
    )


def _parent_of(step: Step[Shim], links: Links) -> Link | None:
    return links.get((step.after.link.parent if step.after else None) or "")
