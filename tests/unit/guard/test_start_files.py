# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What starts the program that loads guards: with which Python, and what starts without any."""

from __future__ import annotations

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader, start_files, store
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

MACS = ["52:54:00:00:0a:01"]


class Started:
    """The files that start the program, on a host with the Pythons ``named`` and ``distribution``, there or not."""

    def __init__(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path, self.store, self.program = path, path / "guards.json", path / "guard"
        self.named, self.distribution = path / "python3.9 of mine", path / "python3"
        monkeypatch.setattr(loader, "STORE", str(self.store))
        monkeypatch.setattr(start_files, "PROGRAM", str(self.program))
        monkeypatch.setattr(start_files, "_PYTHON", str(self.distribution))
        self.store.write_text(json.dumps({"guards": {one.mac: store.entry_of(one) for one in GUARDS}}, sort_keys=True))
        self.program.write_text("import sys\nprint(sys.argv[1:], sys.stdin.read())\n")

    def python(self, path: pathlib.Path) -> None:
        path.write_text(f'#!/bin/sh\necho {shlex.quote(path.name)}\nexec {sys.executable} "$@"\n')
        path.chmod(0o755)

    def run(self, file: str, *words: str, given: str = "") -> tuple[int, str]:
        script = self._path / "script"
        script.write_text(start_files.texts(MACS, str(self.named))[file][0])
        done = subprocess.run(
            ["/bin/sh", str(script), *words], input=given, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def guest(self, mac: str, *moment: str) -> tuple[int, str]:
        document = f"<domain><devices><interface type='direct'><mac address='{mac}'/></interface></devices></domain>"
        return self.run(start_files.HOOK, "web1", *(moment or ("start", "begin")), "-", given=document)


OTHER, WATCHED = "52:54:00:00:0a:99", "52:54:00:00:0a:02"
GUARDS = [Guard(MACS[0], peers=("52:54:00:00:0a:98",)), Guard(WATCHED, policy="count", addresses=("192.0.2.1",))]


@pytest.fixture
def started(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(tmp_path, monkeypatch)


@pytest.mark.parametrize("file", [start_files.HOOK, start_files.START])
def test_the_program_runs_with_the_python_that_is_there(started: Started, file: str) -> None:
    words = ["web1", "start", "begin", "-"] if file == start_files.HOOK else ["load"]
    expected = ["qemu", *words] if file == start_files.HOOK else words
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
    assert started.run(start_files.HOOK, "web1", "start", "begin", "-", given="<domain/>") == (0, "")
    started.store.unlink()
    assert started.guest(MACS[0]) == (0, "")


def test_without_it_nothing_else_is_told_as_done(started: Started) -> None:
    code, message = started.run(start_files.START, "load")
    assert (code, "no guards are loaded" in message) == (1, True)


def test_the_distributions_python_has_the_name_that_an_upgrade_keeps(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, stable = tmp_path / "python3.11", tmp_path / "python3"
    for path in (version, tmp_path / "python3.12"):
        path.touch()
    stable.symlink_to(version)
    monkeypatch.setattr(start_files, "_PYTHON", str(stable))
    monkeypatch.setattr(sys, "executable", str(version))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert start_files.interpreter() == str(stable)
    # Another one, and an environment that has libraries of its own.
    monkeypatch.setattr(sys, "prefix", "/venv")
    assert start_files.interpreter() == str(version)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3.12"))
    assert start_files.interpreter() == str(tmp_path / "python3.12")


def test_nothing_names_a_python_but_what_can_do_without_it() -> None:
    python = "/usr/bin/python3.99"
    assert [path for path, (text, _mode) in start_files.texts(MACS, python).items() if python in text] == [
        start_files.START,
        start_files.HOOK,
    ]
