# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What outlives a run: the collection's own keeper, looking at the model's host instead of being a process."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import typing as t
from unittest import mock

from torture import fake_libvirt
from torture.nics import Document, Nic
from torture.stage import Killed, Stage
from torture.world import OTHERS, Guest, World

_IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
_DOMAINS = "ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains"
_KEEPER = _DOMAINS.replace("_domains", "_keeper")


class _BusyError(Exception):
    """Somebody else holds a lock that the real one would wait for."""


class Owner:
    """The keeper of one host, whose files are in a directory of its own; a code without one does without."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._temporary = tempfile.TemporaryDirectory(prefix="torture-", dir=_IN_MEMORY)
        self.directory = os.path.join(self._temporary.name, "linuxvirt.macvtap")
        self._runs = self._looking = False
        try:
            parts: tuple[t.Any, ...] = tuple(
                importlib.import_module(f"{_KEEPER}.{name}") for name in ("guest", "links", "records")
            )
            self._guest, self._links, self._records = parts
            self._pending: t.Any = importlib.import_module(f"{_DOMAINS}.pending")
        except ImportError:
            self._records = self._pending = None
        self._libvirt = fake_libvirt.module(_Unwatched(stage))

    def close(self) -> None:
        self._temporary.cleanup()

    def __call__(self) -> None:
        """Look at every domain twice, as the keeper does within a second."""
        if not self._runs or self._looking:
            return
        self._looking = True
        with self.seams():
            for _time in range(2):
                for uuid in self._records.uuids(self.directory):
                    # As the keeper itself: whatever happens, the next look may find what is needed.
                    with contextlib.suppress(Exception):
                        self._guest.look(self._libvirt, self._libvirt.open(""), self.directory, uuid)
            self._runs = bool(self._records.uuids(self.directory))
        self._looking = False

    @contextlib.contextmanager
    def seams(self) -> t.Iterator[None]:
        """Let the keeper, and what a run writes down for it, meet the model wherever they would meet the host."""
        if self._records is None:
            yield
            return
        save = self._records.save
        with contextlib.ExitStack() as stack:
            for target, name, value in (
                (self._records, "running", lambda _directory: 1 if self._runs else None),
                (self._records, "locked", self._locked),
                (self._links, "ifindex", self._ifindex),
                (self._records, "save", lambda *of: self._write(lambda: save(*of))),
                (self._pending.Requests, "_install", lambda _self: []),
                (self._pending.Requests, "_start", lambda _self, _command: self._write(self._start)),
                (self._pending, "directory", lambda: self.directory),
                (importlib.import_module(_DOMAINS.replace("_domains", "_lock")), "directory", self._root),
            ):
                stack.enter_context(mock.patch.object(target, name, value))
            yield

    def _root(self) -> str:
        return self._temporary.name

    def _start(self) -> None:
        self._runs = True

    def _write(self, effect: t.Callable[[], t.Any]) -> t.Any:
        if self._stage.runs and not self._looking:
            return self._stage.call("keep", "", effect)
        return effect()

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
    """The stage as the keeper has it: what it does is not a run's."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def world(self) -> World:
        return self._stage.world

    def restarted(self) -> int:
        return self._stage.restarted()

    def call(self, _name: str, _about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        return effect()

    def read(self, guest: Guest, *, stored: bool) -> None:
        pass

    def attaches(self, guest: Guest, nic: Nic) -> None:
        self.world.attach(guest, nic, OTHERS)
        self._stage.kept(guest, nic)

    def defines(self, document: Document) -> None:
        raise AssertionError(f"the keeper does nothing but attach: {document}")

    def asks(self, guest: Guest, alias: str) -> None:
        raise AssertionError(f"the keeper does nothing but attach: {guest} {alias}")

    def updates(self, guest: Guest, nic: Nic) -> None:
        raise AssertionError(f"the keeper does nothing but attach: {guest} {nic}")
