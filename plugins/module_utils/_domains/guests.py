# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Changes NICs of several running guests: in which order, and how long guests have to release one."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hotplug import Hotplug
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import DETACHED, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pending import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import (
    Key,
    Task,
    attachable,
    same_values,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

_POLL_SECONDS = (0.005, 0.05)
_Action = t.Callable[[Task, Journal[Nic]], t.Optional[bool]]


class Guests:
    """The running guests of a connection, and what this run asked of them.

    ``asked`` are the NICs that guests were asked to release, ``released`` those that they had released before that.
    ``unanswered`` are those (domain, MAC address) that were not released in time. ``restarted`` are the domains whose
    guest stopped or started while this ran.
    """

    def __init__(self, connection: Connection, timeout: float, requests: Requests) -> None:
        self._connection = connection
        self._timeout = timeout
        self._requests = requests
        self._hotplug = Hotplug(connection, requests)
        self.unanswered: set[Key] = set()

    @property
    def asked(self) -> list[Nic]:
        return self._hotplug.asked

    @property
    def released(self) -> list[Nic]:
        return self._hotplug.released

    @property
    def restarted(self) -> set[str]:
        return self._hotplug.restarted

    @property
    def warnings(self) -> list[str]:
        return self._hotplug.warnings

    def bring(self, tasks: t.Sequence[Task], journal: Journal[Nic], *, go_on: bool = False) -> list[MacvtapError]:
        """Update and detach NICs, and attach each new one as soon as what blocks it is released.

        With ``go_on`` errors are returned instead of raised, and the other NICs are still processed.

        :raises MacvtapError: libvirt refuses.
        """
        errors: list[MacvtapError] = []

        def attempt(do: _Action, task: Task) -> bool:
            if not go_on:
                return bool(do(task, journal))
            try:
                return bool(self._connection.retry(lambda: do(task, journal)))
            except MacvtapError as exc:
                errors.append(exc)
                return False

        if go_on:
            tasks = [self._refreshed(task) for task in tasks]
        for task in tasks:
            attempt(self._hotplug.update, task)
        leaving = [task for task in tasks if task.detaches]
        for uuid in dict.fromkeys(task.before.uuid for task in leaving):
            self._requests.catch_up(self._connection.libvirt, self._connection.handle, uuid)
        try:
            # A detach cannot be cancelled, so it is registered with the keeper first.
            self._register([(task.before, task.after.live if task.attaches else None) for task in leaving])
            held = {task.key: task for task in leaving if attempt(self._hotplug.detach, task)}
        finally:
            for task in leaving:
                if not journal.contains(task.step, DETACHED):
                    self._requests.withdraw(task.before)
        self._wait_and_attach(
            held, [task for task in tasks if task.attaches and (not task.detaches or task.key in held)], attempt
        )
        return errors

    def _register(self, asked: t.Sequence[tuple[Nic, Iface | None]]) -> None:
        try:
            self._requests.register(asked)
        except MacvtapError as exc:
            raise MacvtapError(f"{exc.message}. No guest was asked to release a NIC") from exc

    def _refreshed(self, task: Task) -> Task:
        """Return ``task`` as a replug, if the keeper has meanwhile attached the NIC as it was stored."""
        nic, desired = task.before, task.after.live
        if task.detaches or desired is None or nic.live is not None:
            return task

        def read() -> Iface | None:
            translated = self._connection.translate_errors(f"cannot read domain {nic.domain!r}")
            with self._requests.attach_lock(nic), translated:
                handle = self._hotplug.same_instance(nic)
                return self._connection.live(handle, nic.mac) if handle is not None else None

        try:
            iface = self._connection.retry(read)
        except MacvtapError:
            return task
        if iface is None or same_values(iface, desired):
            return task
        return task._replace(before=replace(nic, live=iface), replugs=True)

    def _wait_and_attach(
        self,
        held: dict[Key, Task],
        waiting: list[Task],
        attempt: t.Callable[[_Action, Task], bool],
    ) -> None:
        """Wait until guests have released their NICs, and attach each new NIC as soon as possible."""
        until = time.monotonic() + self._timeout
        pause, longest = _POLL_SECONDS
        while True:
            for key, task in list(held.items()):
                if not attempt(self._hotplug.is_held, task):
                    del held[key]
            ready = attachable(waiting, held)
            waiting = [task for task in waiting if task not in ready]
            for task in ready:
                attempt(self._hotplug.attach, task)
            if not held or time.monotonic() >= until:
                break
            time.sleep(pause)
            pause = min(2 * pause, longest)
        self.unanswered |= held.keys()
        for task in waiting:
            if task.key not in held:
                attempt(self._attach_beside(held), task)

    def _attach_beside(self, held: t.Collection[Key]) -> t.Callable[[Task, Journal[Nic]], None]:
        def attach(task: Task, journal: Journal[Nic]) -> None:
            others = [domain for domain, mac in held if mac == task.before.mac]
            if others:
                raise MacvtapError(
                    f"cannot add {task.before.mac} to the running domain {task.before.domain!r}: the guest "
                    f"{others[0]!r} did not release the NIC of this address within {self._timeout:g} s",
                    path=task.path,
                )
            self._hotplug.attach(task, journal)

        return attach
