# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds a procfs that shows every process of the machine, and says why one may not."""

from __future__ import annotations

import os
import re

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _mountinfo

# PID_NS_INIT_INO of include/uapi/linux/nsfs.h: the initial PID namespace, which has every process of the machine.
WHOLE = "pid:[4026531836]"
_CAP_SYS_PTRACE = 19
_CONTAINED = (
    "this process runs in its own PID namespace, as in a container, and a process outside may hold the tap. Run the "
    "task outside, or mount the host's /proc in the container, for example at /run/host/proc"
)
_HIDDEN = "/proc is mounted with hidepid, and this process lacks CAP_SYS_PTRACE on the host"
_UNKNOWN = "/proc may hide processes (hidepid): its options are not known, and this process lacks CAP_SYS_PTRACE"


def find() -> tuple[str, str]:
    """Return the mount point of a procfs, and why processes may be missing in it ("": none are)."""
    mounts = _mounted_tables()
    for proc in ("/proc", *(path for path in mounts if path != "/proc")):
        if any(namespace(f"{proc}/{process}") == WHOLE for process in ("self", "1", "2")):
            return proc, _doubt(mounts.get(proc))
    return "/proc", _CONTAINED


def namespace(directory: str) -> str:
    # Only the procfs of the initial namespace shows its processes; there, PID 2 is a kernel thread.
    try:
        return os.readlink(f"{directory}/ns/pid")
    except OSError:
        return ""


def _mounted_tables() -> dict[str, str]:
    """Return the mount options of every complete procfs, by mount point."""
    try:
        mounts = _mountinfo.read()
    except OSError:
        return {}
    return {one.place: one.of_filesystem for one in mounts if one.kind == "proc" and one.root == "/"}


def _doubt(options: str | None) -> str:
    """Return why the procfs with these mount options, None if they are not known, may lack processes, or ""."""
    values = dict(option.partition("=")[::2] for option in (options or "").split(","))
    if options is not None and values.get("hidepid", "0") in ("0", "off"):
        return ""
    # A capability in a user namespace shows nothing outside of it.
    if capable(_CAP_SYS_PTRACE) and not _child.is_in_user_namespace():
        return ""
    return _UNKNOWN if options is None else _HIDDEN


def capable(capability: int) -> bool | None:
    """Whether this process has a capability, by its number in linux/capability.h; None if unknown."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return None if effective is None else bool(int(effective[1], 16) >> capability & 1)
