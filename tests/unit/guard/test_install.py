# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What loads guards: it is completed where it has no effect, or was not read, and goes where nothing is stored."""

from __future__ import annotations

import pathlib
import socket
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import install, start_files

MACS = ["52:54:00:00:0a:01"]


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for directory in ("etc/libvirt", "run/systemd/system"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


class Host:
    """An installer, and the commands that it has run. Those with a word of ``failing`` fail."""

    def __init__(self, root: pathlib.Path, failing: str = "-") -> None:
        self.commands: list[str] = []
        self._failing = failing
        self.installer = install.Installer(self._run, str(root))

    def _run(self, words: t.Sequence[str]) -> tuple[int, str]:
        self.commands.append(" ".join(words))
        return (1, "no bus") if self._failing in words else (0, "")

    def converge(self) -> list[str]:
        """Do as a run does, and return its warnings."""
        return [*self.installer.install(MACS), *self.installer.start()]


def test_what_was_not_read_is_read_in_the_next_run(root: pathlib.Path) -> None:
    killed = Host(root)
    killed.installer.install(MACS)
    again = Host(root)
    assert again.installer.outdated(MACS)
    assert "libvirt reads" in "".join(again.installer.install(MACS))
    again.installer.start()
    assert again.commands == ["systemctl daemon-reload", "systemctl start --no-block macvtap-guard.service"]
    assert (root / start_files.WANTS.lstrip("/")).is_symlink()
    last = Host(root)
    assert not last.installer.outdated(MACS)
    last.installer.install(MACS)
    last.installer.start()
    assert last.commands == []


def test_a_run_that_was_killed_between_two_files_is_completed(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _files.write

    def killed(path: str, *values: t.Any, **how: t.Any) -> None:
        if path.endswith(start_files.NFTABLES):
            raise KeyboardInterrupt
        write(path, *values, **how)

    with monkeypatch.context() as patched:
        patched.setattr(_files, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            Host(root).installer.install(MACS)
    again = Host(root)
    again.installer.install(MACS)
    again.installer.start()
    assert again.commands[0] == "systemctl daemon-reload"


def test_what_a_killed_removal_has_left_is_removed(root: pathlib.Path) -> None:
    made = Host(root).installer
    assert not made.installed()
    made.install(MACS)
    made.start()
    for path in (start_files.HOOK, start_files.WANTS):
        (root / path.lstrip("/")).unlink()
    assert made.installed()
    made.remove()
    assert not made.installed()
    assert [one for one in root.rglob("*guard*") if one.is_file()] == []


@pytest.mark.parametrize("word", ["daemon-reload", "start"])
def test_what_systemd_has_not_read_is_tried_again(root: pathlib.Path, word: str) -> None:
    warning = Host(root, failing=word).converge()[-1]
    assert warning.startswith(f"systemd has not read {start_files.UNIT}: systemctl {word}")
    assert warning.endswith("failed: no bus. Run this task again")
    again = Host(root)
    assert again.installer.outdated(MACS)
    assert again.converge() == []
    assert again.commands == ["systemctl daemon-reload", "systemctl start --no-block macvtap-guard.service"]
    assert not Host(root).installer.outdated(MACS)


def test_udev_that_cannot_be_told_is_warned_of_once(root: pathlib.Path) -> None:
    (root / "run/udev").mkdir()
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(root / "run/udev/control"))
        warning = Host(root, failing="udevadm").converge()[-1]
    assert warning.startswith(f"udev reads {start_files.RULES} by itself within three seconds; udevadm")
    assert not Host(root).installer.outdated(MACS)


@pytest.mark.parametrize("booted", [True, False], ids=["booted", "image"])
def test_the_unit_is_enabled_wherever_it_is_written(root: pathlib.Path, booted: bool) -> None:
    if not booted:
        (root / "run/systemd/system").rmdir()
    wants = root / start_files.WANTS.lstrip("/")
    # Killed before start().
    Host(root).installer.install(MACS)
    assert wants.is_symlink()
    Host(root).converge()
    wants.unlink()
    again = Host(root)
    assert again.installer.outdated(MACS)
    again.converge()
    assert wants.is_symlink()
    assert bool(again.commands) == booted
    # As systemctl enable writes it.
    wants.unlink()
    wants.symlink_to(start_files.UNIT)
    assert not Host(root).installer.outdated(MACS)


def test_a_masked_unit_stays_so(root: pathlib.Path) -> None:
    unit = root / start_files.UNIT.lstrip("/")
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    assert f"{start_files.UNIT} is not managed by this collection" in Host(root).converge()[0]
    assert not Host(root).installer.outdated(MACS)
    assert not (root / start_files.WANTS.lstrip("/")).is_symlink()


@pytest.mark.parametrize("text", ["", "# changed\n"])
def test_a_hook_that_libvirt_passes_over_is_made_executable(root: pathlib.Path, text: str) -> None:
    Host(root).converge()
    hook = root / start_files.HOOK.lstrip("/")
    hook.write_text(hook.read_text() + text)
    hook.chmod(0o644)
    again = Host(root)
    assert again.installer.outdated(MACS)
    assert f"libvirt reads {start_files.HOOK} only when" in again.converge()[0]
    assert hook.stat().st_mode & 0o777 == 0o755
    assert not Host(root).installer.outdated(MACS)
    # Whoever lets others read less has a hook all the same.
    hook.chmod(0o700)
    assert not Host(root).installer.outdated(MACS)


def files(root: pathlib.Path) -> dict[str, str]:
    """Return the files and symbolic links with their texts."""
    found = {str(one.relative_to(root)): one for one in root.rglob("*") if one.is_file() or one.is_symlink()}
    return {name: str(one.readlink()) if one.is_symlink() else one.read_text() for name, one in found.items()}


@pytest.mark.parametrize("fails", ["store", "install", "signal"])
@pytest.mark.parametrize("before", [[], MACS])
def test_what_cannot_be_stored_leaves_what_loads_guards_as_it_was(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch, before: list[str], fails: str
) -> None:
    if before:
        Host(root).converge()
    there, host = files(root), Host(root)
    write, full = _files.write, [start_files.UNIT if not before else start_files.RULES] if fails == "install" else []

    def failing(path: str, *values: t.Any, **how: t.Any) -> None:
        if full and path.endswith(full[0]):
            full.clear()
            raise MacvtapError("No space left on device")
        write(path, *values, **how)

    monkeypatch.setattr(_files, "write", failing)
    error = KeyboardInterrupt if fails == "signal" else MacvtapError
    with pytest.raises(error), host.installer.storing([*before, "52:54:00:00:0a:02"], [], lambda: before):
        raise error("No space left on device")
    assert files(root) == there


def test_what_is_stored_is_loaded(root: pathlib.Path) -> None:
    host, warnings = Host(root, failing="start"), list[str]()
    with host.installer.storing(MACS, warnings, list):
        assert host.commands == []
        assert (root / start_files.HOOK.lstrip("/")).exists()
    assert host.commands[0] == "systemctl daemon-reload"
    assert [one.split(" ")[0] for one in warnings] == ["libvirt", "systemd"]
    with host.installer.storing([], warnings, lambda: MACS):
        assert (root / start_files.HOOK.lstrip("/")).exists()
    assert files(root) == {}
    # Nothing is put back that this did not do.
    with pytest.raises(MacvtapError), Host(root).installer.storing([], warnings, lambda: MACS):
        raise MacvtapError("No space left on device")
    assert files(root) == {}


@pytest.mark.parametrize("there", [[], MACS], ids=["first", "more"])
@pytest.mark.parametrize("macs", [[], [*MACS, "52:54:00:00:0a:02"]], ids=["removed", "stored"])
def test_a_signal_right_after_they_were_stored_leaves_them_loaded(
    root: pathlib.Path, there: list[str], macs: list[str]
) -> None:
    """What is to be undone of that is not known here: the task may keep what it has changed."""
    if there:
        Host(root).converge()
    host, now = Host(root), [there]

    def store() -> t.NoReturn:
        now[0] = macs
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), host.installer.storing(macs, [], lambda: now[0]):
        store()
    assert host.installer.outdated(macs) is (not macs)
    assert host.installer.installed() is bool(macs)
    assert files(root) == {} or macs


def test_what_is_stored_cannot_be_read_and_so_stays_loaded(root: pathlib.Path) -> None:
    def damaged() -> list[str]:
        raise MacvtapError("guards.json is not a file of this collection")

    host = Host(root)
    host.converge()
    there = files(root)
    with pytest.raises(MacvtapError, match="No space"), host.installer.storing(MACS, [], damaged):
        raise MacvtapError("No space left on device")
    assert files(root) == there
