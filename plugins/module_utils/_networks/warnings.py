# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What users should know of the changes of networks, and what they take from the host itself. Pure."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.validate import missing_parameters
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    Definition,
    Desired,
    Host,
    Network,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def warnings_of(resolved: Resolved, host: Host) -> t.Iterator[str]:
    before, after, name = resolved.before, resolved.after, resolved.desired.name
    uplinks = (*after.interfaces, *([after.pf] if after.pf else [])) if after is not None else ()
    missing = [one for one in uplinks if host.links is not None and link_of(one, host.links) is None]
    if missing:
        # One that is new is refused instead.
        which = f"there is no link {join_names(missing)} on this host"
        yield f"network {name!r}: {which}, so a guest that gets it as uplink does not start"
    yield from _shared_uplinks(resolved, host)
    yield from _incomplete_ports(resolved)
    running = join_names([user.label for user in resolved.running])
    if after is not None and not after.active and after.autostart:
        yield f"network {name!r} is inactive now, and libvirt starts it at the next boot. Set autostart: false as well"
    if before is None or not before.active:
        return
    if running and (after is None or not after.active):
        yield f"network {name!r}: these guests go on, and cannot start again once they have stopped: {running}"
    if running and resolved.restarts and before.live is not None and before.live.mode == "passthrough":
        yield (
            f"network {name!r}: libvirt no longer knows which uplinks these guests have, so other guests may fail to "
            f"start until they have stopped: {running}"
        )


def _incomplete_ports(resolved: Resolved) -> t.Iterator[str]:
    """Warn of a virtual port that lacks parameters which no portgroup and no NIC has either."""
    after, name = resolved.after, resolved.desired.name
    if after is None:
        return
    groups = [(group.name, {**after.values, **group.values}) for group in after.portgroups]
    lacking: dict[str | None, list[str]] = {
        one: missing for one, values in groups if (missing := missing_parameters(values))
    }
    own = missing_parameters(after.values)
    if own and len(lacking) == len(groups):
        # Those of the portgroups too, then.
        lacking = {None: own, **{one: missing for one, missing in lacking.items() if missing != own}}
    for group, missing in lacking.items():
        users = [user for user in resolved.users if group is None or user.portgroup in (group, None)]
        if not any(user.own.issuperset(missing) for user in users):
            what = f"network {name!r}" + (f", portgroup {group!r}" if group is not None else "")
            yield (
                f"{what}: the virtual port has no {join_names([one.partition('.')[2] for one in missing])}, so a guest "
                "starts on it only if its NIC has that itself"
            )


def _shared_uplinks(resolved: Resolved, host: Host) -> t.Iterator[str]:
    """Warn of uplinks in mode passthrough that have other links than those of the network's own guests."""
    after, links = resolved.after, host.links or {}
    if after is None or "passthrough" not in (after.mode, after.live.mode if after.live is not None else ""):
        return
    passed = _passed_through(after, host) | _passed_through(after.live, host)
    # A guest of the network has one, of which only its uplink is known here.
    own = collections.Counter(
        link.name for user in resolved.running if (link := link_of(user.uplink, links)) is not None
    )
    for uplink in sorted(passed):
        others = sorted(one.name for one in links.values() if one.kind in MACVLAN_KINDS and one.parent == uplink)
        if len(others) > own[uplink]:
            yield (
                f"network {resolved.desired.name!r} gives each NIC an uplink for itself, and {uplink} has "
                f"{join_names(others)}. libvirt only knows of its own guests: one that gets {uplink} does not start, "
                "or is not attached, and some versions leave its address on the uplink"
            )


def disruptions(resolved: t.Iterable[Resolved], host: Host) -> tuple[Disruption, ...]:
    """Return a Disruption for each link of the host that a network newly gives to guests in mode passthrough.

    It takes effect when a guest starts, of which no run of this collection needs to know. So it counts at once. A
    network that was not active has given nothing so far.
    """
    return tuple(
        Disruption(uplink, Loss.PASSTHRU, join_path(one.desired.path, _option(one.desired)))
        for one in resolved
        if one.after is not None
        for uplink in sorted(_newly_passed_through(one.before, one.after, host))
    )


def _option(desired: Desired) -> str:
    """Return the option that is about the mode or the uplinks, or else the one that activates the network."""
    return next((name for name in ("pf", "mode", "interfaces") if getattr(desired, name) is not None), "state")


def _newly_passed_through(before: Network | None, after: Network, host: Host) -> set[str]:
    """Return the links that a network gives to guests from now on, from the next boot on, or once it is started."""

    def given(network: Network | None) -> tuple[set[str], set[str], set[str]]:
        stored = _passed_through(network, host)
        starts_at_boot = network is not None and network.autostart
        return _passed_through(network.live if network else None, host), stored if starts_at_boot else set(), stored

    had, gives = given(before), given(after)
    return {link for was, now in zip(had, gives) for link in now - was - had[0]}


def _passed_through(definition: Definition | None, host: Host) -> set[str]:
    if definition is None or definition.mode != "passthrough":
        return set()
    if host.links is None:
        return {*definition.interfaces, *([definition.pf] if definition.pf else [])}
    names = (*definition.interfaces, *host.functions.get(definition.pf or "", ()))
    found = (link_of(name, host.links) for name in names)
    return {link.name for link in found if link is not None}
