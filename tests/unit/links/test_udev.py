# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What an old udev does to new taps is waited for, and nothing else is."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _systemd
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import udev

TAP, OTHER = (245, 1), (245, 2)


@pytest.fixture
def old(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A host with the udev of systemd 239."""
    (tmp_path / "control").touch()
    monkeypatch.setattr(_systemd, "version", lambda: 239)
    monkeypatch.setattr(udev, "CONTROL", str(tmp_path / "control"))
    monkeypatch.setattr(udev, "DATA", str(tmp_path))
    return tmp_path


class Waits:
    """Sleeps that do something instead, so many at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *deeds: t.Callable[[], t.Any]) -> None:
        self.left = list(deeds)
        monkeypatch.setattr(udev.time, "sleep", lambda seconds: self.left.pop(0)() if seconds else None)


def test_a_tap_is_waited_for_until_udev_has_noted_it(old: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # That of another tap of this number, which has gone.
    (old / "c245:1").write_text("I:99\nG:systemd\n")
    waits = Waits(
        monkeypatch,
        lambda: (old / "c245:2").write_text("E:ID=1\nI:100\n"),
        lambda: None,
        lambda: (old / "c245:1").write_text("I:101\n"),
    )
    udev.wait([TAP, OTHER], 100)
    assert not waits.left


@pytest.mark.parametrize("version", [243, 252, None])
@pytest.mark.usefixtures("old")
def test_a_later_udev_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, version: int | None) -> None:
    monkeypatch.setattr(_systemd, "version", lambda: version)
    Waits(monkeypatch)
    udev.wait([TAP], 100)


def test_without_udev_or_a_tap_nothing_is_waited_for(old: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Waits(monkeypatch)
    udev.wait([], 100)
    (old / "control").unlink()
    udev.wait([TAP], 100)


def test_a_udev_that_never_comes_to_it_is_waited_for_a_while(
    old: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udev, "_SECONDS", 0.0)
    udev.wait([TAP], 100)
    assert old.exists()
