# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How often domains are stored while a run stores them, by libvirt's events: more than once is another editor's too.

libvirt has no compare-and-swap. What is stored between the last read and the define is overwritten, and nothing that
is read afterwards shows it; but each define has its event. Other ways of editing have none (attach-device --config,
say), and are not seen.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import typing as t


class Writes:
    """A connection of its own, on which libvirt reports what is stored. Counts nothing where it cannot.

    Not the run's connection: libvirt attends to one that is opened after its event loop was set up with keepalive
    messages, which nothing answers while no loop runs.
    """

    def __init__(self, libvirt: t.Any, handle: t.Any) -> None:
        self._libvirt = libvirt
        self._handle = handle
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    def count(self, uuid: str) -> int:
        """Return how often the domain was stored since this began, with all that has been answered until now.

        libvirt queues the event of a define before its answer, and each connection has its messages in order: the
        answer to a question that is asked after a define comes behind its event.
        """
        with self._lock:
            if self._handle is None:
                return 0
            try:
                self._handle.getLibVersion()
                self._dispatch()
            except self._libvirt.libvirtError:
                # The daemon was restarted: nothing is known of the time until now.
                self._handle = None
                return 0
            return self._counts[uuid]

    def _dispatch(self) -> None:
        # Without a timer that has run out, it waits until something happens.
        timer = self._libvirt.virEventAddTimeout(0, lambda *_of: None, None)
        try:
            self._libvirt.virEventRunDefaultImpl()
        finally:
            self._libvirt.virEventRemoveTimeout(timer)

    def on_event(self, _connection: t.Any, domain: t.Any, event: int, *_more: t.Any) -> None:
        if event == self._libvirt.VIR_DOMAIN_EVENT_DEFINED:
            self._counts[domain.UUIDString()] += 1


@contextlib.contextmanager
def counted(libvirt: t.Any, uri: str) -> t.Iterator[Writes]:
    """Count what is stored over any connection to the libvirt of ``uri``."""
    handle = None
    try:
        libvirt.virEventRegisterDefaultImpl()
        handle = libvirt.openReadOnly(uri)
        writes = Writes(libvirt, handle)
        handle.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, writes.on_event, None)
    except libvirt.libvirtError:
        # This driver has no events, or this user may not read.
        writes = Writes(libvirt, None)
    try:
        yield writes
    finally:
        if handle is not None:
            with contextlib.suppress(libvirt.libvirtError):
                handle.close()
