# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One run at a time on a host."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# Each test has another one, so that it shares no locks.
_DIRECTORY = _lock.directory


def refuses(directory: pathlib.Path, message: str, timeout: float = 0) -> None:
    with pytest.raises(MacvtapError, match=message), _lock.held("links", timeout=timeout, directory=str(directory)):
        pass


def test_another_run_is_named_and_the_next_one_comes_to_it(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path)
    with _lock.held("links", timeout=0, directory=directory):
        started = time.monotonic()
        # Another open file, as another process would have.
        refuses(tmp_path, rf"^lock_timeout: another run \(pid {os.getpid()}\) .*{tmp_path}", timeout=0.2)
        assert time.monotonic() - started >= 0.2
        with _lock.held("domains", timeout=0, directory=directory):
            pass
    with _lock.held("links", timeout=0, directory=directory):
        pass


def test_it_waits_no_longer_than_it_must(tmp_path: pathlib.Path) -> None:
    held = threading.Event()

    def hold() -> None:
        with _lock.held("links", timeout=0, directory=str(tmp_path)):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    started = time.monotonic()
    with _lock.held("links", timeout=30, directory=str(tmp_path)):
        assert 0.1 < time.monotonic() - started < 5
    thread.join()


def test_a_failed_run_releases_the_lock(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ZeroDivisionError), _lock.held("links", timeout=0, directory=str(tmp_path)):
        raise ZeroDivisionError
    with _lock.held("links", timeout=0, directory=str(tmp_path)):
        pass


def test_a_killed_run_releases_the_lock(tmp_path: pathlib.Path) -> None:
    code = textwrap.dedent(f"""
        import time
        from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
        with _lock.held("links", timeout=0, directory={str(tmp_path)!r}):
            print("held", flush=True)
            time.sleep(60)
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        refuses(tmp_path, rf"another run \(pid {process.pid}\)")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with _lock.held("links", timeout=0, directory=str(tmp_path)):
            pass


def test_the_file_is_roots_alone_and_no_link_is_followed(tmp_path: pathlib.Path) -> None:
    with _lock.held("links", timeout=0, directory=str(tmp_path)):
        (file,) = tmp_path.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file.unlink()
    file.symlink_to(victim)
    refuses(tmp_path, rf"^cannot lock {file}: ")
    assert victim.read_text() == "precious"


def test_the_error_has_the_reason_why_there_can_be_no_lock(tmp_path: pathlib.Path) -> None:
    refuses(tmp_path / "none", r"^cannot lock .*/none/.*: No such file or directory$")
    file = tmp_path / "linuxvirt.macvtap.links.lock"
    file.mkdir()
    refuses(tmp_path, rf"^cannot lock {file}: Is a directory$")


@pytest.mark.parametrize(("user", "end"), [(0, ""), (1000, r"\. Changing links requires root")])
def test_root_is_not_told_to_be_root(monkeypatch: pytest.MonkeyPatch, user: int, end: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    # Not even root creates a file there.
    refuses(pathlib.Path("/sys"), rf"^cannot lock /sys/.*: (Permission denied|Operation not permitted){end}$")


def test_a_full_file_system_holds_a_lock_without_a_pid(tmp_path: pathlib.Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with _lock.held("links", timeout=0, directory=str(tmp_path)):
            refuses(tmp_path, r"^lock_timeout: another run \(pid unknown\) is changing links")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_file_system_without_locks_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_file: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    refuses(tmp_path, rf"^cannot lock {tmp_path}/.*: No locks available$")


def test_a_directory_for_locks_that_cannot_be_created_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, _mode: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setenv("XDG_RUNTIME_DIR", "/none")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        patch.setattr(os, "mkdir", mkdir)
        with pytest.raises(MacvtapError, match=r"^/tmp/.*-12345, which is to hold locks, cannot be created: No space"):
            _DIRECTORY()
