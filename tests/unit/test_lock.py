# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One run at a time on a host."""

from __future__ import annotations

import os
import pathlib
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
    refuses(tmp_path / "none", r"^cannot lock .*/none/.*: No such file or directory")
