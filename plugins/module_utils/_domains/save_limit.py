# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Aborts the save of a guest that takes longer than promised: libvirt then lets the guest go on."""

from __future__ import annotations

import contextlib
import threading
import typing as t

# VIR_DOMAIN_JOB_OPERATION_SAVE of libvirt-domain.h.
_SAVE = 2
_POLL_SECONDS = 0.1


class Limit:
    """``reached`` is whether the save was aborted."""

    def __init__(self) -> None:
        self.reached = False


@contextlib.contextmanager
def limited(libvirt: t.Any, domain: t.Any, seconds: float | None) -> t.Iterator[Limit]:
    """Abort the save of ``domain`` that the block waits for, if it takes longer than ``seconds`` (None: never).

    libvirt waits for the disk at the end of a save, and that cannot be aborted.
    """
    limit, ended = Limit(), threading.Event()

    def watch() -> None:
        if ended.wait(seconds):
            return
        while not ended.is_set():
            # Not another job, which the save waits for.
            with contextlib.suppress(libvirt.libvirtError):
                if domain.jobStats().get("operation") == _SAVE and not ended.is_set():
                    limit.reached = True
                    domain.abortJob()
            ended.wait(_POLL_SECONDS)

    if seconds is None:
        yield limit
        return
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield limit
    finally:
        ended.set()
        thread.join(_POLL_SECONDS * 10)
