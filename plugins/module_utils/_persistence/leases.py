# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which manager is to be told of a companion now, so that it gets it an address by DHCP and not at the next boot. Pure.

No link but the companion is to notice. NetworkManager and ifupdown are told of one link. networkd has only "read your
files again", and then configures each link anew whose files have changed since it read them: measured with 252, its
addresses and routes are away until the DHCP server has answered, static ones for a moment. So it is told only where no
file but the companions' own can have changed, before the parent's drop-in is written, which is for the next boot.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK, family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import networkd, networkmanager, shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Decided
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.lease import (
    RELOAD,
    Command,
    Lease,
    Leases,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    HOOK_FILE,
    NETWORKD,
    NETWORKMANAGER,
    File,
    Host,
    Kept,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def plan(decided: Decided, host: Host, steps: t.Sequence[Step[File]], unread: t.Sequence[str]) -> Leases:
    """Plan what the managers are told with the ``steps``; ``unread`` are the files that networkd may not have read."""
    written = {step.target for step in steps}
    companions = [kept for kept in decided.kept if kept.dhcp4]
    own = {networkd.network_file(kept.name) for kept in companions if decided.backends[kept.name] == NETWORKD}
    left = tuple(path for path in unread if path not in own)
    leases = tuple(
        _lease(kept, str(decided.backends[kept.name]), host, left, read=own.isdisjoint({*written, *unread}))
        for kept in companions
    )
    first = frozenset(own) if any(RELOAD in lease.commands for lease in leases) else frozenset()
    return Leases(leases, tuple(_before(steps, host)), tuple(_after(steps, host)), first)


def _lease(kept: Kept, manager: str, host: Host, unread: tuple[str, ...], *, read: bool) -> Lease:
    link = host.links.get(kept.name)
    # Who has it otherwise is not to be disturbed; and what is not there comes with the files, or with Ansible.
    if link is None or link.kind != COMPANION or link.alias != MARK:
        return Lease(kept.name, manager, kept.path)
    found = next((one for one in host.addresses.get(link.index, ()) if family(one) == 4), None)
    if found is not None:
        return Lease(kept.name, manager, kept.path, link.index, found.partition("/")[0])
    if manager == NETWORKD:
        state = host.networkd.get(link.index)
        if read and state is not None and state.managed and state.file == networkd.network_file(kept.name):
            return Lease(kept.name, manager, kept.path, link.index, asked=True)
        if unread:
            disturbed = tuple(_disturbed(unread, host))
            return Lease(kept.name, manager, kept.path, link.index, unread=unread, disturbed=disturbed)
        commands: tuple[Command, ...] = (RELOAD,)
    elif manager == NETWORKMANAGER:
        profile = networkmanager.profile(kept.name)
        commands = (_load(kept.name), ("nmcli", "--wait", "60", "connection", "up", "id", profile))
    else:
        down = (("ifdown", kept.name),) if kept.name in host.ifstate else ()
        commands = (*down, ("ifup", kept.name))
    return Lease(kept.name, manager, kept.path, link.index, commands=commands, asked=True)


def _load(name: str) -> Command:
    return ("nmcli", "connection", "load", networkmanager.keyfile(name))


def _disturbed(unread: t.Sequence[str], host: Host) -> t.Iterator[str]:
    """Yield the links that networkd would configure anew, as far as the files tell."""
    for link in sorted(host.links.values(), key=lambda one: one.name):
        state = host.networkd.get(link.index) if link.netns is None else None
        if state is not None and state.file is not None:
            drop_ins = f"{os.path.basename(state.file)}.d"
            if any(path == state.file or drop_ins in path.split("/") for path in unread):
                yield link.name


def _before(steps: t.Sequence[Step[File]], host: Host) -> t.Iterator[Command]:
    """Yield what ends the DHCP client of a companion that is no more, while ifupdown still has its stanza."""
    for step in steps:
        if step.target == HOOK_FILE and step.before is not None:
            gone = shared.parse(step.before.text)[1].keys() - (shared.parse(step.after.text)[1] if step.after else {})
            yield from (("ifdown", name) for name in sorted(gone & host.ifstate) if name not in host.links)


def _after(steps: t.Sequence[Step[File]], host: Host) -> t.Iterator[Command]:
    """Yield what has NetworkManager forget the profile of a companion that is no more, or it might make it again."""
    for step in steps:
        if step.removes and step.before is not None:
            for name, (kind, _text) in shared.parse(step.before.text)[1].items():
                if kind == COMPANION and step.target == networkmanager.keyfile(name) and name not in host.links:
                    yield _load(name)
