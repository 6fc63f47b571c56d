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

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    dhclient,
    networkd,
    networkmanager,
    shared,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Decided
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.lease import (
    RELOAD,
    Command,
    Lease,
    Leases,
    why_not_told,
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
    left = tuple(path for path in unread if path not in {*own, *map(networkd.network_file, ending(steps, host))})
    leases = tuple(
        _lease(kept, str(decided.backends[kept.name]), host, left, read=own.isdisjoint({*written, *unread}))
        for kept in companions
    )
    first = frozenset(own) if any(RELOAD in lease.commands for lease in leases) else frozenset()
    ended = _ended(decided, steps, host, left)
    before = (*_before(decided, steps, host), *ended.before)
    return Leases(leases, before, (*_after(decided, steps, host), *ended.after), first | ended.first, ended.warnings)


def ending(steps: t.Sequence[Step[File]], host: Host) -> list[str]:
    """Return the companions that are there, and that networkd gets an address for and is not to any longer."""
    targets = {step.target for step in steps}
    return [n for n in _static(steps, host) if networkd.network_file(n) in targets and _reads(n, host)]


def _reads(name: str, host: Host) -> bool:
    state = host.networkd.get(host.links[name].index)
    return state is not None and state.managed and state.file == networkd.network_file(name)


def _static(steps: t.Sequence[Step[File]], host: Host) -> t.Iterator[str]:
    """Yield the companions whose own file has said DHCP and does not any longer, but other addresses."""
    for step in steps:
        if step.before is not None and step.after is not None:
            for name, (kind, _text) in shared.parse(step.before.text)[1].items():
                own = step.target in (networkd.network_file(name), networkmanager.keyfile(name))
                asks = [any(line in file.text for line in _ASKS) for file in (step.before, step.after)]
                if own and kind == COMPANION and name in host.links and asks == [True, False]:
                    yield name


_ASKS = ("\nDHCP=ipv4\n", "\nmethod=auto\n")


def _ended(decided: Decided, steps: t.Sequence[Step[File]], host: Host, unread: tuple[str, ...]) -> Leases:
    """Return what ends the clients of companions that are there and get no lease any longer; a client that nobody ends
    gives the companion its address again.
    """
    # As far as it is known that ifupdown has started it; its script still has the hook, and takes the address away.
    before = [
        dhclient.release(name) for name in _unhooked(steps) if name in host.ifstate and not _goes(name, decided, host)
    ]
    after: list[Command] = []
    first: set[str] = set()
    warnings = []
    for name in _static(steps, host):
        index = host.links[name].index
        by_networkd = any(step.target == networkd.network_file(name) for step in steps)
        if by_networkd and not _reads(name, host):
            continue
        command = RELOAD if by_networkd else _up(name)
        if _runs_over(name, host):
            warnings.append(_goes_on(name, "Ansible's own connection goes over it", command))
        elif not by_networkd and index in host.networkmanager:
            after += [_load(name), command]
        elif by_networkd and unread:
            warnings.append(_goes_on(name, why_not_told(unread, tuple(_disturbed(unread, host))), command))
        elif by_networkd:
            first.add(networkd.network_file(name))
    return Leases((), tuple(before), tuple(after), frozenset(first), tuple(warnings))


def _goes_on(name: str, why: str, command: Command) -> str:
    return f"{name} keeps its DHCP client until the next boot, or until you run {' '.join(command)}: {why}"


def _runs_over(name: str, host: Host) -> bool:
    """Say whether Ansible's connection goes over the link, which its manager is about to configure anew."""
    link, access = host.links[name], host.access
    if access is None:
        return False
    own = {address.address for address in access.addresses if address.index == link.index}
    return any(link.index == one.index or one.local in own for one in access.connections)


def _lease(kept: Kept, manager: str, host: Host, unread: tuple[str, ...], *, read: bool) -> Lease:
    link = host.links.get(kept.name)
    # Who has it otherwise is not to be disturbed; and what is not there comes with the files, or with Ansible.
    if link is None or link.kind != COMPANION or link.alias != MARK:
        return Lease(kept.name, manager, kept.path)
    found = lease_of(link.index, host.access.addresses if host.access else ())
    if found is not None:
        return Lease(kept.name, manager, kept.path, link.index, found)
    if manager == NETWORKD:
        state = host.networkd.get(link.index)
        if read and state is not None and state.managed and state.file == networkd.network_file(kept.name):
            return Lease(kept.name, manager, kept.path, link.index, asked=True)
        if unread:
            disturbed = tuple(_disturbed(unread, host))
            return Lease(kept.name, manager, kept.path, link.index, unread=unread, disturbed=disturbed)
        commands: tuple[Command, ...] = (RELOAD,)
    elif manager == NETWORKMANAGER:
        commands = (_load(kept.name), _up(kept.name))
    else:
        down = (("ifdown", kept.name),) if kept.name in host.ifstate else ()
        commands = (*down, ("ifup", kept.name))
    return Lease(kept.name, manager, kept.path, link.index, commands=commands, asked=True)


def _load(name: str) -> Command:
    return ("nmcli", "connection", "load", networkmanager.keyfile(name))


def _up(name: str) -> Command:
    return ("nmcli", "--wait", "60", "connection", "up", "id", networkmanager.profile(name))


def _disturbed(unread: t.Sequence[str], host: Host) -> t.Iterator[str]:
    """Yield the links that networkd would configure anew, as far as the files tell."""
    for link in sorted(host.links.values(), key=lambda one: one.name):
        state = host.networkd.get(link.index) if link.netns is None else None
        if state is not None and state.file is not None:
            drop_ins = f"{os.path.basename(state.file)}.d"
            if any(path == state.file or drop_ins in path.split("/") for path in unread):
                yield link.name


def _unhooked(steps: t.Sequence[Step[File]]) -> list[str]:
    """Return the companions for which ifupdown has started a DHCP client, and will not any longer."""
    for step in steps:
        if step.target == HOOK_FILE and step.before is not None:
            left = shared.parse(step.after.text)[1] if step.after else {}
            return sorted(shared.parse(step.before.text)[1].keys() - left.keys())
    return []


def _goes(name: str, decided: Decided, host: Host) -> bool:
    # What is declared absent goes in the same run, before this or after.
    return name not in host.links or name in decided.absent


def _before(decided: Decided, steps: t.Sequence[Step[File]], host: Host) -> t.Iterator[Command]:
    """Yield what ends the DHCP client of a companion that is no more, while ifupdown still has its stanza."""
    gone = (name for name in _unhooked(steps) if name in host.ifstate and _goes(name, decided, host))
    yield from (("ifdown", name) for name in gone)


def _after(decided: Decided, steps: t.Sequence[Step[File]], host: Host) -> t.Iterator[Command]:
    """Yield what has NetworkManager forget the profile of a companion that is no more, or it might make it again."""
    for step in steps:
        if step.removes and step.before is not None:
            for name, (kind, _text) in shared.parse(step.before.text)[1].items():
                if kind == COMPANION and step.target == networkmanager.keyfile(name) and _goes(name, decided, host):
                    yield _load(name)
