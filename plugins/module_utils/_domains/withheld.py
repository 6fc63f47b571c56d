# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NICs that a run removes after guests have released them for an earlier run, and before they are attached again."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pause_records import Requests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal


class Withheld:
    """The requests that are not completed, and what they were."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        self._requested: list[tuple[Nic, records.State]] = []

    @contextlib.contextmanager
    def storing(self, tasks: t.Sequence[Task], removed: t.Sequence[Nic], journal: Journal[Nic]) -> t.Iterator[None]:
        """Complete the requests of earlier runs, except for ``removed`` NICs, before this run stores anything.

        They complete with what is stored then. As long as a ``removed`` NIC is stored, the keeper still attaches it.

        :raises StaleError: it has.
        :raises MacvtapError: the requests cannot be read or written.
        """
        names = {(nic.domain, nic.mac) for nic in removed}
        for task in tasks:
            nic = task.before
            if task.key in names and nic.instance and nic.live is None and nic.stored is not None:
                was = self._requests.withhold(nic)
                self._requested += [(nic, was)] if was is not None else []
        for uuid in dict.fromkeys(task.before.uuid for task in tasks):
            macs = {nic.mac for nic, _was in self._requested if nic.uuid == uuid}
            self._requests.catch_up(self._connection.libvirt, self._connection.handle, uuid, macs)
        try:
            yield
        except BaseException:
            if not journal.entries:
                # Then there is no rollback.
                with contextlib.suppress(MacvtapError):
                    self.put_back()
            raise
        withheld = {(nic.uuid, nic.mac) for nic, _was in self._requested}
        for task in tasks:
            nic = task.before
            if (nic.uuid, nic.mac) in withheld and self._is_attached(nic):
                raise StaleError(f"{nic.domain} {nic.mac} was attached again while this ran", path=task.path)

    def put_back(self, released: t.Iterable[Nic] = ()) -> None:
        """Have the keeper attach these NICs after all, as it would have.

        So it does with those that guests had ``released`` before this run asked for them.

        :raises MacvtapError: the requests cannot be written.
        """
        for nic in released:
            was = self._requests.earlier(nic)
            self._requested += [(nic, was)] if was is not None else []
        while self._requested:
            nic, was = self._requested[-1]
            if self._connection.running(nic.uuid, nic.instance) is not None and not self._is_attached(nic):
                self._requests.put_back(nic, was)
            self._requested.pop()

    def _is_attached(self, nic: Nic) -> bool:
        with self._connection.translate_errors(f"cannot read domain {nic.domain!r}"):
            handle = self._connection.running(nic.uuid, nic.instance)
            return handle is not None and self._connection.live(handle, nic.mac) is not None
