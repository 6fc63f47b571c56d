# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Waits until a udev before 243 has processed new taps, because it would reset their permissions.

Without a rule for owner or mode, such a udev gives each new node to root with mode 0600. Later versions leave such
nodes alone (systemd's NEWS for 243), so there is no need to wait.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _systemd
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device

CONTROL, DATA = "/run/udev/control", "/run/udev/data"
_LEAVES_THEM = 243
_SECONDS, _POLL = 5.0, 0.01


def now() -> int:
    """Return the time on udev's clock, in microseconds."""
    return time.monotonic_ns() // 1000


def wait(devices: t.Iterable[Device], since: int) -> None:
    """Return when udev has processed each of the character devices, which appeared after ``since``.

    Returns immediately if udev does not run or leaves permissions alone, and after a timeout in any case.
    """
    remaining = set(devices)
    if not remaining or not os.path.exists(CONTROL) or not _resets():
        return
    deadline = time.monotonic() + _SECONDS
    while remaining and time.monotonic() < deadline:
        remaining = {device for device in remaining if _initialized(device) < since}
        time.sleep(_POLL if remaining else 0)


def _resets() -> bool:
    version = _systemd.version()
    return version is not None and version < _LEAVES_THEM


def _initialized(device: Device) -> int:
    """Return when udev recorded the device, its last action for it; 0 if it has not."""
    try:
        with open(f"{DATA}/c{device[0]}:{device[1]}", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^I:([0-9]{1,18})$", file.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
