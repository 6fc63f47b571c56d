# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Waits until a udev before 243 is done with new taps, whose permissions it would take back.

Where no rule says an owner or a mode, such a udev gives each node that appears to root alone, with mode 0600. Later
ones leave what no rule is about as it is (systemd's NEWS for 243), and are not waited for.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device

CONTROL, DATA = "/run/udev/control", "/run/udev/data"
# The private library has the version in its name.
LIBRARIES = ("/usr/lib/systemd", "/lib/systemd")
_LEAVES_THEM = 243
_SECONDS, _POLL = 5.0, 0.01


def now() -> int:
    """Return the time as udev notes it, in microseconds."""
    return time.monotonic_ns() // 1000


def wait(devices: t.Iterable[Device], since: int) -> None:
    """Return when udev is done with each of the character devices, which have appeared ``since`` then.

    At once where udev does not run or leaves their permissions alone; after a while in any case.
    """
    left = set(devices)
    if not left or not os.path.exists(CONTROL) or not _resets():
        return
    deadline = time.monotonic() + _SECONDS
    while left and time.monotonic() < deadline:
        left = {device for device in left if _noted(device) < since}
        time.sleep(_POLL if left else 0)


def _resets() -> bool:
    names = [name for directory in LIBRARIES if os.path.isdir(directory) for name in os.listdir(directory)]
    versions = [int(found[1]) for name in names if (found := re.match(r"libsystemd-shared-(\d+)\b.*\.so$", name))]
    return bool(versions) and max(versions) < _LEAVES_THEM


def _noted(device: Device) -> int:
    """Return when udev has noted the device first, which it does when all else is done; 0 if it has not."""
    try:
        with open(f"{DATA}/c{device[0]}:{device[1]}", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^I:(\d+)$", file.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
