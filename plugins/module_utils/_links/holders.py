# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which processes hold a tap open."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device, Holder


def find(devices: t.Collection[Device]) -> dict[Device, list[Holder]]:
    """Return the processes that hold each of ``devices`` open, as far as /proc shows them to us."""
    return search(devices)[0]


def search(devices: t.Collection[Device]) -> tuple[dict[Device, list[Holder]], bool]:
    """As :func:`find`, and whether there is no process that this user may not look into."""
    held: dict[Device, list[Holder]] = {}
    complete = True
    wanted = set(devices)
    if not wanted:
        return held, complete
    for directory in (f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit()):
        try:
            found = _open_devices(directory) & wanted
        except PermissionError:
            complete = False
            continue
        for device in found:
            held.setdefault(device, []).append(_holder(directory))
    return held, complete


def _open_devices(directory: str) -> set[Device]:
    """Raises PermissionError where this user may not look into the process."""
    devices: set[Device] = set()
    try:
        descriptors = os.listdir(f"{directory}/fd")
    except PermissionError:
        raise
    except OSError:  # the process has ended
        return devices
    for descriptor in descriptors:
        try:
            found = os.stat(f"{directory}/fd/{descriptor}")
        except OSError:
            continue
        if stat.S_ISCHR(found.st_mode):
            devices.add((os.major(found.st_rdev), os.minor(found.st_rdev)))
    return devices


def _holder(directory: str) -> Holder:
    pid = int(os.path.basename(directory))
    try:
        with open(f"{directory}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        words = [""]
    return Holder(pid, os.path.basename(words[0]), _domain(words))


def _domain(words: t.Sequence[str]) -> str | None:
    # libvirt starts every QEMU with "-name guest=NAME,…"; a comma in the name is doubled.
    for option, value in zip(words, words[1:]):
        match = re.match(r"guest=((?:[^,]|,,)+)", value) if option == "-name" else None
        if match:
            return match[1].replace(",,", ",")
    return None
