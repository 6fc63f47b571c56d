# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What killed runs have left of the files that they wrote is cleared, and never what another run is writing."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import PROGRAM

WRITERS: dict[str, t.Callable[[str], None]] = {
    "file": lambda path: _files.write(path, "whole\n"),
    "link": lambda path: _files.write_link(path, "whole"),
}
# Another program's run: it writes, and stops right before the file gets its name.
ANOTHER_RUN = """\
import os, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
replace = os.replace
def stop(*paths):
    print("written", flush=True)
    sys.stdin.readline()
    return replace(*paths)
os.replace = stop
_files.write(sys.argv[2], "whole\\n") if sys.argv[3] == "file" else _files.write_link(sys.argv[2], "whole")
"""


def another_run(path: pathlib.Path, what: str) -> subprocess.Popen[str]:
    """Return another run that is between the creation of ``path`` and its rename."""
    process = subprocess.Popen(
        [sys.executable, "-c", ANOTHER_RUN, str(ROOT / ".collections"), str(path), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def whole(path: pathlib.Path) -> bool:
    return os.readlink(path) == "whole" if path.is_symlink() else path.read_text() == "whole\n"


@pytest.mark.parametrize("what", WRITERS)
def test_a_run_of_macvtap_persistence_leaves_alone_what_another_run_is_writing(
    tmp_path: pathlib.Path, what: str
) -> None:
    """Guards are in the same directory, and have a lock of their own."""
    guards = tmp_path / "etc/linuxvirt-macvtap/guards.json"
    process = another_run(guards, what)
    program = File(PROGRAM, HEADER + "\n")
    host.apply([step_between(None, program)], root=str(tmp_path))
    host.apply([step_between(program, None)], root=str(tmp_path))
    process.communicate("go on\n", timeout=60)
    assert process.returncode == 0
    assert whole(guards)
    assert os.listdir(guards.parent) == ["guards.json"]


@pytest.mark.parametrize("what", WRITERS)
def test_what_a_killed_run_has_left_is_cleared(tmp_path: pathlib.Path, what: str) -> None:
    process = another_run(tmp_path / "guards.json", what)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    _files.clear([str(tmp_path)])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("file", "tempfile.mkstemp"),
        ("file", "fcntl.flock"),
        ("file", "os.fsync"),
        ("file", "os.replace"),
        ("link", "tempfile.mkdtemp"),
        ("link", "os.open"),
        ("link", "fcntl.flock"),
        ("link", "os.symlink"),
        ("link", "os.replace"),
    ],
)
def test_another_run_may_clear_at_any_moment(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, what: str, step: str
) -> None:
    module, name = step.split(".")
    real = getattr(getattr(_files, module), name)
    cleared: list[str] = []

    def then_clear(*args: t.Any, **more: t.Any) -> t.Any:
        if cleared:
            return real(*args, **more)
        # Right before the last step, and right after all others.
        result = real(*args, **more) if step != "os.replace" else None
        cleared.extend(os.listdir(tmp_path))
        _files.clear([str(tmp_path)])
        return result if step != "os.replace" else real(*args, **more)

    monkeypatch.setattr(getattr(_files, module), name, then_clear)
    WRITERS[what](str(tmp_path / "rules"))
    assert len(cleared) == 1
    assert whole(tmp_path / "rules")
    assert os.listdir(tmp_path) == ["rules"]


@pytest.mark.parametrize("what", WRITERS)
def test_a_writer_that_is_cleared_before_it_has_locked_begins_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    real = fcntl.flock
    refused: list[str] = []

    def held_by_clear(descriptor: int, operation: int) -> None:
        if not refused:
            refused.extend(os.listdir(tmp_path))
            raise BlockingIOError
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", held_by_clear)
    WRITERS[what](str(tmp_path / "rules"))
    assert whole(tmp_path / "rules")
    # The other run removes the first one.
    assert sorted(os.listdir(tmp_path)) == [*refused, "rules"]


@pytest.mark.parametrize("what", WRITERS)
def test_nothing_is_cleared_where_nothing_can_be_locked(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    replace = os.replace

    def then_clear(*paths: str) -> None:
        _files.clear([str(tmp_path)])
        replace(*paths)

    monkeypatch.setattr(os, "replace", then_clear)
    WRITERS[what](str(tmp_path / "rules"))
    assert whole(tmp_path / "rules")
    assert os.listdir(tmp_path) == ["rules"]


@pytest.mark.parametrize("what", WRITERS)
def test_another_run_may_remove_the_empty_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    directory, make = tmp_path / "linuxvirt-macvtap", _files.make_directory
    removed: list[str] = []

    def then_remove(path: str) -> None:
        make(path)
        if path == str(directory) and not removed:
            removed.append(path)
            os.rmdir(path)

    monkeypatch.setattr(_files, "make_directory", then_remove)
    WRITERS[what](str(directory / "guards.json"))
    assert removed
    assert whole(directory / "guards.json")


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").symlink_to("missing")
    for write in WRITERS.values():
        with pytest.raises(_files.MacvtapError, match="No such file or directory"):
            write(str(tmp_path / "etc/file"))


def test_what_former_versions_have_left_is_cleared_once_none_can_be_writing(tmp_path: pathlib.Path) -> None:
    """They locked nothing."""
    for name in (".macvtap-abcdefgh", ".macvtap-12345678"):
        (tmp_path / name).write_text("half")
    for name in (".macvtap-ijklmnop", ".macvtap-87654321"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to("whole")
    before = time.time() - 7200
    for name in (".macvtap-abcdefgh", ".macvtap-ijklmnop"):
        os.utime(tmp_path / name, (before, before))
    _files.clear([str(tmp_path)])
    assert sorted(os.listdir(tmp_path)) == [".macvtap-12345678", ".macvtap-87654321"]


def test_what_has_another_name_or_form_stays(tmp_path: pathlib.Path) -> None:
    before = time.time() - 7200
    names = [".macvtap-mine", ".macvtap-abcdefgh.conf", "macvtap-abcdefgh", ".macvtap-fifofifo", ".macvtap-linklink"]
    for name in names[:3]:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (before, before))
    os.mkfifo(tmp_path / names[3])
    os.utime(tmp_path / names[3], (before, before))
    (tmp_path / names[4]).symlink_to(names[0])
    _files.clear([str(tmp_path), str(tmp_path / "missing")])
    assert sorted(os.listdir(tmp_path)) == sorted(names)
