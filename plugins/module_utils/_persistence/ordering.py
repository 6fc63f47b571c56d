# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The unit that lets libvirt start its guests only when their links are there. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import UNIT_FILE, Kept, Piece
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.words import device_unit

# No Requires: a link that does not come is to cost its time-out, and not the guests.
_HEAD = """\
[Unit]
Description=Links of linuxvirt.macvtap are there
Before=libvirtd.service virtqemud.service libvirt-guests.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true

[Install]
WantedBy=multi-user.target"""


def render(kept: Kept) -> Piece:
    unit = device_unit(kept.name)
    return Piece(UNIT_FILE, f"[Unit]\nWants={unit}\nAfter={unit}\n", shared=True, head=_HEAD)
