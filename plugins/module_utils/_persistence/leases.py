# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What managers are told when the files are there, so that companions by DHCP get an address now. Pure.

No link but the companion is to notice. networkd has only "read all files again", and then configures each link anew
whose files have changed since it read them: it is told where only files of links of ours can have changed.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import some
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import networkd, networkmanager, written
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Decided
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    NETWORKD,
    NETWORKD_DIR,
    File,
    Host,
    Kept,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

RELOAD = ("networkctl", "reload")

Command = t.Tuple[str, ...]


@dataclass(frozen=True)
class Lease:
    """What a companion is to have from its manager: ``address``, None while it has none.

    ``index`` is the companion's, None while there is none. ``unread`` are the files for which networkd is not told.
    """

    name: str
    manager: str
    path: str = ""
    index: int | None = None
    address: str | None = None
    commands: tuple[Command, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def asked(self) -> bool:
        return self.index is not None and self.address is None and not self.unread


@dataclass(frozen=True)
class Leases:
    """The companions' leases, and the commands that go with the files whatever becomes of those."""

    leases: tuple[Lease, ...] = ()
    commands: tuple[Command, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan[Lease]:
        steps = (_step(lease) for lease in self.leases if lease.commands)
        return Plan(tuple(steps), (*(_warning(lease) for lease in self.leases if lease.unread), *self.warnings))


def plan(decided: Decided, host: Host, steps: t.Sequence[Step[File]], unread: t.Sequence[str]) -> Leases:
    """Plan what is told with the ``steps``; ``unread`` are other files that networkd may not have read yet."""
    touched = [step.target for step in steps if step.target.startswith(f"{NETWORKD_DIR}/")]
    own = [path for path in touched if _is_of_a_link(path)]
    # What changes for the uplink is for the next boot.
    left = (*(path for path in unread if not _is_of_a_link(path)), *sorted(set(touched) - set(own)))
    leases = tuple(_lease(kept, host, left) for kept in decided.kept if kept.manager and kept.dhcp4)
    read = bool(own or any(RELOAD in lease.commands for lease in leases)) and not left and bool(host.networkd)
    forgotten = list(_forgotten(decided, host, steps))
    return Leases(leases, ((RELOAD,) if read else ()) + tuple(forgotten), tuple(_going_on(host, steps, left)))


def _is_of_a_link(path: str) -> bool:
    return any(
        path == made(name)
        for name in written.links_of(File(path))
        for made in (networkd.network_file, networkd.unmanaged_file)
    )


def _lease(kept: Kept, host: Host, unread: tuple[str, ...]) -> Lease:
    link = host.links.get(kept.name)
    manager = str(kept.manager)
    if link is None or link.kind != COMPANION or link.alias != MARK:
        # It comes with the files, or with Ansible.
        return Lease(kept.name, manager, kept.path)
    address = lease_of(link.index, host.access.addresses if host.access else ())
    if address is not None:
        return Lease(kept.name, manager, kept.path, link.index, address)
    if manager == NETWORKD:
        state = host.networkd.get(link.index)
        at_it = state is not None and state.managed and state.file == networkd.network_file(kept.name)
        if at_it:
            return Lease(kept.name, manager, kept.path, link.index)
        return Lease(kept.name, manager, kept.path, link.index, commands=() if unread else (RELOAD,), unread=unread)
    up = ("nmcli", "--wait", "60", "connection", "up", "id", networkmanager.profile(kept.name))
    return Lease(kept.name, manager, kept.path, link.index, commands=(_load(kept.name), up))


def _load(name: str) -> Command:
    return ("nmcli", "connection", "load", networkmanager.keyfile(name))


def _forgotten(decided: Decided, host: Host, steps: t.Sequence[Step[File]]) -> t.Iterator[Command]:
    """Yield what has NetworkManager forget the profile of a companion that is no more, or it might make it again."""
    for step in steps:
        if step.removes and step.before is not None and step.target.endswith(".nmconnection"):
            for name, kind in written.links_of(step.before).items():
                if kind == COMPANION and (name not in host.links or name in decided.absent):
                    yield _load(name)


def _going_on(host: Host, steps: t.Sequence[Step[File]], unread: t.Sequence[str]) -> t.Iterator[str]:
    """Yield that a companion keeps its DHCP client, where nobody is told of its end."""
    for step in steps:
        if not step.removes or step.before is None or not any(line in step.before.text for line in _ASKS):
            continue
        for name in written.links_of(step.before).keys() & host.links.keys():
            if step.target == networkmanager.keyfile(name) or unread:
                yield f"{name} keeps its DHCP client until the next boot, if it is not removed before"


_ASKS = ("\nDHCP=ipv4\n", "\nmethod=auto\n")


def _step(lease: Lease) -> Step[Lease]:
    change = Change(lease.name, "address", None, "by DHCP", Impact.IN_PLACE)
    return Step(lease.name, lease, lease, (change,), {"address": None}, {"address": "by DHCP"}, lease.path)


def _warning(lease: Lease) -> str:
    return (
        f"{lease.name} has no IPv4 address yet: networkd can only be told to read all its files again, and then takes "
        "away for a moment the addresses of each link whose files have changed, which may be so since it started: "
        f"{some(lease.unread)}. The address comes with the next boot, or when you run networkctl reload"
    )
