# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The rules by which udev gives guests' links all multicast: what is written, and what is left alone."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import udev_rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.udev_rules import Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")
PATH = "interfaces[2].allmulticast"


class Udev:
    """A host with udev, and what it was told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[list[str]] = []
        self.answer: tuple[int, str] | None = (0, "")
        self.file = root / "etc/udev/rules.d/90-macvtap-domains.rules"
        self.control = root / "run/udev/control"
        self.control.parent.mkdir(parents=True)
        os.mknod(self.control, stat.S_IFSOCK | 0o600)
        self.ip = root / "ip"
        self.ip.touch(mode=0o755)
        self.store = self.another()

    def another(self) -> udev_rules.RuleStore:
        """What another run has."""
        return udev_rules.RuleStore(self._run, str(self.root), str(self.ip))

    def _run(self, command: t.Sequence[str]) -> tuple[int, str] | None:
        self.told.append(list(command))
        return self.answer

    def has(self) -> set[str] | None:
        kept = self.store.observe().managed_rules
        return None if kept is None else set(kept)

    def edit(self) -> str:
        """Change the first rule and write something above, as a person does."""
        head, _line, rest = self.file.read_text().partition("\n")
        rest = rest.replace("allmulticast on", "allmulticast off", 1)
        self.file.write_text(f"{head}\n# by hand\n{rest}")
        return self.file.read_text()


@pytest.fixture
def udev(tmp_path: Path) -> Udev:
    return Udev(tmp_path)


def test_a_rule_comes_and_goes_with_its_address_and_the_file_with_the_last(udev: Udev) -> None:
    udev.store.apply({A: True, B: True})
    text = udev.file.read_text()
    assert udev.has() == {A, B}
    assert f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{A}", RUN+="/' in text
    assert '/ip link set dev $id allmulticast on"\n' in text
    assert udev.told == [["udevadm", "control", "--reload"]]
    before = udev.file.stat()
    udev.store.apply({A: True})
    assert (udev.file.stat().st_ino, len(udev.told)) == (before.st_ino, 1)
    udev.store.apply({A: False})
    assert udev.has() == {B}
    udev.store.apply({B: False})
    assert not udev.file.exists()
    assert udev.store.warnings == []


def test_a_modified_rule_is_detected_and_removed_or_rewritten(udev: Udev) -> None:
    udev.store.apply({A: True, B: True})
    edited = udev.edit()
    assert udev.store.observe() == Rules(frozenset({B}), "", frozenset({A}))
    udev.store.apply({A: True})
    assert udev.store.observe() == Rules(frozenset({A, B}))
    udev.file.write_text(edited)
    udev.store.apply({A: False})
    assert udev.store.observe() == Rules(frozenset({B}))


def test_what_a_person_has_written_stays_when_the_last_rule_goes(udev: Udev) -> None:
    udev.store.apply({A: True})
    udev.edit()
    udev.store.apply({A: False})
    assert udev.file.read_text().endswith("\n# by hand\n")


@pytest.mark.parametrize("wanted", [{A: False}, {A: True}, {A: True, B: False}, {B: False}])
def test_the_way_back_leads_to_the_very_text_that_was_there(udev: Udev, wanted: dict[str, bool]) -> None:
    udev.store.apply({A: True, B: True})
    edited = udev.edit()
    run = udev.another()
    run.apply(wanted)
    assert udev.file.read_text() != edited
    run.apply(dict.fromkeys(wanted, False), restore=True)
    assert udev.file.read_text() == edited


def test_a_rollback_leaves_what_others_have_written_meanwhile(udev: Udev) -> None:
    udev.another().apply({A: True})
    udev.edit()
    udev.store.apply({A: False})
    udev.another().apply({B: True})
    udev.store.apply({A: True}, restore=True)
    assert udev.has() == {A, B}


def test_what_was_put_back_is_not_put_back_once_more(udev: Udev) -> None:
    udev.store.apply({A: True})
    udev.another().apply({B: True})
    for _attempt in range(2):
        udev.store.apply({A: False}, restore=True)
        assert udev.has() == {B}


@pytest.mark.parametrize("others", [False, True])
def test_a_later_attempt_does_not_put_back_what_an_earlier_one_had_written(udev: Udev, others: bool) -> None:
    udev.store.apply({A: True})
    if others:
        udev.another().apply({B: True})
        udev.store.apply({A: False}, restore=True)
    udev.store.begin()
    udev.store.apply({C: True})
    udev.store.apply({C: False}, restore=True)
    # Kept, or rolled back.
    assert udev.has() == ({B} if others else {A})


def test_the_way_back_from_the_first_rule_leaves_no_file(udev: Udev) -> None:
    udev.store.apply({A: True})
    udev.store.apply({A: False}, restore=True)
    assert not udev.file.exists()


def test_a_host_without_rules_is_left_without_files(udev: Udev) -> None:
    assert udev.has() == set()
    udev.store.apply({})
    udev.store.apply({A: False})
    assert not udev.file.parent.exists()
    assert udev.told == []


@pytest.mark.parametrize("what", ["text", "mask"])
def test_a_file_that_is_not_managed_is_left_alone(udev: Udev, what: str) -> None:
    udev.file.parent.mkdir(parents=True)
    if what == "mask":
        udev.file.symlink_to("/dev/null")
    else:
        udev.file.write_text("# mine\n")
    rules = udev.store.observe()
    assert rules.managed_rules is None
    assert "90-macvtap-domains.rules is not managed by this collection" in rules.rules_unsupported
    udev.store.apply({A: True})
    assert udev.file.is_symlink() if what == "mask" else udev.file.read_text() == "# mine\n"


def test_a_file_that_cannot_be_read_is_no_reason_to_fail(udev: Udev) -> None:
    udev.file.mkdir(parents=True)
    rules = udev.store.observe()
    assert rules.managed_rules is None
    assert rules.rules_unsupported.endswith("90-macvtap-domains.rules cannot be read: Is a directory")
    udev.store.require({A: True}, PATH)
    udev.store.apply({A: True})


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_without_udev_nothing_is_written_and_the_reason_is_reported(udev: Udev, what: str) -> None:
    # A file is what a daemon has left that was killed, copied with an image.
    udev.control.unlink()
    if what == "a file":
        udev.control.touch()
    assert udev.store.observe() == Rules(None, "this host has no udev to set it at the next start")
    udev.store.apply({A: True})
    assert not udev.file.exists()


def test_without_ip_nothing_is_written_and_the_reason_is_reported(udev: Udev) -> None:
    udev.ip.unlink()
    rules = udev.store.observe()
    assert (
        rules.managed_rules,
        "the program ip, which udev would run, is not installed" in rules.rules_unsupported,
    ) == (None, True)
    udev.store.apply({A: True})
    assert not udev.file.exists()


def test_a_failed_reload_of_udev_is_reported(udev: Udev) -> None:
    udev.answer = (1, "no permission\n")
    udev.store.apply({A: True})
    (warning,) = udev.store.warnings
    assert warning.endswith("udevadm control --reload failed: no permission")


def test_a_file_that_cannot_be_written_is_an_error(udev: Udev) -> None:
    (udev.root / "etc").write_text("no directory")
    with pytest.raises(MacvtapError, match=r"90-macvtap-domains\.rules cannot be written") as caught:
        udev.store.apply({A: True}, PATH)
    assert caught.value.path == PATH


def test_another_run_that_does_not_end_is_named_with_the_option(udev: Udev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udev_rules, "_LOCK_SECONDS", 0)
    with _lock.held("rules", timeout=0, directory=str(udev.root / "run")):
        # What differs in nothing needs no lock.
        udev.store.apply({A: False}, PATH)
        with pytest.raises(MacvtapError, match=r"is writing rules for guests' links on this host") as caught:
            udev.store.apply({A: True}, PATH)
    assert caught.value.path == PATH
    assert "lock_timeout" not in caught.value.message


@pytest.mark.parametrize("which", ["etc", "run"])
def test_a_user_who_may_not_write_rules_is_refused_before_anything_is_done(
    udev: Udev, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    (udev.root / "etc").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) != str(udev.root / which))
    udev.store.require({A: False}, PATH)
    for user, why in ((1000, "this user may not write it. Set become: true"), (0, f"{udev.root / which} is read-only")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(MacvtapError) as caught:
            udev.store.require({A: True}, PATH)
        assert caught.value.path == PATH
        assert caught.value.message == f"the rule is to change in {udev_rules.GUESTS_FILE}, and {why}"
