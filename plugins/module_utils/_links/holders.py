# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the processes that hold a tap open.

A process may still have the tap of a link open that is gone. The kernel gives its device number to the next link, so
the number alone does not tell. Such a descriptor is left without a link for ever, and TUNGETIFF shows that. The inode
of /dev/tapN would not: a node may be replaced, or be another one in a container.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _mountinfo, _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import process_table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    WHY_NO_NUMBER,
    Device,
    Holder,
    Holders,
    Links,
)

# A system call since Linux 5.6, with the same number on all architectures that libvirt runs guests on.
_SYS_PIDFD_GETFD = 438
# _IOR('T', 210, unsigned int) of linux/if_tun.h. Some architectures encode a direction in other bits.
_TUNGETIFF = 0x400454D2 if os.uname().machine.startswith(("ppc", "mips", "sparc")) else 0x800454D2
_IFREQ_SIZE = 40
# What the kernel shows of a descriptor that is no file's (d_dname()).
_NAMELESS = ("anon_inode:", "pipe:[", "socket:[")
# A process that ends while it is looked at is gone at the next look. A new one may have its number.
_ATTEMPTS = 3
# Of one that has begun to end, the kernel shows descriptors until its memory is taken apart, and gives a copy of none.
# How often to look again for the end, and after how many seconds each.
_ENDING, _PAUSE = 50, 0.01
_NOT_ROOT = "some processes cannot be inspected; run the task as root (become: true), with CAP_SYS_PTRACE"
_OTHER_USERS = (
    "this process runs in a user namespace, as in a rootless container, and may not inspect processes outside. Run the "
    "task outside, as root"
)


def of(links: Links) -> dict[str, Holders]:
    """Return the holders of the taps of ``links``, by the links' keys."""
    devices = {key: link.tap and link.tap.device for key, link in links.items() if link.kind == "macvtap"}
    held, doubt = survey({device for device in devices.values() if device})
    return {
        key: Holders(tuple(held.get(device, ())), doubt) if device else Holders(doubt=WHY_NO_NUMBER)
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
    proc, doubt = process_table.find()
    try:
        directories = [f"{proc}/{name}" for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return held, f"{proc} cannot be read"
    # Of a process that has another number here, descriptors cannot be looked at: they count.
    is_same_number = process_table.namespace(f"{proc}/self") == process_table.WHOLE
    for directory in directories:
        found = _settled(directory, desired, look=is_same_number)
        if found is None:
            # Init holds no tap, and some systems let no one inspect it.
            if directory != f"{proc}/1":
                doubt = doubt or (_OTHER_USERS if _child.is_in_user_namespace() else _NOT_ROOT)
            continue
        for device in found:
            held.setdefault(device, []).append(_holder(directory))
    return held, doubt


def _settled(directory: str, desired: t.Collection[Device], *, look: bool) -> set[Device] | None:
    """As :func:`_inspect`, of a process that does not end. What one shows that ends is over right away.

    One whose first thread alone has ended looks the same, and is waited for in vain.
    """
    found = _inspect(directory, desired, look=look)
    for _attempt in range(_ENDING):
        if not found or _command(directory)[0]:
            break
        time.sleep(_PAUSE)
        found = _inspect(directory, desired, look=look)
    return found


def _inspect(directory: str, desired: t.Collection[Device], *, look: bool) -> set[Device] | None:
    """As :func:`_open_devices`; None if this user may not inspect the process."""
    for _attempt in range(_ATTEMPTS):
        with contextlib.suppress(PermissionError):
            return _open_devices(directory, desired, look=look)
    return None


def _open_devices(directory: str, desired: t.Collection[Device], *, look: bool) -> set[Device]:
    """Return which of the ``desired`` devices a process has open; ``look`` is whether to look at the descriptors.

    :raises PermissionError: this user may not inspect the process, or it ends at this moment: for root, too, the kernel
        forbids a look at a descriptor of what is gone (proc_fd_access_allowed()). Or its threads follow each other.
    """
    devices, complete = _open_of(directory, desired, look=look)
    # What still shows some has but closed one.
    if complete or _descriptors(directory):
        return devices
    # The first thread has ended, maybe while it was looked at, and shows no descriptors. Others may go on with them.
    seen: set[str] = set()
    for _attempt in range(_ATTEMPTS):
        threads = _threads(directory) - seen
        if not threads:
            return devices
        for thread in threads:
            devices |= _open_of(f"{directory}/task/{thread}", desired, look=False)[0]
        # One that has ended may have started another.
        seen |= threads
    raise PermissionError(errno.EACCES, "threads come and go too fast", directory)


def _descriptors(directory: str) -> list[str]:
    try:
        return os.listdir(f"{directory}/fd")
    except (FileNotFoundError, ProcessLookupError):  # the process has ended
        return []


def _threads(directory: str) -> set[str]:
    try:
        return set(os.listdir(f"{directory}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _open_of(directory: str, desired: t.Collection[Device], *, look: bool) -> tuple[set[Device], bool]:
    """Return which of the ``desired`` devices a thread has open, and whether it has shown all its descriptors."""
    devices: set[Device] = set()
    descriptors = _descriptors(directory)
    complete = bool(descriptors)
    for descriptor in descriptors:
        try:
            path = f"{directory}/fd/{descriptor}"
            if _is_nameless(path):
                continue
            found = os.stat(path)
            device = (os.major(found.st_rdev), os.minor(found.st_rdev))
            if not stat.S_ISCHR(found.st_mode) or device not in desired or device in devices:
                continue
            if not (look and _is_left_over(int(os.path.basename(directory)), int(descriptor), found.st_rdev)):
                devices.add(device)
        except PermissionError:
            if not _is_on_fuse(directory, descriptor):
                raise
        except (FileNotFoundError, ProcessLookupError):  # closed meanwhile, or the thread has ended
            complete = False
        except OSError:
            continue
    return devices, complete


def _is_nameless(path: str) -> bool:
    """Whether a descriptor is of what has no name in a file system, and so of no tap.

    Only a look at the file itself asks SELinux. Debian's policy lets not even root look at the io_uring of a QEMU, and
    each such look is one line of the log.
    """
    try:
        return os.readlink(path).startswith(_NAMELESS)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        raise
    except OSError:  # a path that is too long
        return False


def _is_on_fuse(directory: str, descriptor: str) -> bool:
    """Whether a descriptor is of a file on a FUSE mount without devices; False if that is not known.

    Such a mount shows its files to the user alone who has mounted it, not to root (fuse_allow_current_process()).
    """
    try:
        with open(f"{directory}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as file:
            mount = re.search(r"^mnt_id:\s*(\d+)$", file.read(), re.MULTILINE)
        mounts = _mountinfo.read(f"{directory}/mountinfo")
    except OSError:
        return False
    found = next((one for one in mounts if mount and one.number == mount[1]), None)
    return found is not None and "nodev" in found.options and found.kind.startswith("fuse")


def _is_left_over(process: int, descriptor: int, device: int) -> bool:
    """Whether a descriptor is that of a tap whose link is gone, or of another file by now; False if that is not known.

    :raises FileNotFoundError, ProcessLookupError: it is closed by now, or the first thread has ended.
    :raises PermissionError: as :func:`_open_devices`.
    """
    with contextlib.ExitStack() as opened, contextlib.suppress(OSError, AttributeError):
        pidfd = os.pidfd_open(process)
        opened.callback(os.close, pidfd)
        copy = _child.libc().syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
        if copy >= 0:
            opened.callback(os.close, copy)
            if os.fstat(copy).st_rdev != device:
                return True
            try:
                fcntl.ioctl(copy, _TUNGETIFF, bytes(_IFREQ_SIZE))
            except OSError as exc:
                return exc.errno == errno.ENOLINK
            return False
    # Such a process often ends, and closes it, right now.
    try:
        return os.stat(f"/proc/{process}/fd/{descriptor}").st_rdev != device
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        raise
    except OSError:
        return False


def _holder(directory: str) -> Holder:
    words = _command(directory)
    return Holder(_pid(directory), os.path.basename(words[0]) or _name(directory), _domain(words))


def _command(directory: str) -> list[str]:
    """Return the words of a process's command line; one empty word if its first thread has ended."""
    try:
        with open(f"{directory}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def _name(directory: str) -> str:
    try:
        with open(f"{directory}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _pid(directory: str) -> int:
    """Return the PID in our PID namespace, or the one in the procfs if the process is not in ours."""
    number = os.path.basename(directory)
    if os.path.dirname(directory) == "/proc" or process_table.namespace(directory) != process_table.namespace(
        "/proc/self"
    ):
        return int(number)
    try:
        with open(f"{directory}/status", encoding="utf-8", errors="replace") as file:
            numbers = re.search(r"^NSpid:(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return int(number)
    inner = _text.number((numbers[1].split() or [""])[-1]) if numbers else None
    return int(number) if inner is None else inner


def _domain(words: t.Sequence[str]) -> str | None:
    # libvirt starts every QEMU with "-name guest=NAME,…"; a comma in the name is doubled.
    for option, value in zip(words, words[1:]):
        match = re.match(r"guest=((?:[^,]|,,)+)", value) if option == "-name" else None
        if match:
            return match[1].replace(",,", ",")
    return None
