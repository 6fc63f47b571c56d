# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the processes that hold a tap open."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device, Holder, Holders, Links

# PID_NS_INIT_INO of include/uapi/linux/nsfs.h: the initial PID namespace, which has every process of the machine.
_WHOLE = "pid:[4026531836]"
_CAP_SYS_PTRACE = 19
_NOT_ROOT = "some processes cannot be inspected; run the task as root (become: true), with CAP_SYS_PTRACE"
_CONTAINED = (
    "this process runs in its own PID namespace, as in a container, and a process outside may hold the tap. Run the "
    "task outside, or mount the host's /proc in the container, for example at /run/host/proc"
)
_HIDDEN = "/proc is mounted with hidepid, and this process lacks CAP_SYS_PTRACE"
_NO_NUMBER = (
    "the device number of its tap is unknown: no sysfs of its network namespace could be mounted, and /sys is missing "
    "or belongs to another namespace"
)


def of(links: Links) -> dict[str, Holders]:
    """Return the holders of the taps of ``links``, by the links' keys."""
    devices = {key: link.tap and link.tap.device for key, link in links.items() if link.kind == "macvtap"}
    held, doubt = survey({device for device in devices.values() if device})
    return {
        key: Holders(tuple(held.get(device, ())), doubt) if device else Holders(doubt=_NO_NUMBER)
        for key, device in devices.items()
    }


def search(devices: t.Collection[Device]) -> tuple[dict[Device, list[Holder]], bool]:
    """As :func:`survey`, with whether the list is complete."""
    held, doubt = survey(devices)
    return held, not doubt


def survey(devices: t.Collection[Device]) -> tuple[dict[Device, list[Holder]], str]:
    """Return the processes that hold each of ``devices`` open, and why there may be more ("": complete)."""
    held: dict[Device, list[Holder]] = {}
    desired = set(devices)
    if not desired:
        return held, ""
    proc, doubt = _process_table()
    try:
        directories = [f"{proc}/{name}" for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return held, f"{proc} cannot be read"
    for directory in directories:
        try:
            found = _open_devices(directory) & desired
        except PermissionError:
            # Init holds no tap, and some systems let no one inspect it.
            if directory != f"{proc}/1":
                doubt = doubt or _NOT_ROOT
            continue
        for device in found:
            held.setdefault(device, []).append(_holder(directory))
    return held, doubt


def _process_table() -> tuple[str, str]:
    """Return the mount point of a procfs, and why processes may be missing in it ("": none are)."""
    mounts = _mounted_tables()
    for proc in ("/proc", *(path for path in mounts if path != "/proc")):
        if any(_pid_namespace(f"{proc}/{process}") == _WHOLE for process in ("self", "1", "2")):
            return proc, _HIDDEN if _hides(mounts.get(proc, "")) else ""
    return "/proc", _CONTAINED


def _pid_namespace(directory: str) -> str:
    # Only the procfs of the initial namespace shows its processes; there, PID 2 is a kernel thread.
    try:
        return os.readlink(f"{directory}/ns/pid")
    except OSError:
        return ""


def _mounted_tables() -> dict[str, str]:
    """Return the mount options of every complete procfs, by mount point."""
    found = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in lines:
        words, _dash, rest = line.partition(" - ")
        fields, filesystem = words.split(), rest.split()
        if filesystem and filesystem[0] == "proc" and fields[3] == "/":
            found[fields[4].replace("\\040", " ")] = filesystem[2]
    return found


def _hides(options: str) -> bool:
    values = dict(option.partition("=")[::2] for option in options.split(","))
    return values.get("hidepid", "0") not in ("0", "off") and not capable(_CAP_SYS_PTRACE)


def capable(capability: int) -> bool | None:
    """Whether this process has a capability, by its number in linux/capability.h; None if unknown."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return None if effective is None else bool(int(effective[1], 16) >> capability & 1)


def _open_devices(directory: str) -> set[Device]:
    """Raises PermissionError if this user may not inspect the process."""
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
        except PermissionError:
            raise
        except OSError:
            continue
        if stat.S_ISCHR(found.st_mode):
            devices.add((os.major(found.st_rdev), os.minor(found.st_rdev)))
    return devices


def _holder(directory: str) -> Holder:
    pid = _pid(directory)
    try:
        with open(f"{directory}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        words = [""]
    return Holder(pid, os.path.basename(words[0]), _domain(words))


def _pid(directory: str) -> int:
    """Return the PID in our PID namespace, or the one in the procfs if the process is not in ours."""
    number = os.path.basename(directory)
    if os.path.dirname(directory) == "/proc" or _pid_namespace(directory) != _pid_namespace("/proc/self"):
        return int(number)
    try:
        with open(f"{directory}/status", encoding="utf-8", errors="replace") as file:
            numbers = re.search(r"^NSpid:(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return int(number)
    return int(numbers[1].split()[-1]) if numbers else int(number)


def _domain(words: t.Sequence[str]) -> str | None:
    # libvirt starts every QEMU with "-name guest=NAME,…"; a comma in the name is doubled.
    for option, value in zip(words, words[1:]):
        match = re.match(r"guest=((?:[^,]|,,)+)", value) if option == "-name" else None
        if match:
            return match[1].replace(",,", ",")
    return None
