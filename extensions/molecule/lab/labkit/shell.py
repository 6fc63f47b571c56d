# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Processes, progress messages and locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import typing as t
from pathlib import Path


class LabError(Exception):
    """What went wrong, in one line for the person at the terminal."""


def say(text: str) -> None:
    """Progress goes to stderr: stdout belongs to the command's answer."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def try_run(argv: t.Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command and return however it ended; raises LabError where it cannot be run at all or hangs."""
    try:
        return subprocess.run(list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]}: no such command; install the Debian package that has it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"'{' '.join(argv)}' did not end within {timeout:g} s") from error


def run(argv: t.Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> str:
    """Run a command that has to succeed; returns its stdout."""
    done = try_run(argv, stdin=stdin, timeout=timeout)
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise LabError(f"'{' '.join(argv)}' failed: {words}")
    return done.stdout


@contextlib.contextmanager
def locked(path: Path, *, keep: bool = False) -> t.Iterator[int]:
    """Hold an exclusive lock on a file for the duration, and remove the file afterwards unless it has content.

    Removing a lock file is safe only if whoever waited for it looks again whether it still is the file
    of that name: another process may have unlinked it, or made a new one, in between.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the directory went between the two calls
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                break
        os.close(fd)
    try:
        yield fd
    finally:
        if not keep and os.fstat(fd).st_size == 0:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other labs are in it
                path.parent.rmdir()
        os.close(fd)
