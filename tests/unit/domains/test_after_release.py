# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Waiting for NICs that guests were asked to release."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import after_release
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    RELEASED,
    SAVED,
    UNGUARDED,
    Host,
)

FOREVER = 10**6


class Guests:
    """A hypervisor whose requests are these, one list for each time that it is looked at."""

    def __init__(self, *requests: list[dict[str, t.Any]]) -> None:
        self.requests = list(requests)
        self.looks = 0

    def observe(self, names: t.Iterable[str] | None) -> Host:
        assert names == ["web1"]
        self.looks += 1
        return Host("qemu:///system", {})

    def outstanding(self, _host: Host) -> list[dict[str, t.Any]]:
        return self.requests[min(self.looks, len(self.requests)) - 1]


def request(state: str, **more: t.Any) -> dict[str, t.Any]:
    return {"state": state, "returns": None, "pid": 7, **more}


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_release, "_PAUSE_SECONDS", 0)


def test_a_held_nic_is_waited_for_and_then_one_that_comes_back() -> None:
    guests = Guests([request(HELD)], [request(RELEASED, returns="nic")], [])
    assert after_release.observe(guests, ["web1"], FOREVER)[1] == []
    assert guests.looks == 3


@pytest.mark.parametrize(
    ("seconds", "one"),
    [
        (0, request(HELD)),
        # Its guest does not run.
        (FOREVER, request(SAVED)),
        # It is attached already.
        (FOREVER, request(UNGUARDED)),
        # Nothing attaches it again.
        (FOREVER, request(RELEASED, returns="nic", pid=None)),
    ],
)
def test_what_no_waiting_completes_is_returned_at_once(seconds: int, one: dict[str, t.Any]) -> None:
    guests = Guests([one])
    assert after_release.observe(guests, ["web1"], seconds)[1] == [one]
    assert guests.looks == 1
