# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files of a guest's disks, and which of them no other host can see."""

from __future__ import annotations

import os
import re
import typing as t
from xml.etree import ElementTree

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mountinfo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._mountinfo import Mount

# File systems of one host. Of any other, libvirt itself decides whether hosts share it.
_OF_ONE_HOST = frozenset(["btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs"])
# As many as the kernel follows.
_MOST_LINKS = 40
_CONFIGURATION = "/etc/libvirt/qemu.conf"


def files(document: str) -> tuple[str, ...]:
    """Return the files that a domain with this XML writes its disks to."""
    root = ElementTree.fromstring(document)  # noqa: S314  # libvirt's own
    found = []
    for disk in root.iterfind("devices/disk[@type='file']"):
        source = disk.find("source")
        # Those that several guests write to at once are for storage of a cluster: what that is, is not known here.
        alone = disk.find("readonly") is None and disk.find("shareable") is None
        if source is not None and source.get("file") and alone:
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
        mounts = _mountinfo.read()
    except OSError:
        return {}
    found = {path: kind for path in paths if (kind := kind_of(path, mounts)) in _OF_ONE_HOST}
    return {path: kind for path, kind in found.items() if os.path.exists(path)}


def kind_of(path: str, mounts: t.Sequence[Mount]) -> str:
    """Return the type of the file system that has a path, following links; "" if links lead in a circle.

    A file on another host's file system may let this process wait without end if that host is silent. So nothing is
    looked up there, on the way neither.
    """
    todo, at, followed = [part for part in path.split("/") if part], "/", 0
    while todo:
        kind = type_of(at, mounts)
        if kind not in _OF_ONE_HOST:
            return kind
        part = todo.pop(0)
        following = os.path.normpath(os.path.join(at, part))
        if type_of(following, mounts) not in _OF_ONE_HOST:
            return type_of(following, mounts)
        try:
            link = os.readlink(following)
        except OSError:
            at = following
            continue
        followed += 1
        if followed > _MOST_LINKS:
            return ""
        todo = [one for one in link.split("/") if one] + todo
        at = "/" if link.startswith("/") else at
    return type_of(at, mounts)


def type_of(path: str, mounts: t.Sequence[Mount]) -> str:
    """Return the type of the file system that has a path, "" if no mount has it."""
    best, kind = "", ""
    for mount in mounts:
        # Of mounts on one place the last one counts.
        if len(mount.place) >= len(best) and (path == mount.place or path.startswith(mount.place.rstrip("/") + "/")):
            best, kind = mount.place, mount.kind
    return kind
