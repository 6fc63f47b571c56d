# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What creates a link at the next boot, and which manager gets a shim its address by DHCP. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import managers, model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import IFUPDOWN, SHIM, Host

# The option, wherever it is one.
PERSISTENCE: dict[str, t.Any] = {"type": "str", "choices": list(model.BACKENDS)}
# Of systemd: see its issues 18108 and 27854. With 247 it was restarted and aborted ten times.
KEEPS_RUNNING = 249
_UNIT_INSTEAD = "Leave persistence out, or set systemd: its unit creates the link under any network manager"


def choose(asked: str, kind: str, host: Host, path: str) -> str | None:
    """Return what runs the program that creates a link of this kind, None if nothing does.

    :raises MacvtapError: the backend cannot do it safely, or does not exist on this host.
    """
    if asked == "none" or (asked == "auto" and not host.systemd):
        return None
    reason = None
    if asked in managers.WHY_NOT and kind != SHIM:
        reason = f"{managers.WHY_NOT[asked]}. {_UNIT_INSTEAD}"
    elif asked == IFUPDOWN and host.systemd:
        reason = f"ifupdown runs the program that creates links only on hosts without systemd. {_UNIT_INSTEAD}"
    elif asked == IFUPDOWN and not host.interfaces_sourced:
        reason = f"/etc/network/interfaces ignores {model.INTERFACES_FILE}. Add: source /etc/network/interfaces.d/*"
    elif asked != IFUPDOWN and not host.systemd:
        reason = "systemd does not run on this host, and its unit would create the link. Use ifupdown or none"
    if reason is not None:
        raise MacvtapError(reason, path=join_path(path, "persistence"))
    return IFUPDOWN if asked == IFUPDOWN else model.SYSTEMD


def lease_by(asked: str, parent: Link, host: Host, path: str) -> str:
    """Return the manager that gets a shim on ``parent`` an address by DHCP.

    :raises MacvtapError: none can.
    """
    manager = _manager_of(asked, parent, host, path)
    if manager == model.NETWORKD and host.systemd_version is not None and host.systemd_version < KEEPS_RUNNING:
        raise MacvtapError(
            f"systemd-networkd {host.systemd_version} aborts when it restarts while two links have leases. The host "
            f"then loses routes of its own. Set addresses instead of dhcp4, or update systemd to {KEEPS_RUNNING}",
            path=join_path(path, "dhcp4"),
        )
    return manager


def _manager_of(asked: str, parent: Link, host: Host, path: str) -> str:
    if asked in managers.WHY_NOT:
        return asked
    owners = [model.NETWORKD] if host.networkd.get(parent.index) is not None else []
    owners += [model.NETWORKMANAGER] if parent.index in host.networkmanager else []
    candidates = owners[:1] or host.enabled
    if asked != IFUPDOWN and len(candidates) == 1:
        return candidates[0]
    enabled = " and ".join(host.enabled) or "neither networkd nor NetworkManager"
    reason = f"DHCP requires a manager: {enabled} would start at boot, and neither manages {parent.name}"
    raise MacvtapError(
        f"{'ifupdown gets a shim no address by DHCP' if asked == IFUPDOWN else reason}. Use persistence: networkd or "
        "networkmanager, or addresses instead of dhcp4",
        path=join_path(path, "dhcp4"),
    )
