# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Work in a child process, for what would change this one: the namespaces that it is in."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000


def run(work: t.Callable[[], t.Any]) -> t.Any:
    """Return what ``work`` returns in a child process, as far as JSON can say it; None if it fails there.

    The child's namespaces go when it ends.
    """
    # Here and not above, like ctypes below: most runs need no child.
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
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else None


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (os.unshare is there from Python 3.12 on only)."""
    check(libc().unshare(flags))


@functools.cache
def libc() -> t.Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    """Raise what libc says it failed with."""
    if result != 0:
        import ctypes

        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
