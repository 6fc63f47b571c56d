# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What udev gives the links: the permissions of their taps, and what NetworkManager needs of its companions. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import permissions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    NETWORKMANAGER,
    UDEV_FILE,
    Block,
    Desired,
)


def render(desired: Desired) -> t.Iterator[Block]:
    """Yield the link's rules, none if there is nothing to set."""
    rules = []
    name, link = desired.name, desired.link
    if desired.manager == NETWORKMANAGER:
        # It may be there before the unit is, and makes the link then. Of a link that is there when it starts it
        # (1.42) reports that somebody else manages it, and gives it no address, unless udev tells it otherwise.
        rules.append(
            f'ACTION=="add", SUBSYSTEM=="net", KERNEL=="{name}", ATTR{{ifalias}}="{_escape(link.alias or "")}"'
        )
        rules.append(f'ACTION!="remove", SUBSYSTEM=="net", KERNEL=="{name}", ENV{{NM_UNMANAGED}}="0"')
    tap = (("OWNER", link.tap_owner), ("GROUP", link.tap_group), ("MODE", permissions(link.tap_mode)))
    given = [f'{key}="{value}"' for key, value in tap if value is not None]
    if given:
        rules.append(f'SUBSYSTEM=="macvtap", KERNELS=="{name}", SUBSYSTEMS=="net", {", ".join(given)}')
    if rules:
        yield Block(UDEV_FILE, "".join(f"{rule}\n" for rule in rules))


def _escape(value: str) -> str:
    # Both begin a substitution.
    return value.replace("%", "%%").replace("$", "$$")
