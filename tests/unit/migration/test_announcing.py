# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Announcements in a world that moves: floods, and guests that stop, are paused, or leave meanwhile."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hostlinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import packets
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import announce_run, announcing

A = "52:54:00:00:01:01"
NIC = Iface(A, values={"source": "eth0", "mode": "bridge", "target": "macvtap0"})
GUEST = Domain("web1", uuid="uuid-1", running=True, instance="1", live=(NIC,))
LINKS = {
    "eth0": Link("eth0", index=2, kind="", up=True, carrier=True),
    "macvtap0": Link("macvtap0", index=7, kind="macvtap", parent="eth0", mode="bridge", mac=A, up=True),
}
GONE = "its link macvtap0 has gone"


class Flood:
    """A socket that always has one more frame, all of one kind."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self._reading, writing = os.pipe()
        os.write(writing, b"x")
        os.close(writing)
        self.reads = 0

    def fileno(self) -> int:
        return self._reading

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[str, int, int]]:
        self.reads += 1
        if self.reads > 1_000_000:
            pytest.fail("it reads without end")
        return b"", ("eth0", 3, self.kind)


def path(kind: int) -> t.Any:
    return announcing._Path(
        announcing.Announced(A, "macvtap0", 7, "eth0"), t.cast("t.Any", None), t.cast("t.Any", Flood(kind))
    )


def test_a_flood_of_frames_delays_nothing() -> None:
    others = path(packets.PACKET_OUTGOING + 1)
    others.receive()
    assert others.receiving.reads < 1000
    began = time.monotonic()
    announcing._receive([others], began + 0.05, until_all=True)
    assert not others.seen
    assert time.monotonic() - began < 5
    own = path(packets.PACKET_OUTGOING)
    announcing._receive([own, others], time.monotonic() + 0.01)
    assert (own.seen, own.receiving.reads) == (True, 1)


class Hypervisor:
    """Has one answer after the other."""

    def __init__(self, *looks: Domain | None) -> None:
        self._looks = list(looks)

    def observe(self, _names: t.Sequence[str]) -> Host:
        domain = self._looks.pop(0)
        return Host("", {"web1": domain} if domain else {}, links=LINKS, all_holders=True)


@pytest.fixture(autouse=True)
def faultless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlinks, "link_fault", lambda *_args: None)
    monkeypatch.setattr(announcing, "announce", lambda asked: {one.mac: GONE for one in asked})


def run(*looks: Domain | None) -> dict[str, t.Any]:
    return announce_run.run(t.cast("t.Any", Hypervisor(*looks)), "web1", check_mode=False)


@pytest.mark.parametrize(
    "now", [None, replace(GUEST, running=False, live=(), instance=""), replace(GUEST, instance="2")], ids=str
)
def test_a_guest_that_has_stopped_or_left_meanwhile_is_no_failure(now: Domain | None) -> None:
    found = run(GUEST, now)
    assert (found["running"], found["interfaces"]) == (False, [])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"paused": True}, "the guest is paused"), ({"job": "migration"}, "the guest has a job in progress (migration)")],
)
def test_a_guest_that_is_paused_or_moves_on_meanwhile_is_no_failure(changed: dict[str, t.Any], reason: str) -> None:
    found = run(GUEST, replace(GUEST, **changed))
    (one,) = found["interfaces"]
    assert (one["announced"], one["reason"]) == (False, reason)
    assert found["warnings"] == [f"domain 'web1': {A} was not announced: {reason}"]


def test_one_that_still_runs_is_a_failure() -> None:
    with pytest.raises(MacvtapError, match=GONE):
        run(GUEST, GUEST)


def test_why_a_guest_is_not_announced_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(run(replace(GUEST, paused=True))["warnings"]) == 1
    monkeypatch.setattr(announcing, "announce", lambda asked: {one.mac: "" for one in asked})
    found = run(GUEST)
    assert (found["interfaces"][0]["announced"], found["warnings"]) == (True, [])
