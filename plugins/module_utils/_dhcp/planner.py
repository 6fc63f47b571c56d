# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What managers are told when the files are there, so that companions by DHCP get an address now. Pure.

No link but the companion is to notice. networkd has only "read all files again", and then configures each link anew
whose files have changed since it read them: it is told where only files of links of ours can have changed.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import RELOAD, Command, Lease, Leases
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import networkd, networkmanager
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    NETWORKD,
    Desired,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.planner import links_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def plan(resolved: Resolved, host: Host, steps: t.Sequence[Step[File]], unread: t.Sequence[str]) -> Leases:
    """Plan what is told with the ``steps``; ``unread`` are other files that networkd may not have read yet."""
    touched = [step.target for step in steps if step.target.startswith(f"{networkd.DIRECTORY}/")]
    own = [path for path in touched if _is_of_a_link(path)]
    # What changes for the uplink is for the next boot.
    left = (*(path for path in unread if not _is_of_a_link(path)), *sorted(set(touched) - set(own)))
    leases = tuple(_lease(one, host, left) for one in resolved.links if one.manager and one.companion.dhcp4)
    read = bool(own or any(RELOAD in lease.commands for lease in leases)) and not left and bool(host.networkd)
    commands: list[Command] = [RELOAD] if read else []
    absent = {name for name, one in resolved.decisions.items() if one.absent}
    warnings = []
    for step in steps:
        for name, kind in links_of(step.before).items() if step.removes and step.before else ():
            keyfile = networkmanager.keyfile(name)
            if step.target == keyfile and kind == COMPANION and (name not in host.links or name in absent):
                # NetworkManager is to forget the profile, or it might make the companion again.
                commands.append(_load(name))
            if name in host.links and (step.target == keyfile or left) and _asks(step.before):
                warnings.append(f"{name} keeps its DHCP client until the next boot, if it is not removed before")
    return Leases(leases, tuple(commands), tuple(warnings))


def _asks(file: File | None) -> bool:
    """Whether a manager gets a companion a lease by a file of ours."""
    return file is not None and (networkd.asks(file.text) or networkmanager.asks(file.text))


def _is_of_a_link(path: str) -> bool:
    names = links_of(File(path))
    made = (networkd.network_file, networkd.unmanaged_file)
    return any(path == file(name) for name in names for file in made)


def _lease(one: Desired, host: Host, unread: tuple[str, ...]) -> Lease:
    link = host.links.get(one.name)
    manager = str(one.manager)
    if link is None or link.kind != COMPANION or link.alias != MARK:
        # It comes with the files, or with Ansible.
        return Lease(one.name, manager, one.path)
    address = lease_of(link.index, host.access.addresses if host.access else ())
    if address is not None:
        return Lease(one.name, manager, one.path, link.index, address)
    if manager == NETWORKD:
        if host.networkd.get(link.index) == networkd.network_file(one.name):
            # It is at it.
            return Lease(one.name, manager, one.path, link.index)
        return Lease(one.name, manager, one.path, link.index, commands=() if unread else (RELOAD,), unread=unread)
    up = ("nmcli", "--wait", "60", "connection", "up", "id", networkmanager.profile(one.name))
    return Lease(one.name, manager, one.path, link.index, commands=(_load(one.name), up))


def _load(name: str) -> Command:
    return ("nmcli", "connection", "load", networkmanager.keyfile(name))


def plan_of(leases: Leases) -> Plan[Lease]:
    """Return what becomes of the leases, as modules return it."""
    steps = (_step(lease) for lease in leases.leases if lease.commands)
    return Plan(tuple(steps), (*(_warning(lease) for lease in leases.leases if lease.unread), *leases.warnings))


def _step(lease: Lease) -> Step[Lease]:
    change = Change(lease.name, "address", None, "by DHCP", Impact.IN_PLACE)
    return Step(lease.name, lease, lease, (change,), {"address": None}, {"address": "by DHCP"}, lease.path)


def _warning(lease: Lease) -> str:
    return (
        f"{lease.name} has no IPv4 address yet: networkd can only be told to read all its files again, and then takes "
        "away for a moment the addresses of each link whose files have changed, which may be so since it started: "
        f"{join_names(lease.unread)}. The address comes with the next boot, or when you run networkctl reload"
    )
