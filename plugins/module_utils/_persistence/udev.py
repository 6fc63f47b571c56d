# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What udev gives the links: the permissions of their taps, and what their manager has no words for. Pure."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import permissions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import commands
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    NETWORKMANAGER,
    UDEV_FILE,
    Kept,
    Piece,
)


def render(kept: Kept, left: t.Collection[str], ip: str) -> tuple[Piece, ...]:
    """Return the link's rules, none if there is nothing to set; ``left`` are the fields that udev has to set."""
    rules = [rule for rule in (_of_link(kept, left, ip), _of_manager(kept), _of_tap(kept)) if rule]
    return (Piece(UDEV_FILE, "".join(f"{rule}\n" for rule in rules), shared=True),) if rules else ()


def of_guest(mac: str, ip: str) -> str:
    """Return the rule that gives all multicast to the macvtap link that a guest's NIC gets whenever it starts.

    By the address, since libvirt makes up another name each time; and when its tap appears, which is when the link is
    there, and which no link of another kind with that address has.
    """
    command = _escape(shlex.join([ip, "link", "set", "dev"]))
    matches = f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{mac}"'
    return f'{matches}, RUN+="{command} $id allmulticast on"\n'


def _of_link(kept: Kept, left: t.Collection[str], ip: str) -> str:
    attributes = {"alias": "ifalias", "group": "netdev_group", "txqueuelen": "tx_queue_len"}
    values = {name: getattr(kept, name) for name in attributes if name in left}
    said = [
        f'ATTR{{{attributes[name]}}}="{_escape(str(value))}"'
        for name, value in values.items()
        if value not in (None, "")
    ]
    rest = set(left) - set(attributes)
    said += [f'RUN+="{_escape(shlex.join([ip, *words]))}"' for words in commands.settings(kept, rest)]
    return ", ".join([f'ACTION=="add", SUBSYSTEM=="net", KERNEL=="{kept.name}"', *said]) if said else ""


def _of_manager(kept: Kept) -> str:
    # Of a link that is there when it starts NetworkManager (1.42) says that somebody else manages it, and gives it no
    # address, unless udev says otherwise.
    if kept.kind != COMPANION or kept.manager != NETWORKMANAGER:
        return ""
    return f'ACTION!="remove", SUBSYSTEM=="net", KERNEL=="{kept.name}", ENV{{NM_UNMANAGED}}="0"'


def _of_tap(kept: Kept) -> str:
    given = (("OWNER", kept.tap_owner), ("GROUP", kept.tap_group), ("MODE", permissions(kept.tap_mode)))
    said = [f'{key}="{value}"' for key, value in given if value is not None]
    return ", ".join([f'SUBSYSTEM=="macvtap", KERNELS=="{kept.name}", SUBSYSTEMS=="net"', *said]) if said else ""


def _escape(value: str) -> str:
    # Both begin a substitution.
    return value.replace("%", "%%").replace("$", "$$")
