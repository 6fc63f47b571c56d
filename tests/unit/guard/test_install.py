# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What loads guards: it is completed where it has no effect, and starts no guest unguarded that must have a guard."""

from __future__ import annotations

import json
import pathlib
import shlex
import socket
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import install, loader, store
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

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
    assert (root / install.WANTS.lstrip("/")).is_symlink()
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
        if path.endswith(install.NFTABLES):
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
    for path in (install.HOOK, install.WANTS):
        (root / path.lstrip("/")).unlink()
    assert made.installed()
    made.remove()
    assert not made.installed()
    assert [one for one in root.rglob("*guard*") if one.is_file()] == []


@pytest.mark.parametrize("word", ["daemon-reload", "start"])
def test_what_systemd_has_not_read_is_tried_again(root: pathlib.Path, word: str) -> None:
    warning = Host(root, failing=word).converge()[-1]
    assert warning.startswith(f"systemd has not read {install.UNIT}: systemctl {word}")
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
        assert (
            f"udev reads {install.RULES} by itself within three seconds" in Host(root, failing="udevadm").converge()[-1]
        )
    assert not Host(root).installer.outdated(MACS)


@pytest.mark.parametrize("booted", [True, False], ids=["booted", "image"])
def test_the_unit_is_enabled_wherever_it_is_written(root: pathlib.Path, booted: bool) -> None:
    if not booted:
        (root / "run/systemd/system").rmdir()
    wants = root / install.WANTS.lstrip("/")
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
    wants.symlink_to(install.UNIT)
    assert not Host(root).installer.outdated(MACS)


def test_a_masked_unit_stays_so(root: pathlib.Path) -> None:
    unit = root / install.UNIT.lstrip("/")
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    assert f"{install.UNIT} is not managed by this collection" in Host(root).converge()[0]
    assert not Host(root).installer.outdated(MACS)
    assert not (root / install.WANTS.lstrip("/")).is_symlink()


@pytest.mark.parametrize("text", ["", "# changed\n"])
def test_a_hook_that_libvirt_passes_over_is_made_executable(root: pathlib.Path, text: str) -> None:
    Host(root).converge()
    hook = root / install.HOOK.lstrip("/")
    hook.write_text(hook.read_text() + text)
    hook.chmod(0o644)
    again = Host(root)
    assert again.installer.outdated(MACS)
    assert f"libvirt reads {install.HOOK} only when" in again.converge()[0]
    assert hook.stat().st_mode & 0o777 == 0o755
    assert not Host(root).installer.outdated(MACS)
    # Whoever lets others read less has a hook all the same.
    hook.chmod(0o700)
    assert not Host(root).installer.outdated(MACS)


class Started:
    """The files that start the program, on a host with the Pythons ``named`` and ``distribution``, there or not."""

    def __init__(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path, self.store, self.program = path, path / "guards.json", path / "guard"
        self.named, self.distribution = path / "python3.9 of mine", path / "python3"
        monkeypatch.setattr(loader, "STORE", str(self.store))
        monkeypatch.setattr(install, "PROGRAM", str(self.program))
        monkeypatch.setattr(install, "_PYTHON", str(self.distribution))
        self.store.write_text(json.dumps({"guards": {one.mac: store.entry_of(one) for one in GUARDS}}, sort_keys=True))
        self.program.write_text("import sys\nprint(sys.argv[1:], sys.stdin.read())\n")

    def python(self, path: pathlib.Path) -> None:
        path.write_text(f'#!/bin/sh\necho {shlex.quote(path.name)}\nexec {sys.executable} "$@"\n')
        path.chmod(0o755)

    def run(self, file: str, *words: str, given: str = "") -> tuple[int, str]:
        script = self._path / "script"
        script.write_text(install.texts(MACS, str(self.named))[file][0])
        done = subprocess.run(
            ["/bin/sh", str(script), *words], input=given, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def guest(self, mac: str, *moment: str) -> tuple[int, str]:
        document = f"<domain><devices><interface type='direct'><mac address='{mac}'/></interface></devices></domain>"
        return self.run(install.HOOK, "web1", *(moment or ("start", "begin")), "-", given=document)


OTHER, WATCHED = "52:54:00:00:0a:99", "52:54:00:00:0a:02"
GUARDS = [Guard(MACS[0], peers=("52:54:00:00:0a:98",)), Guard(WATCHED, policy="count", addresses=("192.0.2.1",))]


@pytest.fixture
def started(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(tmp_path, monkeypatch)


@pytest.mark.parametrize("file", [install.HOOK, install.START])
def test_the_program_runs_with_the_python_that_is_there(started: Started, file: str) -> None:
    words = ["web1", "start", "begin", "-"] if file == install.HOOK else ["load"]
    expected = ["qemu", *words] if file == install.HOOK else words
    started.python(started.distribution)
    for python in (started.distribution, started.named):
        started.python(python)
        assert started.run(file, *words, given="<domain/>") == (0, f"{python.name}\n{expected} <domain/>\n")
    started.program.write_text("raise SystemExit(1)")
    assert started.run(file, *words)[0] == 1


@pytest.mark.parametrize("gone", ["python", "program"])
def test_without_it_no_guest_starts_that_must_have_a_guard(started: Started, gone: str) -> None:
    if gone == "program":
        started.python(started.distribution)
        started.program.unlink()
    code, message = started.guest(MACS[0])
    assert (code, f"linuxvirt.macvtap: no guard for {MACS[0]}: " in message) == (1, True)
    # One without a guard, one that is only watched, one that another guest may reach, and whatever is no start.
    for mac in (OTHER, WATCHED, "52:54:00:00:0a:98"):
        assert started.guest(mac) == (0, "")
    assert started.guest(MACS[0], "release", "end") == (0, "")
    assert started.run(install.HOOK, "web1", "start", "begin", "-", given="<domain/>") == (0, "")
    started.store.unlink()
    assert started.guest(MACS[0]) == (0, "")


def test_without_it_nothing_else_is_told_as_done(started: Started) -> None:
    code, message = started.run(install.START, "load")
    assert (code, "no guards are loaded" in message) == (1, True)


def test_the_distributions_python_has_the_name_that_an_upgrade_keeps(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, stable = tmp_path / "python3.11", tmp_path / "python3"
    for path in (version, tmp_path / "python3.12"):
        path.touch()
    stable.symlink_to(version)
    monkeypatch.setattr(install, "_PYTHON", str(stable))
    monkeypatch.setattr(sys, "executable", str(version))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert install.interpreter() == str(stable)
    # Another one, and an environment that has libraries of its own.
    monkeypatch.setattr(sys, "prefix", "/venv")
    assert install.interpreter() == str(version)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3.12"))
    assert install.interpreter() == str(tmp_path / "python3.12")


def test_nothing_names_a_python_but_what_can_do_without_it() -> None:
    python = "/usr/bin/python3.99"
    assert [path for path, (text, _mode) in install.texts(MACS, python).items() if python in text] == [
        install.START,
        install.HOOK,
    ]
