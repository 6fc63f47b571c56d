# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The speed of links. Read from sysfs: netlink has it only through ethtool, link by link."""

from __future__ import annotations

import contextlib

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Links

_CLASS = "/sys/class/net"


def speeds(links: Links) -> dict[str, int]:
    """Return the speed in Mbit/s of links that have carrier and report one, without macvtap and macvlan links.

    sysfs may be that of another network namespace, so a link's index must be the same there.
    """
    return {
        link.name: speed
        for link in links.values()
        if link.carrier and link.kind not in MACVLAN_KINDS and _number(link.name, "ifindex") == link.index
        # Drivers that do not know it report -1, as an int or as an unsigned one.
        if 0 < (speed := _number(link.name, "speed")) < 0x7FFFFFFF
    }


def _number(name: str, attribute: str) -> int:
    """Return an attribute of a link, -1 if it cannot be read."""
    with contextlib.suppress(OSError, ValueError), open(f"{_CLASS}/{name}/{attribute}", encoding="ascii") as file:
        return int(file.read())
    return -1
