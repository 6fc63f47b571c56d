# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Sets the clocks of guests that stood still, by their agents. It never fails a run, and hardly delays one."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import save_blockers

# How long a run waits at its end for all agents together. A restored agent takes a moment to be connected again.
_SECONDS = 3.0
_POLL_SECONDS = 0.05


class Clocks:
    """The clocks that this run sets; ``are_set`` are the domains whose agents have done so.

    Agents may never answer, so each is asked in a thread of its own, and over a connection of its own to ``uri``: an
    agent that does not answer blocks other requests of the same connection (libvirt 9.0).
    """

    def __init__(self, libvirt: t.Any, uri: str) -> None:
        self._libvirt = libvirt
        self._uri = uri
        self.are_set: set[str] = set()
        self._threads: list[threading.Thread] = []

    def has_agent(self, domain: t.Any) -> bool:
        """Return whether a guest has an agent that is connected."""
        with contextlib.suppress(self._libvirt.libvirtError):
            return save_blockers.has_agent(str(domain.XMLDesc(0)))
        return False

    def set(self, name: str, domain: t.Any) -> None:
        """Begin to set the clock of the guest ``name`` whose agent was connected before it stood still."""
        self.are_set.discard(name)
        guest = domain.UUIDString(), domain.ID()
        thread = threading.Thread(target=self._set, args=(name, guest, time.monotonic() + _SECONDS), daemon=True)
        thread.start()
        self._threads.append(thread)

    def wait(self) -> None:
        """Give the agents their time."""
        until = time.monotonic() + _SECONDS
        while self._threads:
            self._threads.pop().join(max(0.0, until - time.monotonic()))

    def _set(self, name: str, guest: tuple[str, int], until: float) -> None:
        with contextlib.suppress(self._libvirt.libvirtError), contextlib.closing(self._libvirt.open(self._uri)) as own:
            domain = own.lookupByUUIDString(guest[0])
            if domain.ID() != guest[1]:
                return
            while not save_blockers.has_agent(str(domain.XMLDesc(0))):
                if time.monotonic() > until:
                    return
                time.sleep(_POLL_SECONDS)
            domain.setTime(None, self._libvirt.VIR_DOMAIN_TIME_SYNC)
            self.are_set.add(name)
