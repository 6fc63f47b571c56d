# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Lets libvirt move a guest, and watches it meanwhile: libvirt's call returns only at the end.

The source's daemon speaks with the destination's itself (peer to peer). So a run that is killed leaves a migration that
libvirt completes or undoes by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    ABORT,
    COPY,
    INCREMENTAL,
    POST_COPY,
    SUSPEND,
    TLS,
    TUNNEL,
    Desired,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import deferred, is_pending

_POLL_SECONDS = 0.05


class Sent(t.NamedTuple):
    """What is sent to the destination: the XML of the guest, and what is stored there (None: nothing)."""

    live: str
    stored: str | None
    uri: str


class Ended(t.NamedTuple):
    """How a transfer has ended: libvirt's error, None if the guest has moved, and why this run has aborted it.

    ``is_under_way`` is whether libvirt has not ended it, and this run no longer waits for that.
    """

    error: t.Any
    aborted: str = ""
    is_under_way: bool = False


def flags_of(libvirt: t.Any, desired: Desired, *, running: bool, stored: bool) -> int:
    """Return libvirt's flags for a migration. ``stored`` is whether the destination stores the domain."""
    names = ["PEER2PEER", "UNDEFINE_SOURCE"]
    names += ["PERSIST_DEST"] if stored else []
    if not running:
        names.append("OFFLINE")
    else:
        names += ["LIVE"] if desired.live else []
        names += {TUNNEL: ["TUNNELLED"], TLS: ["TLS"]}.get(desired.transport, [])
        names += ["POSTCOPY"] if desired.on_timeout == POST_COPY else []
        names += {COPY: ["NON_SHARED_DISK"], INCREMENTAL: ["NON_SHARED_INC"]}.get(desired.storage, [])
    return sum(int(getattr(libvirt, f"VIR_MIGRATE_{name}")) for name in names)


def parameters_of(libvirt: t.Any, desired: Desired, sent: Sent) -> dict[str, t.Any]:
    """Return libvirt's parameters for a migration."""
    found: dict[str, t.Any] = {libvirt.VIR_MIGRATE_PARAM_DEST_XML: sent.live}
    if sent.stored is not None:
        found[libvirt.VIR_MIGRATE_PARAM_PERSIST_XML] = sent.stored
    if desired.bandwidth is not None:
        found[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = desired.bandwidth
    return found


def transfer(  # noqa: PLR0913  # what is moved, how, and what is asked meanwhile
    libvirt: t.Any,
    domain: t.Any,
    desired: Desired,
    sent: Sent,
    *,
    running: bool,
    answers: t.Callable[[], bool] = lambda: True,
) -> Ended:
    """Move the guest of a libvirt ``domain``, and return how that has ended. A signal aborts it.

    ``answers`` is whether the destination still does. If not, libvirt notices as well, and cancels the migration. But
    QEMU's own connection may hold that up until TCP gives up, a quarter of an hour later, and libvirt waits for QEMU
    (seen with 9.0 and 7.2). So this does not wait for it. Signals are raised only afterwards.
    """
    errors: list[BaseException] = []
    flags = flags_of(libvirt, desired, running=running, stored=sent.stored is not None)

    def migrate() -> None:
        try:
            domain.migrateToURI3(sent.uri, parameters_of(libvirt, desired, sent), flags)
        except BaseException as exc:  # pylint: disable=broad-except  # or it would count as one that has moved
            errors.append(exc)

    # A daemon thread: nothing of ours waits for it if this process has to end.
    thread = threading.Thread(target=migrate, daemon=True)
    watch = _Watch(libvirt, domain, desired)
    with deferred():
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if running and thread.is_alive():
                watch.look()
            if thread.is_alive() and not answers() and thread.is_alive():
                return Ended(None, "the destination no longer answers", is_under_way=True)
    if errors and not isinstance(errors[0], libvirt.libvirtError):
        raise errors[0]
    return Ended(errors[0] if errors else None, watch.aborted)


class _Watch:
    """What is done while a guest is on its way."""

    def __init__(self, libvirt: t.Any, domain: t.Any, desired: Desired) -> None:
        self._libvirt = libvirt
        self._domain = domain
        self._desired = desired
        self._began = time.monotonic()
        self._downtime_set = desired.downtime is None
        self._late = False
        self.aborted = ""

    def look(self) -> None:
        """Set what libvirt only takes during a migration, and act on a signal or the timeout."""
        if self.aborted:
            return
        if not self._downtime_set:
            # There is no migration yet at first.
            with contextlib.suppress(self._libvirt.libvirtError):
                self._domain.migrateSetMaxDowntime(self._desired.downtime, 0)
                self._downtime_set = True
        if is_pending():
            self._abort("a signal has stopped this run")
        seconds = self._desired.timeout
        if seconds and not self._late and time.monotonic() - self._began > seconds:
            self._act()

    def _act(self) -> None:
        """Do what is to be done after the timeout."""
        way = self._desired.on_timeout
        if way == ABORT:
            self._abort(f"it took longer than the timeout of {self._desired.timeout} s")
            return
        with contextlib.suppress(self._libvirt.libvirtError):
            if way == SUSPEND:
                # libvirt lets it go on at the destination.
                self._domain.suspend()
            else:
                self._domain.migrateStartPostCopy(0)
            self._late = True

    def _abort(self, why: str) -> None:
        with contextlib.suppress(self._libvirt.libvirtError):
            self._domain.abortJob()
            self.aborted = why
