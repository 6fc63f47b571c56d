# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Connections to other hosts are waited for no longer than declared, and end when the other side is silent."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import silence

URI = "qemu+ssh://hv2/system"


class Libvirt:
    """An event loop that has nothing to do."""

    def __init__(self) -> None:
        self.registered = 0

    def virEventRegisterDefaultImpl(self) -> None:  # noqa: N802
        self.registered += 1

    def virEventRunDefaultImpl(self) -> None:  # noqa: N802
        threading.Event().wait()


class Handle:
    kept: tuple[int, int] | None = None

    def setKeepAlive(self, interval: int, count: int) -> int:  # noqa: N802
        self.kept = interval, count
        return 0


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> Libvirt:
    monkeypatch.setattr(silence, "_started", [])
    return Libvirt()


def test_a_connection_asks_for_signs_of_life(libvirt: Libvirt) -> None:
    handle = Handle()
    for _time in range(2):
        assert silence.connect(libvirt, lambda: handle, URI, 10) is handle
    interval, count = handle.kept or (0, 0)
    # The task that waits for it has 90 s in all.
    assert 0 < interval * (count + 1) <= 30
    assert libvirt.registered == 1


def test_a_host_that_does_not_answer_is_given_up(libvirt: Libvirt) -> None:
    never = threading.Event()
    with pytest.raises(MacvtapError) as raised:
        silence.connect(libvirt, never.wait, URI, 0.01)
    assert str(raised.value).startswith(f"uri: cannot connect to '{URI}': there was no answer for 0 s.")
    never.set()


def test_an_error_is_the_errors_own(libvirt: Libvirt) -> None:
    def refuse() -> t.Any:
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        silence.connect(libvirt, refuse, URI, 10)


def test_an_error_in_the_event_loop_does_not_end_it(libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_AFTER_ERROR_SECONDS", 0.0)
    seen: list[t.Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    again, runs = threading.Event(), iter(range(3))

    def fail() -> None:
        if next(runs) < 2:
            raise OSError("interrupted")
        again.set()
        threading.Event().wait()

    monkeypatch.setattr(libvirt, "virEventRunDefaultImpl", fail)
    silence.connect(libvirt, Handle, URI, 10)
    assert again.wait(10)
    assert seen == []
