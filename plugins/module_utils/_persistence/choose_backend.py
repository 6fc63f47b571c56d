# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who makes a link at the next boot, and what one who was asked for by name cannot do safely. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    IFUPDOWN,
    INTERFACES,
    INTERFACES_FILE,
    NETWORKD,
    NETWORKMANAGER,
    SYSTEMD,
    Host,
)

_INSTEAD = "Leave backend out, or set systemd: that never touches the uplink"


def choose(asked: str, kind: str, host: Host, path: str) -> str | None:
    """Return who makes a link of this kind, None where nobody does.

    :raises MacvtapError: whoever was asked for is not here.
    """
    if asked == "none" or (asked == "auto" and not host.systemd):
        return None
    if asked == IFUPDOWN or (asked in (NETWORKD, NETWORKMANAGER) and kind != COMPANION):
        return asked
    if not host.systemd:
        raise MacvtapError(
            "systemd does not run here, and its unit would make the link. Use ifupdown or none",
            path=join_path(path, "backend"),
        )
    return SYSTEMD


def addresses_by(asked: str, parent: Link, host: Host, path: str, *, dhcp4: bool) -> str | None:
    """Return the manager that gives a companion its addresses, None where who makes it does.

    :raises MacvtapError: it is to have one by DHCP, and nobody can get it that.
    """
    if asked in (NETWORKD, NETWORKMANAGER):
        return asked
    if not dhcp4:
        return None
    if asked == IFUPDOWN:
        raise MacvtapError(
            "ifupdown gets it no address by DHCP here. Use backend: networkd or networkmanager, or addresses in place "
            "of dhcp4",
            path=join_path(path, "dhcp4"),
        )
    state = host.networkd.get(parent.index)
    if state is not None and state.managed:
        return NETWORKD
    if parent.index in host.networkmanager:
        return NETWORKMANAGER
    if len(host.enabled) == 1:
        return host.enabled[0]
    running = " and ".join(host.enabled) or "neither networkd nor NetworkManager"
    raise MacvtapError(
        f"an address by DHCP is a manager's to get: {running} would start at boot, and neither manages {parent.name}. "
        "Use backend: networkd or networkmanager, or addresses in place of dhcp4",
        path=join_path(path, "dhcp4"),
    )


def check_native(backend: str, parent: Link, host: Host, path: str) -> None:
    """Refuse a manager that would not make the links of this parent, or could take the uplink along when it cannot.

    :raises MacvtapError: saying what to use instead.
    """
    option = join_path(path, "backend")
    if backend == IFUPDOWN and host.ifupdown2:
        raise MacvtapError(
            f"ifupdown2 (ifreload -a) sets links down that leave its files, and guests' with them. {_INSTEAD}",
            path=option,
        )
    if backend == IFUPDOWN and not host.interfaces_sourced:
        raise MacvtapError(
            f"{INTERFACES} does not read {INTERFACES_FILE}; add the line: source /etc/network/interfaces.d/*",
            path=option,
        )
    if backend == NETWORKD:
        _check_networkd(parent, host, path)


def _check_networkd(parent: Link, host: Host, path: str) -> None:
    option = join_path(path, "backend")
    state = host.networkd.get(parent.index)
    if state is None:
        raise MacvtapError(
            f"networkd does not run here, so it is not known which of its files is the one for {parent.name}. Start "
            f"it. {_INSTEAD}",
            path=option,
        )
    addresses = host.addresses.get(parent.index)
    if addresses:
        raise MacvtapError(
            f"{parent.name} has addresses of the host ({', '.join(addresses)}), and networkd gives an uplink none when "
            f"it cannot make a link on it. {_INSTEAD}",
            path=option,
        )
    if state.file is None and parent.index in host.networkmanager:
        raise MacvtapError(
            f"{parent.name} is managed by NetworkManager, and networkd would take it away from there at the next boot. "
            f"{_INSTEAD}",
            path=option,
        )
    if state.file is not None and not state.managed:
        raise MacvtapError(
            f"{state.file} makes networkd leave {parent.name} alone. {_INSTEAD}, or remove Unmanaged= from that file",
            path=option,
        )
    sharing = _names(host, (index for index, other in host.networkd.items() if state.file and other.file == state.file))
    if len(sharing) > 1:
        raise MacvtapError(
            f"{state.file} configures {', '.join(sharing)}, and what is added to it for {parent.name} would be made on "
            f"whichever comes first. {_INSTEAD}, or give {parent.name} a file of its own that comes before it",
            path=join_path(path, "parent"),
        )


def _names(host: Host, indexes: t.Iterable[int]) -> list[str]:
    wanted = set(indexes)
    return sorted(link.name for link in host.links.values() if link.index in wanted and link.netns is None)
