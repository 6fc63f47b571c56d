# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The rules by which udev gives guests' links all multicast: what is written, and what is left alone."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import keeping
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"


class Udev:
    """A host with udev, and what it was told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[list[str]] = []
        self.answer: tuple[int, str] | None = (0, "")
        self.file = root / "etc/udev/rules.d/90-macvtap-domains.rules"
        (root / "run/udev").mkdir(parents=True)
        (root / "run/udev/control").touch()
        self.keeper = keeping.Keeper(self._run, str(root))

    def _run(self, command: t.Sequence[str]) -> tuple[int, str] | None:
        self.told.append(list(command))
        return self.answer

    def has(self) -> set[str] | None:
        kept, _why = self.keeper.observe()
        return None if kept is None else set(kept)


@pytest.fixture
def udev(tmp_path: Path) -> Udev:
    return Udev(tmp_path)


def test_a_rule_comes_and_goes_with_its_address_and_the_file_with_the_last(udev: Udev) -> None:
    udev.keeper.apply({A: True, B: True})
    text = udev.file.read_text()
    assert udev.has() == {A, B}
    assert f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{A}", RUN+="/' in text
    assert '/ip link set dev $id allmulticast on"\n' in text
    assert udev.told == [["udevadm", "control", "--reload"]]
    before = udev.file.stat()
    udev.keeper.apply({A: True})
    assert (udev.file.stat().st_ino, len(udev.told)) == (before.st_ino, 1)
    udev.keeper.apply({A: False})
    assert udev.has() == {B}
    udev.keeper.apply({B: False})
    assert not udev.file.exists()
    assert udev.keeper.warnings == []


def test_a_rule_that_somebody_has_changed_is_written_anew(udev: Udev) -> None:
    udev.keeper.apply({A: True, B: True})
    udev.file.write_text(udev.file.read_text().replace("allmulticast on", "allmulticast off", 1))
    assert udev.has() == {B}
    udev.keeper.apply({A: True})
    assert udev.has() == {A, B}


def test_a_host_without_rules_is_left_without_files(udev: Udev) -> None:
    assert udev.has() == set()
    udev.keeper.apply({})
    udev.keeper.apply({A: False})
    assert not udev.file.parent.exists()
    assert udev.told == []


@pytest.mark.parametrize("what", ["text", "mask"])
def test_a_file_of_somebody_elses_is_left_alone(udev: Udev, what: str) -> None:
    udev.file.parent.mkdir(parents=True)
    if what == "mask":
        udev.file.symlink_to("/dev/null")
    else:
        udev.file.write_text("# mine\n")
    kept, why = udev.keeper.observe()
    assert kept is None
    assert "90-macvtap-domains.rules is somebody else's" in why
    udev.keeper.apply({A: True})
    assert udev.file.is_symlink() if what == "mask" else udev.file.read_text() == "# mine\n"


def test_without_udev_nothing_is_written_and_it_says_why(tmp_path: Path) -> None:
    keeper = keeping.Keeper(root=str(tmp_path))
    assert keeper.observe() == (None, "there is no udev on this host to set it at the next start")
    keeper.apply({A: True})
    assert not list(tmp_path.iterdir())


def test_that_udev_did_not_read_the_rules_is_told(udev: Udev) -> None:
    udev.answer = (1, "no permission\n")
    udev.keeper.apply({A: True})
    (warning,) = udev.keeper.warnings
    assert warning.endswith("udevadm control --reload failed: no permission")


def test_a_file_that_cannot_be_written_is_an_error(udev: Udev) -> None:
    (udev.root / "etc").write_text("no directory")
    with pytest.raises(MacvtapError, match=r"90-macvtap-domains\.rules cannot be written"):
        udev.keeper.apply({A: True})
