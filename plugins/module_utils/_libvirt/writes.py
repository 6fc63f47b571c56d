# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Counts by libvirt's events how often domains or networks are defined, and notices what else happens to them.

libvirt has no compare-and-swap. A define between a run's last read and its own define is lost, and no later read shows
that. But each define has an event. Other edits have none, such as attach-device --config or net-update, and go
unnoticed.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_T = t.TypeVar("_T")


class OverwrittenError(MacvtapError):
    """Another editor has stored the same thing at the same moment, and what it has stored may be lost."""

    def __init__(self, what: str, *, path: str) -> None:
        super().__init__(f"{what} was changed by another editor at the moment when this run stored it", path=path)


class Writes:
    """A separate connection on which libvirt reports defines. Without events it counts nothing.

    Not the run's own connection: one that is opened after libvirt's event loop was registered has keepalive messages,
    and nothing answers these while the loop does not run.
    """

    def __init__(self, libvirt: t.Any, handle: t.Any) -> None:
        self._libvirt = libvirt
        self._handle = handle
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._others: set[str] = set()

    def count(self, uuid: str) -> int:
        """Return how often the domain or network was defined since this began.

        libvirt queues the event of a define before its reply, and each connection gets its messages in order. So a
        reply to a later call arrives after the event.
        """
        with self._lock:
            if self._handle is None:
                return 0
            try:
                self._handle.getLibVersion()
                self._dispatch()
            except self._libvirt.libvirtError:
                # The daemon was restarted, so events may be missing.
                self._handle = None
                return 0
            return self._counts[uuid]

    def define(
        self,
        uuid: str,
        since: int,
        request: t.Callable[[], _T],
        overwritten: t.Callable[[], None],
        error: OverwrittenError,
    ) -> _T:
        """Store a domain or network by ``request``, and return its result; ``since`` is its count right before that.

        If others have stored it as well since, ``overwritten`` is called. No signal comes in between: the rollback has
        to know, and without one the user.

        :raises OverwrittenError: the ``error``, if others have stored it as well since.
        """
        with _signals.deferred():
            result = request()
            if self.count(uuid) - since > 1:
                overwritten()
                raise error
        return result

    def may_differ(self, uuid: str) -> bool:
        """Whether it was undefined, renamed, started or stopped before the last count, or may have been."""
        with self._lock:
            return self._handle is None or uuid in self._others

    def _dispatch(self) -> None:
        # Without an expired timer it would block until the next event.
        timer = self._libvirt.virEventAddTimeout(0, lambda *_of: None, None)
        try:
            self._libvirt.virEventRunDefaultImpl()
        finally:
            self._libvirt.virEventRemoveTimeout(timer)

    def on_event(self, _connection: t.Any, target: t.Any, event: int, *_more: t.Any) -> None:
        # The events of domains and networks have the same numbers: virDomainEventType, virNetworkEventLifecycleType.
        if event == self._libvirt.VIR_DOMAIN_EVENT_DEFINED:
            self._counts[target.UUIDString()] += 1
        else:
            self._others.add(target.UUIDString())


@contextlib.contextmanager
def counted(libvirt: t.Any, uri: str, *, networks: bool = False) -> t.Iterator[Writes]:
    """Count the defines of domains, or of ``networks``, over any connection to the libvirt at ``uri``."""
    handle = None
    try:
        libvirt.virEventRegisterDefaultImpl()
        handle = libvirt.openReadOnly(uri)
        writes = Writes(libvirt, handle)
        if networks:
            handle.networkEventRegisterAny(None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, writes.on_event, None)
        else:
            handle.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, writes.on_event, None)
    except libvirt.libvirtError:
        # The driver has no events, or this user may not connect.
        writes = Writes(libvirt, None)
    try:
        yield writes
    finally:
        if handle is not None:
            with contextlib.suppress(libvirt.libvirtError):
                handle.close()
