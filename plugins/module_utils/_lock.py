# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One run at a time on a host: two concurrent runs would undo each other's changes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._files import root_may

_POLL_SECONDS = 0.05
OF_THE_HOST = "/run"


def directory() -> str:
    """Return the directory in which this user's runs share locks and notes until the next boot; /run for root.

    :raises MacvtapError: no such directory belongs to this user alone.
    """
    if os.geteuid() == 0:
        return OF_THE_HOST
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if not os.access(own, os.W_OK | os.X_OK):
        own = f"/tmp/linuxvirt.macvtap-{os.geteuid()}"  # noqa: S108  # its owner is checked below
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(own, 0o700)
        except OSError as exc:
            raise MacvtapError(f"{own}, which is to hold locks, cannot be created: {exc.strerror}") from exc
    status = os.lstat(own)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise MacvtapError(f"{own} is not a directory of this user, so it cannot hold locks. Remove it")
    return own


@contextlib.contextmanager
def held(
    name: str,
    *,
    timeout: float,
    directory: str = OF_THE_HOST,
    doing: str = "changing links",
    option: str = "lock_timeout",
) -> t.Iterator[None]:
    """Hold the host's lock ``name``; wait up to ``timeout`` seconds for another run to finish.

    ``doing`` describes the locked work in error messages. ``option`` is the error's path; it is not ``lock_timeout``
    where the user cannot set how long to wait.

    The kernel releases the lock when the process ends, however it ends. The file stays: removing it could give two
    runs a lock each.

    :raises MacvtapError: another run still holds the lock (the message has its pid), or it cannot be created.
    """
    path = f"{directory}/linuxvirt.macvtap.{name}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise _cannot_lock(path, exc, doing, option) from exc
    try:
        try:
            _acquire(file, time.monotonic() + timeout)
        except BlockingIOError as exc:
            by_user = option == "lock_timeout"
            hint = "Wait for it to finish, or increase lock_timeout" if by_user else "Run again when it has finished"
            pid = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            raise MacvtapError(
                f"another run (pid {pid}) is {doing} on this host and holds {path}; it did not finish in time. {hint}",
                path=option,
            ) from exc
        except OSError as exc:
            raise _cannot_lock(path, exc, doing, option) from exc
        # On a full file system the lock is without the pid, and another run names none.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _cannot_lock(path: str, exc: OSError, doing: str, option: str) -> MacvtapError:
    hint = f". {doing.capitalize()} requires root" if root_may(exc) else ""
    return MacvtapError(f"cannot lock {path}: {exc.strerror}{hint}", path="" if option == "lock_timeout" else option)


def _acquire(file: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return
