# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Run a function in a child process, which may change its own namespaces."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
# PROC_USER_INIT_INO of include/linux/proc_ns.h: the initial user namespace.
_MACHINE = "user:[4026531837]"


def run(work: t.Callable[[], t.Any]) -> t.Any:
    """Run ``work`` in a child process and return its result by way of JSON, or None if it fails there.

    The child's namespaces disappear when it ends.
    """
    # Imported here, like ctypes below: most runs need no child.
    import json

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(reading)
            os.write(writing, json.dumps(work()).encode())
            status = 0
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return json.loads(result) if result else None


def unshare(flags: int) -> None:
    """Move this process into new namespaces (os.unshare requires Python 3.12)."""
    check(libc().unshare(flags))


@functools.cache
def is_in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the machine's: its root may do little outside of that.

    The map of its users does not tell: another namespace may have the whole of it, too. Unknown counts as another.
    """
    try:
        return os.readlink("/proc/self/ns/user") != _MACHINE
    except FileNotFoundError:
        # A kernel without user namespaces (CONFIG_USER_NS) shows other namespaces there.
        return not os.path.lexists("/proc/self/ns/mnt")
    except OSError:
        return True


@functools.cache
def libc() -> t.Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    """Raise the libc error if a call failed."""
    if result != 0:
        import ctypes

        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
