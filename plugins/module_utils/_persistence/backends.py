# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which manager is to keep a link: the one that has its parent. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import networkd, networkmanager, shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    IFUPDOWN,
    INTERFACES,
    INTERFACES_FILE,
    NETWORKD,
    NETWORKMANAGER,
    Host,
    Kept,
)


def of_parent(parent: Link, host: Host) -> str | None:
    """Return who manages ``parent``, or else the only one that starts at boot; None where there is none or several."""
    managing = _managing(parent, host)
    if managing is not None:
        return managing
    written = keeping(parent, host)
    if written is not None:
        return written
    only = host.enabled[0] if len(host.enabled) == 1 else None
    return None if only == NETWORKD and host.addresses.get(parent.index) else only


def keeping(parent: Link, host: Host) -> str | None:
    """Return who will make ``parent`` at the next boot by a file of ours, None if there is none for it."""
    own = {networkd.netdev_file(parent.name): NETWORKD, networkmanager.keyfile(parent.name): NETWORKMANAGER}
    for path, manager in own.items():
        if path in host.files and host.files[path].ours:
            return manager
    stanzas = host.files.get(INTERFACES_FILE)
    return IFUPDOWN if stanzas and stanzas.ours and parent.name in shared.parse(stanzas.text)[1] else None


def _managing(parent: Link, host: Host) -> str | None:
    state = host.networkd.get(parent.index)
    if state is not None and state.managed:
        return NETWORKD
    if parent.index in host.networkmanager:
        return NETWORKMANAGER
    return IFUPDOWN if {parent.name, *parent.altnames} & host.ifupdown else None


def check(backend: str, parent: Link, host: Host, path: str) -> None:
    """Refuse a manager that would not make the links of this parent.

    :raises MacvtapError: saying what it needs.
    """
    if backend == IFUPDOWN and not host.interfaces_sourced:
        raise MacvtapError(
            f"{INTERFACES} does not read {INTERFACES_FILE}; add the line: source /etc/network/interfaces.d/*",
            path=join_path(path, "backend"),
        )
    if backend == NETWORKD:
        _check_networkd(parent, host, path)


def check_lease(kept: Kept, backend: str | None, host: Host) -> None:
    """Refuse a companion whose address nobody would get.

    :raises MacvtapError: saying what it needs.
    """
    if not kept.dhcp4:
        return
    if backend is None:
        raise MacvtapError(
            f"nobody keeps {kept.name}, and so nobody gets it an address. Say a backend that does, or leave dhcp4 out "
            "and give it one in addresses",
            path=join_path(kept.path, "dhcp4"),
        )
    if backend == IFUPDOWN and not host.dhclient:
        raise MacvtapError(
            "ifupdown gets an address by dhclient, which is not installed here. Install it (Debian: isc-dhcp-client), "
            "or leave dhcp4 out and give the companion one in addresses, or say another backend",
            path=join_path(kept.path, "dhcp4"),
        )


def _check_networkd(parent: Link, host: Host, path: str) -> None:
    if keeping(parent, host) == NETWORKD:
        return
    state = host.networkd.get(parent.index)
    option = join_path(path, "backend")
    if state is None:
        raise MacvtapError(
            f"networkd does not run here, so that nobody knows which of its files is the one for {parent.name}; start "
            "it, or say another backend",
            path=option,
        )
    if state.file is None:
        other = _managing(parent, host)
        if other is not None:
            raise MacvtapError(
                f"{parent.name} is managed by {other}, and networkd would take it away from there at the next boot; "
                f"say backend: {other}",
                path=option,
            )
        addresses = host.addresses.get(parent.index)
        if addresses:
            raise MacvtapError(
                f"{parent.name} has addresses of the host ({', '.join(addresses)}) that networkd has no file for, and "
                "at the next boot it would take them away. Say another backend, or give networkd a .network file of "
                f"your own for {parent.name}",
                path=option,
            )
        return
    if not state.managed:
        raise MacvtapError(
            f"networkd is told by {state.file} to leave {parent.name} alone; say another backend, or take Unmanaged= "
            "out of that file",
            path=option,
        )
    sharing = _names(host, (index for index, other in host.networkd.items() if other.file == state.file))
    if len(sharing) > 1:
        raise MacvtapError(
            f"{state.file} configures {', '.join(sharing)}, and what is added to it for {parent.name} would be made on "
            f"whichever comes first. Give {parent.name} a file of its own that comes before it",
            path=join_path(path, "parent"),
        )


def _names(host: Host, indexes: t.Iterable[int]) -> list[str]:
    wanted = set(indexes)
    return sorted(link.name for link in host.links.values() if link.index in wanted and link.netns is None)
