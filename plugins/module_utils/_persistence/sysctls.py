# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The kernel's settings of a companion, which systemd sets when udev has the link (99-systemd.rules). Pure.

A file of sysctl.d and not SYSCTL in the udev rule, which loses to what another such file says of all links (measured).
"""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import SETTINGS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import SYSCTL_FILE, Kept, Piece


def values(name: str) -> dict[str, int]:
    """Return the settings of the link by their paths below /proc/sys."""
    return {f"net/{setting.replace('/', f'/conf/{name}/')}": value for setting, value in SETTINGS.items()}


def render(kept: Kept) -> Piece:
    # With a dash, since there is no such link yet when the file is read first.
    lines = [f"-{path} = {value}\n" for path, value in values(kept.name).items()]
    return Piece(SYSCTL_FILE, "".join(lines), shared=True)
