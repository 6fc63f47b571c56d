# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One run at a time on a host: two that interleave would each undo what the other does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_POLL_SECONDS = 0.05


@contextlib.contextmanager
def held(name: str, *, timeout: float, directory: str = "/run") -> t.Iterator[None]:
    """Hold the host's lock of this ``name``, waiting up to ``timeout`` seconds for another run to end.

    The kernel lets go of it when the process ends, however it ends; the file stays, for taking it away could give two
    runs a lock each.

    :raises MacvtapError: another run holds it still, naming its pid; or the lock cannot be made.
    """
    path = f"{directory}/linuxvirt.macvtap.{name}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise MacvtapError(f"cannot lock {path}: {exc.strerror}. Changing links needs root") from exc
    try:
        _take(file, path, time.monotonic() + timeout)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _take(file: int, path: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() >= deadline:
                pid = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
                raise MacvtapError(
                    f"another run (pid {pid}) is changing links on this host and holds {path}; it has not ended in "
                    "time. Wait for it, or give lock_timeout more seconds",
                    path="lock_timeout",
                ) from exc
            time.sleep(_POLL_SECONDS)
        else:
            return
