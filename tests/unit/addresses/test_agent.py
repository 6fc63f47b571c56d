# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Many guest agents, some of which never answer."""

from __future__ import annotations

import contextlib
import threading
import time
import types
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import agent
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import RUNNING, Guest, Nic

if t.TYPE_CHECKING:
    import pytest

CONNECTED = (
    "<domain><devices><channel><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>"
    "</devices></domain>"
)
# Of the seconds that all agents together have, and that a busy machine may add.
SECONDS, BUSY = 1.0, 10.0


class Libvirt:
    """A libvirt whose guests of these numbers never answer; ``most`` is how many were asked at the same time."""

    libvirtError = OSError  # noqa: N815
    VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, VIR_ERR_NO_DOMAIN, VIR_ERR_OPERATION_INVALID = 1, 42, 55

    def __init__(self, silent: t.Collection[int]) -> None:
        self.silent, self.end = silent, threading.Event()
        self._lock, self._asked, self.most = threading.Lock(), 0, 0

    def open(self, _uri: str) -> Libvirt:
        return self

    def close(self) -> None:
        pass

    def lookupByUUIDString(self, uuid: str) -> t.Any:  # noqa: N802
        return types.SimpleNamespace(XMLDesc=lambda _flags: CONNECTED, interfaceAddresses=lambda _s: self._answer(uuid))

    def _answer(self, uuid: str) -> dict[str, t.Any]:
        number = int(uuid)
        with self._lock:
            self._asked += 1
            self.most = max(self.most, self._asked)
        if number in self.silent:
            self.end.wait(60)
        with self._lock:
            self._asked -= 1
        return {"eth0": {"hwaddr": mac(number), "addrs": [{"addr": f"192.0.2.{number}", "prefix": 24}]}}


def mac(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


@contextlib.contextmanager
def agents(monkeypatch: pytest.MonkeyPatch, silent: t.Collection[int]) -> t.Iterator[tuple[agent.Agents, Libvirt]]:
    library = Libvirt(silent)
    opened = types.SimpleNamespace(libvirt=library, handle=library)
    monkeypatch.setattr(agent.connection, "opened", lambda *_a, **_k: contextlib.nullcontext(opened))
    try:
        yield agent.Agents("qemu:///system"), library
    finally:
        library.end.set()


def guests(count: int) -> list[Guest]:
    return [
        Guest(f"web{number}", str(number), RUNNING, (Nic(mac(number), frozenset({mac(number)})),))
        for number in range(1, count + 1)
    ]


def test_twenty_silent_agents_cost_one_timeout_and_keep_no_worker_of_libvirt_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with agents(monkeypatch, range(1, 21)) as (asked, library):
        begin = time.monotonic()
        assert asked.ask(guests(20), SECONDS) == []
        assert time.monotonic() - begin < SECONDS + BUSY < 20 * SECONDS
        # libvirtd has twenty workers for all its clients.
        assert library.most == 12
        silent, waiting = asked.warnings({str(number): f"web{number}" for number in range(1, 21)})
        assert "did not answer in time: " in silent
        assert silent.endswith("and 7 more")
        assert "had no turn in time" in waiting
        assert "and 3 more. Set agent_timeout higher" in waiting


def test_agents_that_answer_do_so_beside_silent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with agents(monkeypatch, range(1, 8)) as (asked, _library):
        found = asked.ask(guests(40), SECONDS)
        assert {one.address for one in found} == {f"192.0.2.{number}" for number in range(8, 41)}
        # Those that were asked and did not answer are not asked again.
        again = asked.ask(guests(40), SECONDS)
        assert {one.address for one in again} == {one.address for one in found}
