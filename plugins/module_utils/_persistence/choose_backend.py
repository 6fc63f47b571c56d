# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who makes a link at the next boot, and who gives a shim its addresses. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import (
    networkd,
    networkmanager,
    systemd_unit,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    IFUPDOWN,
    NETWORKD,
    NETWORKMANAGER,
    SHIM,
    SYSTEMD,
    Host,
)

_WHY_NOT = {NETWORKD: networkd.WHY_NOT, NETWORKMANAGER: networkmanager.WHY_NOT}
_UNIT_INSTEAD = "Leave persistence out, or set systemd: its unit makes the link under any network manager"


def choose(asked: str, kind: str, host: Host, path: str) -> str | None:
    """Return who runs the program that makes a link of this kind, None where nobody does.

    :raises MacvtapError: what was asked for cannot do it safely, or is not here.
    """
    if asked == "none" or (asked == "auto" and not host.systemd):
        return None
    reason = _unsupported(asked, kind, host)
    if reason is not None:
        raise MacvtapError(reason, path=join_path(path, "persistence"))
    return IFUPDOWN if asked == IFUPDOWN else SYSTEMD


def _unsupported(asked: str, kind: str, host: Host) -> str | None:
    if asked in _WHY_NOT and kind != SHIM:
        return f"{_WHY_NOT[asked]}. {_UNIT_INSTEAD}"
    if asked != IFUPDOWN:
        return (
            None
            if host.systemd
            else "systemd does not run here, and its unit would make the link. Use ifupdown or none"
        )
    if host.ifupdown2:
        return f"ifupdown2 (ifreload -a) sets links down that leave its files, and guests' with them. {_UNIT_INSTEAD}"
    if host.systemd:
        return f"ifupdown runs the program that makes links only where systemd does not run. {_UNIT_INSTEAD}"
    if not host.interfaces_sourced:
        file = systemd_unit.INTERFACES_FILE
        return f"/etc/network/interfaces does not read {file}; add the line: source /etc/network/interfaces.d/*"
    return None


def addresses_by(asked: str, parent: Link, host: Host, path: str, *, dhcp4: bool) -> str | None:
    """Return the manager that gives a shim its addresses, None where who makes it does.

    :raises MacvtapError: it is to have one by DHCP, and nobody can get it that.
    """
    if asked in _WHY_NOT:
        return asked
    if not dhcp4:
        return None
    if asked == IFUPDOWN:
        reason = "ifupdown gets it no address by DHCP here"
    else:
        if host.networkd.get(parent.index) is not None:
            return NETWORKD
        if parent.index in host.networkmanager:
            return NETWORKMANAGER
        if len(host.enabled) == 1:
            return host.enabled[0]
        running = " and ".join(host.enabled) or "neither networkd nor NetworkManager"
        reason = (
            f"an address by DHCP is a manager's to get: {running} would start at boot, and neither manages "
            f"{parent.name}"
        )
    raise MacvtapError(
        f"{reason}. Use persistence: networkd or networkmanager, or addresses in place of dhcp4",
        path=join_path(path, "dhcp4"),
    )
