# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Refuses what libvirt would refuse or what would fail at a guest's start, and to take a network from guests. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import validate as shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate as links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import Resolved, default_that_goes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import IMPLIED
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    Definition,
    Host,
    Network,
    Portgroup,
    User,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def network(resolved: Resolved, host: Host) -> None:
    """Refuse a network that cannot work. What stays as it is, is not validated.

    :raises MacvtapError: with the path of the option.
    """
    before, after, path = resolved.before, resolved.after, resolved.desired.path
    if after is None:
        return
    current: Definition = before or Definition()
    changed = {name for name, text in after.values.items() if current.values.get(name) != text}
    shared.has_virtualport_type(after.values, changed, path)
    moved = [one for one in after.interfaces if one not in current.interfaces]
    if host.links is not None:
        for name in moved:
            _uplink(name, _path_of(name, resolved), host)
        if after.pf is not None:
            _physical_function(after.pf, resolved, host)
    if after.values.get("virtualport.type") and (moved or changed):
        _virtualport(after, join_path(path, "virtualport.type"), host)
    for portgroup in after.portgroups:
        _portgroup(portgroup, resolved, host, moved=bool(moved))


def _physical_function(name: str, resolved: Resolved, host: Host) -> None:
    """Refuse a pool that libvirt would not start: one without virtual functions."""
    before, after = resolved.before, resolved.after
    path, links_here = join_path(resolved.desired.path, "pf"), host.links or {}
    link = link_of(name, links_here)
    if link is None:
        if before is None or before.pf != name:
            raise MacvtapError(f"there is no link {name} on this host{parents.candidates(name, links_here)}", path=path)
        return
    starts = after is not None and after.active and (before is None or not before.active or resolved.restarts)
    if not starts or host.functions.get(link.name, () if link.kind else None) != ():
        return
    what = f"is a {link.kind} link, which has no virtual functions" if link.kind else "has no virtual functions"
    hint = (
        "Set pf to an SR-IOV physical function"
        if link.kind
        else (f"Create some first, as with 'echo 4 > /sys/class/net/{link.name}/device/sriov_numvfs'")
    )
    raise MacvtapError(
        f"{link.name} {what}, and libvirt starts no pool without any. {hint}, or set interfaces instead", path=path
    )


def _portgroup(portgroup: Portgroup, resolved: Resolved, host: Host, *, moved: bool) -> None:
    before, after = resolved.before, resolved.after
    if after is None:
        return
    path = next(
        (one.path for one in resolved.desired.portgroups if one.name == portgroup.name),
        join_path(resolved.desired.path, "mode"),
    )
    was = before.portgroup(portgroup.name) if before is not None else None
    values = was.values if was is not None else {}
    changed = {name for name, text in portgroup.values.items() if values.get(name) != text}
    shared.has_virtualport_type(portgroup.values, changed, path)
    renewed = before is None or before.mode != after.mode
    if portgroup.values.get("vlan") and (renewed or "vlan" in changed) and after.mode != "passthrough":
        raise MacvtapError(
            f"libvirt refuses a VLAN in the portgroup {portgroup.name!r} of a network in mode {after.mode}: only "
            "SR-IOV virtual functions in mode passthrough can have one. Use a network of its own, with a VLAN "
            "interface of the host as uplink",
            path=join_path(path, "vlan"),
        )
    if portgroup.values.get("vlan") and (moved or "vlan" in changed):
        _functions_only(after, join_path(path, "vlan"), host)
    if portgroup.values.get("virtualport.type") and (moved or "virtualport.type" in changed):
        _virtualport(after, join_path(path, "virtualport.type"), host)


def _uplink(name: str, path: str, host: Host) -> None:
    found = host.links or {}
    link = link_of(name, found)
    if link is None:
        raise MacvtapError(f"there is no link {name} on this host{parents.candidates(name, found)}", path=path)
    links.check_parent(path, link, found)


def _uplinks(after: Network, host: Host) -> t.Iterator[Link]:
    for name in (*after.interfaces, *([after.pf] if after.pf else [])):
        link = link_of(name, host.links or {})
        if link is not None:
            yield link


def _virtualport(after: Network, path: str, host: Host) -> None:
    for link in _uplinks(after, host):
        instead = "Use a physical NIC as uplink"
        uplinks.validate_association(link, host.links or {}, "a virtual port", instead, path)


def _functions_only(after: Network, path: str, host: Host) -> None:
    if after.pf is not None:
        return
    instead = "Use a network of its own, with a VLAN interface of the host as uplink"
    for link in _uplinks(after, host):
        uplinks.validate_function(link, host.non_vfs, instead, path)


def _path_of(name: str, resolved: Resolved) -> str:
    declared = resolved.desired.interfaces or ()
    path = join_path(resolved.desired.path, "interfaces")
    return f"{path}[{declared.index(name)}]" if name in declared else path


def users(resolved: Resolved, host: Host, *, force: bool) -> None:
    """Refuse to remove or stop a network, or to remove a portgroup, that guests use.

    :raises MacvtapError: naming the guests.
    """
    before, after = resolved.before, resolved.after
    if before is None or force:
        return
    path = join_path(resolved.desired.path, "state")
    if after is None or (before.active and not after.active):
        what = "removed" if after is None else "stopped"
        refuse_use(before.name, what, resolved.users, host.unreadable, path)
        return
    for name, found in _losing_portgroups(before, after, resolved.users).items():
        _portgroup_users(name, found, resolved, host)


def _losing_portgroups(
    before: Network, after: Network, found: t.Sequence[User], *, running: bool = False
) -> dict[str, list[User]]:
    """Return by name the portgroups that go, stored or live, and who uses them: now, when restored or started.

    With ``running`` the portgroups are new. A guest that has chosen none may then be older than they are.
    """
    pairs: list[tuple[Definition, Definition]] = [(before, after)]
    if before.live is not None and after.live is not None:
        pairs.append((before.live, after.live))
    losing: dict[str, list[User]] = {}
    for had, has in pairs:
        default = default_that_goes(had, has)
        for group in [one for one in had.portgroups if has.portgroup(one.name) is None]:
            name, is_default = group.name, group is default
            users_ = [
                user
                for user in found
                if name in user.portgroups(name if is_default and not running else None)
                or (is_default and running and _has_got(user, group, had))
            ]
            losing[name] = [*losing.get(name, ()), *(one for one in users_ if one not in losing.get(name, ()))]
    return losing


def _has_got(user: User, default: Portgroup, network_: Definition) -> bool:
    """Whether a running guest that has chosen no portgroup has what the ``default`` one of its network gives."""

    def value(values: t.Mapping[str, str], name: str) -> str | None:
        return values.get(name, IMPLIED.get(name))

    if user.live_portgroup is not None:
        return False
    given = [
        name
        for name in default.values
        if name not in user.own and value(default.values, name) != value(network_.values, name)
    ]
    return bool(given) and all(value(user.values, name) == value(default.values, name) for name in given)


def _portgroup_users(name: str, chosen: t.Sequence[User], resolved: Resolved, host: Host) -> None:
    if chosen or host.unreadable:
        declared = (join_path(one.path, "state") for one in resolved.desired.portgroups if one.name == name)
        raise MacvtapError(
            f"portgroup {name!r} of network {resolved.desired.name!r} is used by {_who(chosen, host.unreadable)}. "
            "libvirt would start them without its settings. Change them first, or set force: true",
            path=next(declared, resolved.desired.path),
        )


def confirm(step: Step[Network], host: Host, *, running: bool = False) -> None:
    """Refuse a step that takes something from guests that use the network by now.

    ``running`` is for a rollback, which takes what this run has made. It disregards those that only have it stored,
    and domains that cannot be read: an active network shows itself which guests run on it.

    :raises StaleError: naming them.
    """
    before, after = step.before, step.after
    found = [user for user in host.users_of(step.target) if user.live or not running]
    unreadable = () if running else host.unreadable
    if before is not None and after is not None:
        for name, users_ in _losing_portgroups(before, after, found, running=running).items():
            if users_ or unreadable:
                raise StaleError(
                    f"portgroup {name!r} of network {step.target!r} is used by {_who(users_, unreadable)} by now, and "
                    "is not removed. Run again",
                    path=step.path,
                )
        if not before.active or (not step.recreates and before.live == after.live):
            return
    what = "stopped"
    if after is not None and after.active:
        what = "changed"
        found = [user for user in found if user.live]
        live = before.live if before is not None else None
        if not step.recreates and live is not None and live.mode != "passthrough":
            # Only those on an uplink that goes.
            gone = set(live.interfaces) - set((after.live or after).interfaces)
            found = [user for user in found if user.uplink in gone]
            if not gone:
                return
    if found or unreadable:
        raise StaleError(
            f"network {step.target!r} is used by {_who(found, unreadable)} by now, and is not {what}. Run again",
            path=step.path,
        )


def refuse_use(name: str, what: str, found: t.Sequence[User], unreadable: t.Sequence[str], path: str) -> None:
    """Refuse that a network is ``what`` ("stopped"), if guests use it or may.

    :raises MacvtapError: naming them.
    """
    if found or unreadable:
        raise MacvtapError(
            f"network {name!r} is used by {_who(found, unreadable)}. They could not start again once it is {what}. "
            "Connect them to something else first, or set force: true",
            path=path,
        )


def _who(found: t.Sequence[User], unreadable: t.Sequence[str]) -> str:
    parts = [join_names([user.label for user in found])] if found else []
    unknown = [name for name in unreadable if name not in {user.domain for user in found}]
    if unknown:
        parts.append(f"perhaps {join_names(unknown)}, which this user may not read")
    return " and ".join(parts)
