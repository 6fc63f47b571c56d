# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which processes hold a tap open."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device, Held, Holder, Links

# PID_NS_INIT_INO of include/uapi/linux/nsfs.h: the PID namespace in which every process of the machine is.
_WHOLE = "pid:[4026531836]"
_CAP_SYS_PTRACE = 19
_NOT_ROOT = (
    "there are processes that this one may not look into; run this as root (become: true), and with CAP_SYS_PTRACE"
)
_CONTAINED = (
    "this runs in a PID namespace of its own, as in a container, and processes outside it may hold a tap as well. Run "
    "it outside, or mount the host's /proc in here too, at /run/host/proc for one"
)
_HIDDEN = "/proc is mounted with hidepid, and this process lacks CAP_SYS_PTRACE"
_NO_NUMBER = (
    "nobody tells the device number of its tap: a sysfs of its network namespace could not be mounted, and /sys is not "
    "there or that of another one"
)


def of(links: Links) -> dict[str, Held]:
    """Return who holds the tap of each of ``links`` that has one, by the links' keys."""
    devices = {key: link.tap.device for key, link in links.items() if link.tap}
    held, doubt = survey({device for device in devices.values() if device})
    return {
        key: Held(tuple(held.get(device, ())), doubt) if device else Held(doubt=_NO_NUMBER)
        for key, device in devices.items()
    }


def search(devices: t.Collection[Device]) -> tuple[dict[Device, list[Holder]], bool]:
    """As :func:`survey`, and whether all who hold them were seen."""
    held, doubt = survey(devices)
    return held, not doubt


def survey(devices: t.Collection[Device]) -> tuple[dict[Device, list[Holder]], str]:
    """Return the processes that hold each of ``devices`` open, and why there may be others, "" where there are none."""
    held: dict[Device, list[Holder]] = {}
    wanted = set(devices)
    if not wanted:
        return held, ""
    proc, doubt = _process_table()
    try:
        directories = [f"{proc}/{name}" for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return held, f"{proc} cannot be read"
    for directory in directories:
        try:
            found = _open_devices(directory) & wanted
        except PermissionError:
            # Init has no use for a tap, and is what some systems let nobody look into.
            if directory != f"{proc}/1":
                doubt = doubt or _NOT_ROOT
            continue
        for device in found:
            held.setdefault(device, []).append(_holder(directory))
    return held, doubt


def _process_table() -> tuple[str, str]:
    """Return where a process table is mounted, and why processes may be missing in it, "" where none are."""
    mounts = _mounted_tables()
    for proc in ("/proc", *(path for path in mounts if path != "/proc")):
        if any(_pid_namespace(f"{proc}/{process}") == _WHOLE for process in ("self", "1", "2")):
            return proc, _HIDDEN if _hides(mounts.get(proc, "")) else ""
    return "/proc", _CONTAINED


def _pid_namespace(directory: str) -> str:
    # Who is in the outermost one is shown by that one's table alone; there 2 is a thread of the kernel.
    try:
        return os.readlink(f"{directory}/ns/pid")
    except OSError:
        return ""


def _mounted_tables() -> dict[str, str]:
    """Return the options of every procfs that is mounted as a whole, by its mount point."""
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
    said = dict(option.partition("=")[::2] for option in options.split(","))
    return said.get("hidepid", "0") not in ("0", "off") and not capable(_CAP_SYS_PTRACE)


def capable(capability: int) -> bool | None:
    """Whether this process has a capability, by its number in linux/capability.h; None if that is not known."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return None if effective is None else bool(int(effective[1], 16) >> capability & 1)


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
    """Return the process's number as it is in our PID namespace, the table's own where the process is not in ours."""
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
