# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The collection's own keeper, which outlives a run. Here it works on the model, without processes of its own."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import typing as t
from unittest import mock

from torture import fake_libvirt
from torture.guests import OTHERS, Guest
from torture.nics import Document, Nic
from torture.scene import Killed
from torture.stage import Stage
from torture.world import World

_IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
_PROCESSES = ("supervisor", "worker")
_DOMAINS = "ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains"
_KEEPER = _DOMAINS.replace("_domains", "_keeper")


class _BusyError(Exception):
    """A lock is held, for which the real keeper would wait."""


class _EndedError(BaseException):
    """The keeper's worker was killed."""


class Owner:
    """The keeper of one host, whose files are in a directory of its own; a code without one does without.

    Its two processes start each other again. Under ``systemd`` they are a unit, which ends with the supervisor, and is
    started again.
    """

    def __init__(self, stage: Stage, *, systemd: bool = False) -> None:
        self._stage = stage
        self._systemd = systemd
        self._processes: set[str] = set()
        # None of its processes is left, as the next run will detect.
        self.gone = False
        self._temporary = tempfile.TemporaryDirectory(prefix="torture-", dir=_IN_MEMORY)
        self.directory = os.path.join(self._temporary.name, "linuxvirt.macvtap")
        self._looking = False
        try:
            parts: tuple[t.Any, ...] = tuple(
                importlib.import_module(f"{_KEEPER}.{name}") for name in ("guest", "links", "records", "paused")
            )
            self._guest, self._links, self._records, self._paused = parts
            self._pending: t.Any = importlib.import_module(f"{_DOMAINS}.pending")
        except ImportError:
            self._records = self._pending = None
        self._libvirt = fake_libvirt.module(_Unwatched(stage, self))

    def close(self) -> None:
        self._temporary.cleanup()

    def __call__(self) -> None:
        """Check every domain twice, like the keeper does within a second."""
        if self._looking:
            return
        self._looking = True
        try:
            with self.seams():
                for _time in range(2):
                    self._start_again()
                    with contextlib.suppress(_EndedError):
                        self._look()
        finally:
            self._looking = False

    def _look(self) -> None:
        if "worker" not in self._processes:
            return
        for uuid in self._records.uuids(self.directory):
            # Like the keeper itself: after any error, the next check may succeed.
            with contextlib.suppress(Exception):
                self._guest.look(self._libvirt, self._libvirt.open(""), self.directory, uuid)
        if not self._records.uuids(self.directory):
            self._processes = set()

    def _start_again(self) -> None:
        """Restart killed processes, like the remaining ones do."""
        if self._processes or (self._systemd and self.gone):
            self._start()

    def kill(self, which: str) -> None:
        """Kill one of the processes, or both."""
        if not self._processes:
            return
        self._processes -= {which} if which != "both" else set(_PROCESSES)
        if self._systemd and "supervisor" not in self._processes:
            self._processes = set()
        self.gone = not self._processes

    def check(self) -> None:
        if "worker" not in self._processes:
            raise _EndedError

    @contextlib.contextmanager
    def seams(self) -> t.Iterator[None]:
        """Connect the keeper, and the records that a run writes for it, to the model at every seam to the host."""
        if self._records is None:
            yield
            return
        save = self._records.save
        with contextlib.ExitStack() as stack:
            for target, name, value in (
                (self._records, "running", lambda _directory: 1 if self._processes else None),
                (self._records, "locked", self._locked),
                (self._links, "ifindex", self._ifindex),
                (self._paused, "is_host_stopping", lambda: False),
                # A call of a killed run is carried out before it is killed, or never.
                (self._guest, "_SECONDS", -1.0),
                (self._records, "save", lambda *of: self._write(lambda: save(*of))),
                (self._pending.Requests, "_install", lambda _self: []),
                (self._pending.Requests, "_start", lambda _self, _command: self._write(self._start)),
                (self._pending, "directory", lambda: self.directory),
                (self._pending, "_OF_ROOT", ()),
                (importlib.import_module(_DOMAINS.replace("_domains", "_lock")), "directory", self._root),
            ):
                stack.enter_context(mock.patch.object(target, name, value))
            yield

    def _root(self) -> str:
        return self._temporary.name

    def _start(self) -> None:
        self._processes, self.gone = set(_PROCESSES), False

    def _write(self, effect: t.Callable[[], t.Any]) -> t.Any:
        if self._looking:
            # Writes are atomic.
            return _Unwatched(self._stage, self).call("", "", effect)
        return self._stage.call("keep", "", effect) if self._stage.runs else effect()

    @contextlib.contextmanager
    def _locked(self, _directory: str, name: str) -> t.Iterator[None]:
        if self._stage.runs and self._stage.run.dead:
            raise Killed
        if name in self._stage.locks:
            raise _BusyError
        self._stage.locks.add(name)
        try:
            yield
        finally:
            self._stage.locks.discard(name)

    def _ifindex(self, target: str | None) -> int | None:
        live = [one for guest in self._stage.world.guests.values() for one in guest.live or ()]
        return next((one.index for one in live if one.nic.target == target), None)


class _Unwatched:
    """The stage for the keeper, whose calls do not belong to a run."""

    def __init__(self, stage: Stage, owner: Owner) -> None:
        self._stage = stage
        self._owner = owner
        self.reports = False
        self.defined = stage.defined

    @property
    def world(self) -> World:
        return self._stage.world

    def restarted(self) -> int:
        return self._stage.restarted()

    def call(self, _name: str, _about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        def alive() -> t.Any:
            self._owner.check()
            return effect()

        result = self._stage.keeper_call(alive)
        self._owner.check()
        return result

    def looks(self, guest: Guest, what: str) -> None:
        pass

    def attaches(self, guest: Guest, nic: Nic) -> None:
        self.world.attach(guest, nic, OTHERS)
        self._stage.kept(guest, nic)

    def saves(self, guest: Guest) -> None:
        self._stage.violate("keeper", f"it saves {guest.name}")

    def restores(self, guest: Guest) -> None:
        if not guest.running and not (guest.saved_by_run and guest.saved is not None):
            self._stage.violate("booted", f"{guest.name} was not saved by a run, and the keeper starts it")
        self.world.restore(guest)
        self._stage.note(f"   the keeper restores {guest.name}")
        for run in self._stage.runs:
            run.window.append(self.world.copy())

    def discards(self, guest: Guest) -> None:
        self._stage.discards(guest)

    def defines(self, document: Document) -> None:
        self._stage.violate("keeper", f"it does nothing but attach: {document}")

    def asks(self, guest: Guest, alias: str) -> None:
        self._stage.violate("keeper", f"it does nothing but attach: {guest.name} {alias}")

    def updates(self, guest: Guest, nic: Nic) -> None:
        self._stage.violate("keeper", f"it does nothing but attach: {guest.name} {nic}")
