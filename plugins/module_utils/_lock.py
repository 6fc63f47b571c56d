# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One run at a time on a host: two that interleave would each undo what the other does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_POLL_SECONDS = 0.05


def directory() -> str:
    """Return where this user's runs find each other's locks and notes, until the next boot; root's is /run.

    :raises MacvtapError: there is no such place that is this user's alone.
    """
    if os.geteuid() == 0:
        return "/run"
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if not os.access(own, os.W_OK | os.X_OK):
        own = f"/tmp/linuxvirt.macvtap-{os.geteuid()}"  # noqa: S108  # looked at below: it may be another user's
        with contextlib.suppress(FileExistsError):
            os.mkdir(own, 0o700)
    found = os.lstat(own)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise MacvtapError(f"{own} is not this user's, so that no lock can be there. Remove it")
    return own


@contextlib.contextmanager
def held(
    name: str,
    *,
    timeout: float,
    directory: str = "/run",
    doing: str = "changing links",
    option: str = "lock_timeout",
) -> t.Iterator[None]:
    """Hold the host's lock of this ``name``, waiting up to ``timeout`` seconds for another run to end.

    The errors say by ``doing`` what it is held for, and have the path of the ``option`` that is at fault, where the
    user cannot say how long to wait.

    The kernel lets go of it when the process ends, however it ends; the file stays, for taking it away could give two
    runs a lock each.

    :raises MacvtapError: another run holds it still, naming its pid; or the lock cannot be made.
    """
    path = f"{directory}/linuxvirt.macvtap.{name}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        said = f"cannot lock {path}: {exc.strerror}. {doing.capitalize()} needs root"
        raise MacvtapError(said, path="" if option == "lock_timeout" else option) from exc
    try:
        try:
            _take(file, time.monotonic() + timeout)
        except BlockingIOError as exc:
            by_user = option == "lock_timeout"
            remedy = "Wait for it, or give lock_timeout more seconds" if by_user else "Run again when it has"
            pid = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            raise MacvtapError(
                f"another run (pid {pid}) is {doing} on this host and holds {path}; it has not ended in time. {remedy}",
                path=option,
            ) from exc
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _take(file: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return
