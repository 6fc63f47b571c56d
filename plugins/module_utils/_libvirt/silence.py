# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Connections to other hosts that go silent: a network that drops packets lets libvirt and SSH wait for minutes.

libvirt asks the other side whether it is still there only if this process has an event loop. This one runs in a thread
of its own, which excludes writes.py: that runs the loop itself.
"""

from __future__ import annotations

import threading
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# As libvirtd does with its own connections: after the first one without an answer, so many more.
_ASK_SECONDS, _ASK_AGAIN = 5, 5
_AFTER_ERROR_SECONDS = 0.2
# Of any way to connect: SSH on a busy host takes some seconds.
CONNECT_SECONDS = 40.0
_started: list[threading.Thread] = []


def connect(libvirt: t.Any, do: t.Callable[[], t.Any], uri: str, seconds: float) -> t.Any:
    """Connect to another host by ``do``, and return the connection, which ends when that goes silent.

    :raises MacvtapError: it takes longer than ``seconds``.
    :raises libvirt.libvirtError: as ``do``.
    """
    _ensure_events(libvirt)
    found: list[t.Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(do())
        except BaseException as exc:  # pylint: disable=broad-except  # raised below, in the thread that waits
            errors.append(exc)

    # If it is not there in time, nothing waits for it any more: this process may end.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not found:
        raise MacvtapError(
            f"cannot connect to {uri!r}: there was no answer for {seconds:.0f} s. Check that the host is up, and that "
            "the network lets the connection pass",
            path="uri",
        )
    # A driver without a connection of its own has none to keep, and returns 1.
    found[0].setKeepAlive(_ASK_SECONDS, _ASK_AGAIN)
    return found[0]


def _ensure_events(libvirt: t.Any) -> None:
    """Start libvirt's event loop, before the first connection that needs it."""
    if _started:
        return
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            # If it ended, no connection would notice any more that the other side is silent.
            try:
                libvirt.virEventRunDefaultImpl()
            except Exception:  # pylint: disable=broad-except  # in a thread it would be a traceback
                time.sleep(_AFTER_ERROR_SECONDS)

    _started.append(threading.Thread(target=run, daemon=True))
    _started[0].start()
