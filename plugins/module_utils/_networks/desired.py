# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The network that a declaration leads to: what is stored, and what the active network has then. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK, PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    ABSENT,
    ACTIVE,
    Definition,
    Desired,
    Host,
    Network,
    Portgroup,
    User,
)


@dataclass(frozen=True)
class Resolved:
    """A declaration, the network now (None: none), and the network that it leads to (None: none).

    ``restarts`` is whether the active network is stopped and started. ``users`` are the NICs on it.
    """

    desired: Desired
    before: Network | None
    after: Network | None
    restarts: bool = False
    users: tuple[User, ...] = ()

    @property
    def running(self) -> tuple[User, ...]:
        return tuple(user for user in self.users if user.live)


def resolve(declared: t.Iterable[Desired], host: Host, uuids: t.Mapping[str, str], *, force: bool) -> list[Resolved]:
    """Compare ``declared`` with ``host``; ``uuids`` are the UUIDs for new networks by name.

    ``force`` restarts networks that running guests are on.

    :raises MacvtapError: a network of that name is not a direct one, or the declaration is impossible.
    """
    return [_resolve_one(desired, host, uuids, force=force) for desired in declared]


def _resolve_one(desired: Desired, host: Host, uuids: t.Mapping[str, str], *, force: bool) -> Resolved:
    before = host.networks.get(desired.name)
    if before is not None and not before.direct:
        kind = before.forward if not before.mode else (before.live or before).forward
        raise MacvtapError(
            f"network {desired.name!r} exists and is not a direct network (it is {kind}), so it is left alone. Use "
            "another name",
            path=join_path(desired.path, "name"),
        )
    users = host.users_of(desired.name)
    if desired.state == ABSENT:
        return Resolved(desired, before, None, users=users)
    stored = stored_definition(desired, before)
    if before is None:
        document = edit.new(desired.name, uuids.get(desired.name, ""), stored)
    else:
        text = before.xml or before.live_xml
        document = text if stored == plain(before) else edit.edited(text, stored)
    active = desired.state == ACTIVE
    autostart = desired.autostart
    if autostart is None:
        autostart = before.autostart if before is not None and before.persistent else active
    live, restarts = None, False
    if active:
        current = before.live if before is not None else None
        live, restarts = _live_definition(desired, stored, current, host, force=force)
    shown = xml.read(document)
    after = replace(
        before or Network(name=desired.name, uuid=uuids.get(desired.name, "")),
        **{name: getattr(shown, name) for name in ("mode", "interfaces", "pf", "values", "portgroups", "forward")},
        active=active,
        persistent=True,
        autostart=autostart,
        live=live,
        xml=document,
    )
    return Resolved(desired, before, after, restarts, users)


def stored_definition(desired: Desired, before: Network | None) -> Definition:
    """Return what is to be stored."""
    current: Definition = before or Definition()
    interfaces, pf = current.interfaces, current.pf
    if desired.interfaces is not None:
        interfaces, pf = desired.interfaces, None
    elif desired.pf is not None:
        interfaces, pf = (), desired.pf
    mode = desired.mode or current.mode or "bridge"
    if pf is not None and mode != "passthrough":
        raise MacvtapError(
            f"network {desired.name!r} is a pool of the virtual functions of {pf}, which is for mode passthrough. Set "
            "interfaces as well, or leave mode out",
            path=join_path(desired.path, "mode"),
        )
    if before is None and not interfaces and pf is None:
        raise MacvtapError(
            f"is required, since the network {desired.name!r} does not exist yet. Set it to the uplinks, such as "
            "[eth0]",
            path=join_path(desired.path, "interfaces"),
        )
    return Definition(
        mode=mode,
        interfaces=interfaces,
        pf=pf,
        values=NETWORK.merged(current.values, desired.given),
        portgroups=_portgroups(desired, current),
    )


def _portgroups(desired: Desired, current: Definition) -> tuple[Portgroup, ...]:
    declared = {one.name: one for one in desired.portgroups}
    # Only one can be the default, so a declared one takes over from the other.
    taken = any(one.default and one.present for one in desired.portgroups)
    found = []
    for portgroup in current.portgroups:
        one = declared.pop(portgroup.name, None)
        if one is None:
            found.append(replace(portgroup, default=portgroup.default and not taken))
        elif one.present:
            default = portgroup.default and not taken if one.default is None else one.default
            values = PORTGROUP.merged(portgroup.values, one.given)
            found.append(replace(portgroup, default=default, values=values))
    new = (one for one in declared.values() if one.present)
    return (*found, *(Portgroup(one.name, bool(one.default), PORTGROUP.merged({}, one.given)) for one in new))


def default_that_goes(had: Definition, has: Definition) -> Portgroup | None:
    """Return the default portgroup that a network had, if NICs without a choice have none instead of it now."""
    # They follow the default, whichever it is.
    return had.portgroup(None) if has.portgroup(None) is None else None


def _kept_portgroups(desired: Desired, stored: Definition, current: Definition, host: Host) -> tuple[Portgroup, ...]:
    """Return the portgroups that the active network keeps because they are in use, though they are not stored.

    Others have removed them from what is stored. A declaration does that itself, and is refused instead.
    """
    default = default_that_goes(current, stored)
    users = host.users_of(desired.name)
    declared = {one.name for one in desired.portgroups}
    return tuple(
        replace(group, default=group is default)
        for group in current.portgroups
        if group.name not in declared and stored.portgroup(group.name) is None
        if host.unreadable or any(group.name in user.portgroups(default.name if default else None) for user in users)
    )


def _live_definition(
    desired: Desired, stored: Definition, current: Definition | None, host: Host, *, force: bool
) -> tuple[Definition, bool]:
    """Return what the active network is to have, and whether it takes a restart of the network.

    libvirt changes uplinks and portgroups of an active network, and nothing else. It then forgets how many guests are
    on each uplink (measured with 9.0), which only matters in mode passthrough: it would give an uplink to a second
    guest, which fails to start. It also lets an uplink go that a guest is on, and keeps that guest's port for ever.
    A restart would lose portgroups in use that are not stored.
    """
    stored = plain(stored)
    if current is None:
        return stored, False
    running = [user for user in host.users_of(desired.name) if user.live]
    unknown = bool(host.unreadable)
    kept = () if force else _kept_portgroups(desired, stored, current, host)
    stored = replace(stored, portgroups=(*stored.portgroups, *kept))
    if comparable(current) == comparable(stored):
        return stored, False
    live = plain(current)
    quiet = not running and not unknown and not kept
    same = (live.mode, live.pf, live.values) == (stored.mode, stored.pf, stored.values)
    if not (same and live.pf is None and (quiet or live.mode != "passthrough")) and (quiet or force):
        return stored, True
    if not quiet and live.mode == "passthrough":
        return live, False
    used = {user.uplink for user in running}
    lost = [one for one in live.interfaces if one not in stored.interfaces and (one in used or unknown)]
    interfaces = (*stored.interfaces, *lost) if stored.pf is None else live.interfaces
    return replace(live, interfaces=interfaces, portgroups=_for_mode(stored.portgroups, live.mode)), False


def _for_mode(portgroups: tuple[Portgroup, ...], mode: str) -> tuple[Portgroup, ...]:
    """Return ``portgroups`` as a network in another ``mode`` can have them: only passthrough has VLANs."""
    if mode == "passthrough":
        return portgroups
    return tuple(replace(one, values=_without_vlan(one.values)) if "vlan" in one.values else one for one in portgroups)


def _without_vlan(values: t.Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in values.items() if name != "vlan"}


def plain(definition: Definition) -> Definition:
    """Return a Definition that is nothing more, so that two can be compared."""
    return Definition(
        mode=definition.mode,
        # The virtual functions of an active pool are found by libvirt.
        interfaces=() if definition.pf is not None else definition.interfaces,
        pf=definition.pf,
        values=definition.values,
        portgroups=definition.portgroups,
        forward=definition.forward,
    )


def comparable(definition: Definition) -> Definition:
    """As :func:`plain`, without the order of uplinks and portgroups: an active network is not restarted over it."""
    found = plain(definition)
    return replace(
        found,
        interfaces=tuple(sorted(found.interfaces)),
        portgroups=tuple(sorted(found.portgroups, key=lambda one: one.name)),
    )
