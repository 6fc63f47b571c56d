# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Records that a run pauses a guest, so that the keeper brings the guest back if the run is killed.

And requests of earlier runs that a run withholds: see withheld.py.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
import uuid
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import pending
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, paused, records


class Requests(pending.Requests):
    """The outstanding requests of this host, and the guests that are being paused.

    ``continued`` has the instances of guests that this run has restored, with the instance as which each counts.
    """

    continued: t.Mapping[str, str] = {}

    def outstanding(self) -> dict[str, records.State]:
        found = super().outstanding()
        return {
            name: {**state, "instance": self.continued.get(state["instance"], state["instance"])}
            for name, state in found.items()
        }

    def paused(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the domains of ``host`` whose guest a run pauses, or was pausing when it was killed.

        :raises MacvtapError: they cannot be read.
        """
        states = super().outstanding()
        found = [(one, states[one.uuid]["pause"]) for one in host.domains.values() if _has_pause(states, one.uuid)]
        pid = self.keeper() if found else None
        return [
            {
                "domain": domain.name,
                "state": "under_way" if _is_alive(pause.get("run")) else "interrupted",
                "saved": domain.saved is not None,
                "since": pause.get("since"),
                "error": pause.get("error"),
                "pid": pid,
            }
            for domain, pause in found
        ]

    def _write(self, nic: Nic, returned: Iface | None, *, error: str = "") -> None:
        super()._write(replace(nic, instance=self._actual(nic.instance)), returned, error=error)

    def _actual(self, instance: str) -> str:
        return next((now for now, was in reversed(list(self.continued.items())) if was == instance), instance)

    @contextlib.contextmanager
    def pausing(
        self, nic: Nic, *, running: bool, receiving: tuple[t.Iterable[str], t.Iterable[str]] = ((), ())
    ) -> t.Iterator[Record]:
        """Have the keeper bring the guest of ``nic`` back if this process ends before the context does.

        It waits for the lock that is held meanwhile, which the kernel releases if the process is killed. ``running`` is
        whether the guest was not paused before. ``receiving`` are the NICs (MAC addresses) whose links receive all
        multicast, before and after the pause.

        :raises MacvtapError: it cannot be recorded, or the keeper does not start.
        """
        self._prepare()
        with contextlib.ExitStack() as held:
            with self._access():
                held.enter_context(records.locked(self._directory, nic.uuid))
            self._held.add(nic.uuid)
            held.callback(self._held.discard, nic.uuid)
            with self._access():
                state = records.load(self._directory, nic.uuid) or self._state_of(nic)
            made = Record(self, {**state, "pause": self._pause(running=running, receiving=receiving)})
            held.callback(made.close)
            with self._access(), records.locked(self._directory, "all"):
                command = self._install()
                made.write()
                if not self.keeper():
                    self._start(command)
            made.finished = False
            yield made

    def _pause(self, *, running: bool, receiving: tuple[t.Iterable[str], t.Iterable[str]]) -> records.State:
        made = paused.record(
            uuid.uuid4().hex,
            running=running,
            local=self._local,
            since=pending.now(),
            run=guest.process(os.getpid()),
        )
        return paused.with_allmulticast(made, *receiving)

    def _state_of(self, nic: Nic) -> records.State:
        return {
            "uri": self._uri,
            "local": self._local,
            "domain": nic.domain,
            "uuid": nic.uuid,
            "instance": self._actual(nic.instance),
            "boot": guest.boot_id(),
            "nics": {},
        }

    def withhold(self, nic: Nic) -> records.State | None:
        """As keep_released(), and return the request as it was; None without one.

        :raises MacvtapError: the requests cannot be read or written.
        """
        found: list[records.State] = []
        self._edit(nic, lambda entries: found.append(dict(entries[nic.mac])))
        self.keep_released([nic])
        return found[0] if found else None

    def earlier(self, nic: Nic) -> records.State | None:
        """Return the request that there was before this run registered its own, None without one."""
        return self._was.get((nic.uuid, nic.mac))

    def put_back(self, nic: Nic, was: records.State) -> None:
        """Record the request that there was for a NIC, and have the keeper complete it.

        :raises MacvtapError: that cannot be recorded, or the keeper does not start.
        """
        with self._recording() as start:
            with records.locked(self._directory, nic.uuid):
                state = records.load(self._directory, nic.uuid) or self._state_of(nic)
                state["nics"][nic.mac] = was
                records.save(self._directory, nic.uuid, state)
            start()

    def write(self, state: records.State) -> None:
        """Write the state of a domain whose lock this run holds.

        :raises MacvtapError: it cannot be written.
        """
        with self._access():
            records.save(self._directory, state["uuid"], state)


def _has_pause(states: t.Mapping[str, records.State], name: str) -> bool:
    return bool(states.get(name, {}).get("pause"))


def _is_alive(run: str | None) -> bool:
    """Whether the process of a run still is that process."""
    with contextlib.suppress(OSError, ValueError):
        return run is not None and guest.process(int(run.partition(" ")[0])) == run
    return False


class Record:
    """The record of one pause. ``finished`` is whether there is nothing that the keeper would have to do."""

    def __init__(self, requests: Requests, state: records.State) -> None:
        self._requests = requests
        self._state = state
        self.finished = True
        # The XML of the image.
        self.document = ""

    @property
    def pause(self) -> records.State:
        return t.cast("records.State", self._state["pause"])

    @property
    def token(self) -> str:
        return str(self.pause["token"])

    @property
    def is_changed(self) -> bool:
        """Whether the image has the new elements."""
        return paused.is_changed(self.pause)

    def change(self, old: t.Mapping[str, str], new: t.Mapping[str, str]) -> None:
        """Record the elements that the image has, and those that it gets now."""
        self._state["pause"] = paused.changed(self.pause, old, new)
        self.write()

    def keep(self) -> None:
        """Record that the image was not changed after all."""
        self._state["pause"] = paused.unchanged(self.pause)

    def write(self) -> None:
        self._requests.write(self._state)

    def close(self) -> None:
        """Remove the record of a finished pause."""
        if self.finished:
            del self._state["pause"]
            # What stays of it does no harm: the keeper finds a guest that runs.
            with contextlib.suppress(MacvtapError):
                self.write()
