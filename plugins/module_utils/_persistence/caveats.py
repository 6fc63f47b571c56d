# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a user is warned of: what will be otherwise at the next boot than it was declared. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import networkd
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import NETWORKD, Host, Kept


def of(kept: Kept, backend: str, host: Host, parent: Link) -> t.Iterator[str]:
    """Yield what is to be known of one link that ``backend`` keeps."""
    yield from _not_kept(kept)
    if backend == NETWORKD:
        yield from _follows_name(kept, host, parent)
    yield from _grabbed(kept, backend, host)


def left(kept: Kept, parent: Link) -> t.Iterator[str]:
    """Yield that what is written for a link stays, since nobody can tell now who is to keep it."""
    yield (
        f"{kept.name}: nothing tells now which of networkd, NetworkManager and ifupdown manages {parent.name}, so what "
        "has been written for it before stays as it is. Start the manager and run again, or say which (backend, in the "
        "roles macvtap_links_persistence and macvtap_host_access_persistence)"
    )


def unmanaged(links: t.Mapping[str, t.Sequence[str]]) -> t.Iterator[str]:
    """Yield one warning of all links that nobody keeps, which are given by their parents."""
    if links:
        names = [name for some in links.values() for name in some]
        yield (
            f"{refusals.some(names)} will not be there after a reboot: none of networkd, NetworkManager and ifupdown "
            f"manages {refusals.some(sorted(links))}, nor is just one of them started at boot that would leave its "
            "addresses alone. Say which (backend, in the roles macvtap_links_persistence and "
            "macvtap_host_access_persistence): networkd, networkmanager or ifupdown; or none, if that is meant"
        )


def needed(name: str, on: t.Sequence[str]) -> t.Iterator[str]:
    """Yield that a link stays written which is not declared, since others are ``on`` it."""
    yield (
        f"{name} is not declared, and stays written all the same: it is the parent of {refusals.some(sorted(on))}, "
        "which would not be made at the next boot without it. Remove that first, or declare this too"
    )


def orphaned(name: str, on: t.Sequence[str]) -> t.Iterator[str]:
    """Yield that nobody makes a link at the next boot which others are ``on``."""
    yield (
        f"{refusals.some(sorted(on))} will not be there after a reboot, though that is written: nobody keeps {name}, "
        "the parent. Say backend: none for that too, or another one here"
    )


def _not_kept(kept: Kept) -> t.Iterator[str]:
    if kept.bclim is not None:
        yield f"{kept.name}: bclim is the parent's, and is not kept over a reboot; the next run sets it"
    if kept.promiscuous is False and kept.mode != "passthru":
        yield (
            f"{kept.name}: promiscuous: false says nothing in mode {kept.mode}, and is not kept over a reboot. Leave "
            "it out"
        )


def _follows_name(kept: Kept, host: Host, parent: Link) -> t.Iterator[str]:
    state = host.networkd.get(parent.index)
    if kept.parent.by in ("mac", "pci") and state is not None and parent.name in state.names:
        yield (
            f"{kept.name}: its parent is said by an address ({kept.parent.said}), but networkd knows the link by its "
            f"name, {parent.name}, in {state.file}, and finds it by that at the next boot. Match by the address there"
        )


def _grabbed(kept: Kept, backend: str, host: Host) -> t.Iterator[str]:
    link = host.links.get(kept.name)
    state = host.networkd.get(link.index) if link else None
    if state is None or not state.managed or state.file in (None, networkd.network_file(kept.name)):
        return
    what = (
        "Its own file comes before that one from the next boot, or from networkctl reload, on"
        if backend == NETWORKD
        else "Match less there, or give it a file with Unmanaged=yes in [Link] that comes before"
    )
    yield f"{kept.name}: networkd has taken it for its own, by {state.file}, which matches it too. {what}"
