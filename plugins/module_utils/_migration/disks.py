# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files of a guest's disks, and which of them no other host can see."""

from __future__ import annotations

import os
import re
from xml.etree import ElementTree

# File systems of one host. Of any other, libvirt itself decides whether hosts share it.
_OF_ONE_HOST = frozenset(["btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs"])
_CONFIGURATION = "/etc/libvirt/qemu.conf"


def files(document: str) -> tuple[str, ...]:
    """Return the files that a domain with this XML writes its disks to."""
    root = ElementTree.fromstring(document)  # noqa: S314  # libvirt's own
    found = []
    for disk in root.iterfind("devices/disk[@type='file']"):
        source = disk.find("source")
        if source is not None and source.get("file") and disk.find("readonly") is None:
            found.append(str(source.get("file")))
    return tuple(found)


def alone(paths: tuple[str, ...]) -> dict[str, str]:
    """Return those of these files that are on a file system of this host alone, with its type."""
    try:
        with open(_CONFIGURATION, encoding="utf-8", errors="replace") as file:
            configuration = file.read()
    except OSError:
        configuration = ""
    # Since libvirt 10.8 a host may say of a directory that others have it too.
    if re.search(r"^\s*shared_filesystems\b", configuration, re.MULTILINE):
        return {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    except OSError:
        return {}
    found = {path: type_of(os.path.realpath(path), mounts) for path in paths if os.path.exists(path)}
    return {path: kind for path, kind in found.items() if kind in _OF_ONE_HOST}


def type_of(path: str, mounts: str) -> str:
    """Return the type of the file system that has a path; ``mounts`` is proc(5)'s mountinfo."""
    best, kind = "", ""
    for line in mounts.splitlines():
        words, _dash, rest = line.partition(" - ")
        fields = words.split()
        if len(fields) < 5 or not rest:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        # Of mounts on one place the last one counts.
        if len(place) >= len(best) and (path == place or path.startswith(place.rstrip("/") + "/")):
            best, kind = place, rest.split()[0]
    return kind
