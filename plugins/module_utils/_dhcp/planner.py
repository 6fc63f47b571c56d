# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which commands make the network managers ask for a shim's address now, after the files are written. Pure.

No other link may be disturbed. networkd can only reload all files, and then reconfigures each link whose files have
changed since it read them. So it is reloaded only if no file of another link can have changed, and none of a link that
has addresses of the host from it.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import RELOAD, Command, Lease, Leases
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import managers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    NETWORKD,
    NETWORKD_DIR,
    NETWORKMANAGER,
    SHIM,
    Desired,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.planner import links_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def plan(
    resolved: Resolved, host: Host, planned: Plan[File], unread: t.Sequence[str], needed: t.Collection[str] = ()
) -> Leases:
    """Plan the commands that follow the ``planned`` changes of files.

    ``unread`` are other files that networkd may not have read yet. ``needed`` are links that networkd configures now,
    and by which the host is reached.
    """
    steps, files = planned.steps, predicted(planned, host.files)
    touched = [step.target for step in steps if step.target.startswith(f"{NETWORKD_DIR}/")]
    own = [path for path in touched if _is_of_a_link(path)]
    # Changes of the uplink's files take effect at the next boot.
    others = (*(path for path in unread if not _is_of_a_link(path)), *sorted(set(touched) - set(own)))
    stale = dict(_stale(host, files, {*touched, *unread}, needed))
    others += tuple(stale.values())
    leases = tuple(_lease(one, host, others) for one in resolved.links if one.manager)
    reload = bool(own or any(RELOAD in lease.commands for lease in leases)) and not others and bool(host.networkd)
    commands: list[Command] = [RELOAD] if reload else []
    absent = {name for name, one in resolved.decisions.items() if one.absent}
    foreign = dict(_foreign(resolved, host, files))
    warnings = [_reassigned(name, file, files, now=reload) for name, file in foreign.items()]
    warnings += [_deferred(name, path) for name, path in stale.items() if not host.networkd.get(host.links[name].index)]
    configured = (name for name in stale if host.networkd.get(host.links[name].index) and name not in foreign)
    warnings += [_unread(name, stale[name]) for name in configured if stale[name] in touched and stale[name] in files]
    for step, file in ((step, step.before) for step in steps if step.removes and step.before is not None):
        for name, kind in links_of(file).items():
            is_profile = step.target == managers.profile_file(name)
            if is_profile and kind == SHIM and (name not in host.links or name in absent):
                # NetworkManager must forget the profile; otherwise it might create the shim again.
                commands.append(_load(name))
            if name in host.links and (is_profile or others) and managers.gets_lease(file):
                warnings.append(f"the DHCP client of {name} runs until the next boot, or until {name} is removed")
    return Leases(leases, tuple(commands), tuple(warnings))


def _stale(
    host: Host, files: t.Container[str], changed: t.Container[str], needed: t.Collection[str]
) -> t.Iterator[tuple[str, str]]:
    """Yield links whose addresses a reload would remove, and our files because of which it would."""
    for link in (link for link in host.links.values() if link.netns is None):
        name, current, new = link.name, host.networkd.get(link.index), managers.file_of(link.name, files)
        if current and managers.is_for(name, current) and current not in files:
            if link.kind == SHIM or name in needed:
                yield name, current
        elif name in needed and new is not None:
            # When networkd begins to configure a link, it removes what others have set.
            configures = current or new == managers.network_file(name)
            if (current and new != current) or (configures and new in changed):
                yield name, new


def _foreign(resolved: Resolved, host: Host, files: t.Container[str]) -> t.Iterator[tuple[str, str]]:
    """Yield the links that networkd configures by a file of others, until it reads ours; with that file."""
    for one in resolved.links:
        link = host.links.get(one.link.name)
        file = host.networkd.get(link.index) if link is not None and one.manager != NETWORKD else None
        if file and managers.file_of(one.link.name, files) and not managers.is_for(one.link.name, file):
            yield one.link.name, file


def _reassigned(name: str, file: str, files: t.Container[str], *, now: bool) -> str:
    path = managers.file_of(name, files)
    when = "This run reloads networkd, which then" if now else "From the next boot or networkctl reload on, it"
    how = (
        f"configures {name} by {path} and its drop-ins alone"
        if path == managers.network_file(name)
        else f"leaves {name} alone"
    )
    return f"networkd configures {name}, because {file} matches it. {when} {how}"


def _deferred(name: str, path: str) -> str:
    return (
        f"networkd does not configure {name} now, and was not reloaded, because it would remove the addresses that "
        f"{name} has. From the next boot or networkctl reload on, it configures {name} by {path} and its drop-ins alone"
    )


def _unread(name: str, path: str) -> str:
    return (
        f"networkd was not reloaded, because the host is reached over {name}. From the next boot or networkctl reload "
        f"on, it configures {name} by {path} as that is now"
    )


def _is_of_a_link(path: str) -> bool:
    names = links_of(File(path))
    kinds = (managers.network_file, managers.unmanaged_file)
    return any(path == file(name) for name in names for file in kinds)


def _lease(one: Desired, host: Host, unread: tuple[str, ...]) -> Lease:
    name, manager, path = one.link.name, str(one.manager), one.link.path
    link = host.links.get(name)
    if link is None or link.kind != SHIM or link.alias != OWNER_ALIAS:
        # There is no shim to configure yet.
        return Lease(name, manager, path)
    address = lease_of(link.index, host.access.addresses if host.access else ())
    if address is not None:
        return Lease(name, manager, path, link.index, address)
    return REQUESTS[manager](Lease(name, manager, path, link.index), host, unread)


def _from_networkd(lease: Lease, host: Host, unread: tuple[str, ...]) -> Lease:
    if host.networkd.get(t.cast("int", lease.index)) == managers.network_file(lease.name):
        # networkd is already configuring it.
        return lease
    return replace(lease, commands=() if unread else (RELOAD,), unread=unread)


def _from_networkmanager(lease: Lease, _host: Host, _unread: tuple[str, ...]) -> Lease:
    up = ("nmcli", "--wait", "60", "connection", "up", "id", managers.profile(lease.name))
    return replace(lease, commands=(_load(lease.name), up))


# How a shim that has no address yet gets its manager to ask for one.
REQUESTS: t.Mapping[str, t.Callable[[Lease, Host, t.Tuple[str, ...]], Lease]] = {
    NETWORKD: _from_networkd,
    NETWORKMANAGER: _from_networkmanager,
}


def _load(name: str) -> Command:
    return ("nmcli", "connection", "load", managers.profile_file(name))


def plan_of(leases: Leases) -> Plan[Lease]:
    """Return the changes and warnings of the leases, as modules return them."""
    steps = (_step(lease) for lease in leases.leases if lease.commands)
    return Plan(tuple(steps), (*(_warning(lease) for lease in leases.leases if lease.unread), *leases.warnings))


def _step(lease: Lease) -> Step[Lease]:
    change = Change(lease.name, "address", None, "by DHCP", Impact.IN_PLACE)
    return Step(lease.name, lease, lease, (change,), {"address": None}, {"address": "by DHCP"}, lease.path)


def _warning(lease: Lease) -> str:
    return (
        f"{lease.name} has no IPv4 address yet, because networkd was not reloaded. A reload removes the addresses "
        "of every link whose files have changed, and then sets those that the files have now. These may have changed: "
        f"{join_names(lease.unread)}. Run networkctl reload when that is acceptable, or wait for the next boot"
    )
