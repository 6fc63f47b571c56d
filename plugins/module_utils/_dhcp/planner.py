# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which commands make the network managers ask for a shim's address now, after the files are written. Pure.

No other link may be disturbed. networkd can only reload all files, and then reconfigures each link whose files have
changed since it read them. So it is reloaded only if no file of another link can have changed.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import RELOAD, Command, Lease, Leases
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import networkd, networkmanager
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    NETWORKD,
    SHIM,
    Desired,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.planner import links_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def plan(resolved: Resolved, host: Host, steps: t.Sequence[Step[File]], unread: t.Sequence[str]) -> Leases:
    """Plan the commands that follow ``steps``. ``unread`` are other files that networkd may not have read yet."""
    touched = [step.target for step in steps if step.target.startswith(f"{networkd.DIRECTORY}/")]
    own = [path for path in touched if _is_of_a_link(path)]
    # Changes of the uplink's files take effect at the next boot.
    others = (*(path for path in unread if not _is_of_a_link(path)), *sorted(set(touched) - set(own)))
    leases = tuple(_lease(one, host, others) for one in resolved.links if one.manager and one.shim.dhcp4)
    reload = bool(own or any(RELOAD in lease.commands for lease in leases)) and not others and bool(host.networkd)
    commands: list[Command] = [RELOAD] if reload else []
    absent = {name for name, one in resolved.decisions.items() if one.absent}
    warnings = []
    for step in steps:
        for name, kind in links_of(step.before).items() if step.removes and step.before else ():
            keyfile = networkmanager.keyfile(name)
            if step.target == keyfile and kind == SHIM and (name not in host.links or name in absent):
                # NetworkManager must forget the profile; otherwise it might create the shim again.
                commands.append(_load(name))
            if name in host.links and (step.target == keyfile or others) and _uses_dhcp(step.before):
                warnings.append(f"the DHCP client of {name} runs until the next boot, or until {name} is removed")
    return Leases(leases, tuple(commands), tuple(warnings))


def _uses_dhcp(file: File | None) -> bool:
    """Whether a managed file makes a network manager get an address by DHCP."""
    return file is not None and (networkd.asks(file.text) or networkmanager.asks(file.text))


def _is_of_a_link(path: str) -> bool:
    names = links_of(File(path))
    kinds = (networkd.network_file, networkd.unmanaged_file)
    return any(path == file(name) for name in names for file in kinds)


def _lease(one: Desired, host: Host, unread: tuple[str, ...]) -> Lease:
    link = host.links.get(one.name)
    manager = str(one.manager)
    if link is None or link.kind != SHIM or link.alias != OWNER_ALIAS:
        # There is no shim to configure yet.
        return Lease(one.name, manager, one.path)
    address = lease_of(link.index, host.access.addresses if host.access else ())
    if address is not None:
        return Lease(one.name, manager, one.path, link.index, address)
    if manager == NETWORKD:
        if host.networkd.get(link.index) == networkd.network_file(one.name):
            # networkd is already configuring it.
            return Lease(one.name, manager, one.path, link.index)
        return Lease(one.name, manager, one.path, link.index, commands=() if unread else (RELOAD,), unread=unread)
    up = ("nmcli", "--wait", "60", "connection", "up", "id", networkmanager.profile(one.name))
    return Lease(one.name, manager, one.path, link.index, commands=(_load(one.name), up))


def _load(name: str) -> Command:
    return ("nmcli", "connection", "load", networkmanager.keyfile(name))


def plan_of(leases: Leases) -> Plan[Lease]:
    """Return the changes and warnings of the leases, as modules return them."""
    steps = (_step(lease) for lease in leases.leases if lease.commands)
    return Plan(tuple(steps), (*(_warning(lease) for lease in leases.leases if lease.unread), *leases.warnings))


def _step(lease: Lease) -> Step[Lease]:
    change = Change(lease.name, "address", None, "by DHCP", Impact.IN_PLACE)
    return Step(lease.name, lease, lease, (change,), {"address": None}, {"address": "by DHCP"}, lease.path)


def _warning(lease: Lease) -> str:
    return (
        f"{lease.name} has no IPv4 address yet, because networkd was not reloaded. A reload briefly removes the "
        f"addresses of every link whose files have changed, and these may have: {join_names(lease.unread)}. Run "
        "networkctl reload when that is acceptable, or wait for the next boot"
    )
