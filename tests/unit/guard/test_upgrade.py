# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that loads guards is one of one version, wherever a run is killed that installs or removes it."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import install, start_files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER

MACS = ["52:54:00:00:0a:01"]
# The program of a former version fails with parts of another one.
FORMER_PROGRAM = f"""{HEADER}
import sys
sys.dont_write_bytecode = True
for name in {[pathlib.Path(one).stem for one in start_files.FORMER_PARTS]!r}:
    assert __import__(name).FORMER
"""
FORMER_PART = f"{HEADER}\nFORMER = True\n"


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for directory in ("etc/libvirt", "run/systemd/system"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def installer(root: pathlib.Path) -> install.Installer:
    return install.Installer(lambda _words: (0, ""), str(root))


def converge(root: pathlib.Path) -> None:
    made = installer(root)
    made.install(MACS)
    made.start()


def former(root: pathlib.Path) -> None:
    """Install what a former version has installed."""
    converge(root)
    for path in start_files.FORMER_PARTS:
        at(root, path).write_text(FORMER_PART)
    at(root, start_files.PROGRAM).write_text(FORMER_PROGRAM)
    at(root, start_files.START).write_text(f"{HEADER}\n")


def at(root: pathlib.Path, path: str) -> pathlib.Path:
    return root / path.lstrip("/")


def run(root: pathlib.Path) -> str:
    """Run the program for a guest without NICs, and return its errors, "" if it works."""
    command = [sys.executable, str(at(root, start_files.PROGRAM)), "qemu", "web1", "start", "begin", "-"]
    done = subprocess.run(command, input="<domain/>", capture_output=True, text=True, check=False)
    return done.stderr or str(done.returncode or "")


def files(root: pathlib.Path) -> dict[str, str]:
    return {
        str(one): _files.read(str(one)) or "" for one in root.rglob("*") if one.is_file() and "proc" not in one.parts
    }


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, work: t.Callable[[], None]) -> bool:
    """Do what is to be done until the file is to be written that is number ``step``; return whether there was one."""
    steps = iter(range(step))

    def kills(write: t.Callable[..., None]) -> t.Callable[..., None]:
        def killing(*values: t.Any, **how: t.Any) -> None:
            if next(steps, None) is None:
                raise KeyboardInterrupt
            write(*values, **how)

        return killing

    with monkeypatch.context() as patched:
        for name in ("write", "write_link"):
            patched.setattr(_files, name, kills(getattr(_files, name)))
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


def test_it_is_one_file_which_imports_nothing_from_beside_it(root: pathlib.Path) -> None:
    converge(root)
    assert run(root) == ""
    assert sorted(one.name for one in at(root, "/etc/linuxvirt-macvtap").iterdir()) == ["guard", "guard-start"]
    for module in start_files.MODULES:
        name = module.__name__.rpartition(".")[2]
        at(root, f"/etc/linuxvirt-macvtap/{name}.py").write_text("raise SystemExit('of another version')\n")
    assert run(root) == ""
    # Else the embedded sources would end there.
    assert not any("'''" in pathlib.Path(module.__file__ or "").read_text() for module in start_files.MODULES)


def test_it_works_at_each_step_of_an_upgrade(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converge(root)
    there = files(root)
    step = 0
    former(root)
    assert run(root) == ""
    while killed_at(step, monkeypatch, lambda: converge(root)):
        assert run(root) == ""
        assert installer(root).outdated(MACS)
        former(root)
        step += 1
    # The unread ones, two texts, each former part, and the unread ones again.
    assert step == 4 + len(start_files.FORMER_PARTS)
    assert files(root) == there
    assert not installer(root).outdated(MACS)


def test_a_killed_upgrade_is_completed(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converge(root)
    there = files(root)
    for step in range(4 + len(start_files.FORMER_PARTS)):
        former(root)
        assert killed_at(step, monkeypatch, lambda: converge(root))
        converge(root)
        assert files(root) == there


def test_nothing_of_a_former_version_stays_when_the_last_guard_goes(root: pathlib.Path) -> None:
    former(root)
    installer(root).remove()
    assert files(root) == {}
    at(root, start_files.FORMER_PARTS[0]).parent.mkdir(parents=True)
    at(root, start_files.FORMER_PARTS[0]).write_text(FORMER_PART)
    assert installer(root).installed()


def test_parts_stay_while_the_program_runs_that_imports_them(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former(root)
    process = root / "proc/77/cmdline"
    process.parent.mkdir(parents=True)
    process.write_bytes(b"\0".join([b"/usr/bin/python3", start_files.PROGRAM.encode(), b"load", b""]))
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    converge(root)
    assert all(at(root, one).exists() for one in start_files.FORMER_PARTS)
    assert 1 < sum(waits) < 3
    # The next run removes them.
    assert installer(root).outdated(MACS)
    process.write_bytes(b"/usr/bin/python3\0-m\0http.server\0")
    converge(root)
    assert not any(at(root, one).exists() for one in start_files.FORMER_PARTS)
    assert not installer(root).outdated(MACS)


@pytest.mark.parametrize("path", [start_files.PROGRAM, start_files.FORMER_PARTS[0]])
def test_what_is_not_this_collections_stays(root: pathlib.Path, path: str) -> None:
    former(root)
    at(root, path).write_text("FORMER = True\n")
    converge(root)
    assert at(root, path).read_text() == "FORMER = True\n"
    # What a program of others may import as well.
    is_program = path == start_files.PROGRAM
    assert all(at(root, one).exists() == is_program for one in start_files.FORMER_PARTS[1:])
    assert not installer(root).outdated(MACS)
