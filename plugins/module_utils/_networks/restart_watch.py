# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Starts the restart watch: a process that starts a network again if the run is killed while it is stopped.

libvirt cannot restart a network in one request. A run that is killed between the two would leave it inactive, so that
no guest on it starts any more.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import restarter

_SECONDS = 5


class RestartWatch:
    """The restart watch of one run. It is started before the first network is stopped, and ends with the run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._process: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def restarting(self, uuid: str, name: str) -> t.Iterator[t.Callable[[], None]]:
        """Have the network of this ``uuid`` started if this process is killed before the context ends without an error.

        The context is a function, which is to be called once the network is stopped.

        :raises MacvtapError: the watch does not start. Nothing was done yet.
        """
        if self._process is None:
            self._process = self._start(name)
        self._write(f"{restarter.STOPS} {uuid}")
        yield lambda: self._write(f"{restarter.STOPPED} {uuid}")
        self._write(f"{restarter.STARTED} {uuid}")

    def close(self) -> None:
        """End the watch: this run knows in which state it leaves the networks."""
        if self._process is None:
            return
        self._write(restarter.ENDED)
        process, self._process = self._process, None
        with contextlib.suppress(OSError):
            # An error of flushing is one of a watch that has ended.
            t.cast("t.IO[str]", process.stdin).close()
        t.cast("t.IO[str]", process.stdout).close()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write(self, line: str) -> None:
        # A watch that was killed starts nothing, and the run itself goes on.
        with contextlib.suppress(OSError):
            stdin = t.cast("t.IO[str]", t.cast("subprocess.Popen[str]", self._process).stdin)
            stdin.write(f"{line}\n")
            stdin.flush()

    def _start(self, name: str) -> subprocess.Popen[str]:
        loader: t.Any = restarter.__loader__
        source = f"{loader.get_source(restarter.__name__)}\n\nmain(sys.argv[1:])\n"
        library = os.path.dirname(getattr(self._connection.libvirt, "__file__", None) or "")
        command = [sys.executable, "-c", source, self._connection.uri, *([library] if library else [])]
        pipe = subprocess.PIPE
        try:
            # It outlives this function.
            process = subprocess.Popen(  # pylint: disable=consider-using-with,ansible-bad-function
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, start_new_session=True, cwd="/"
            )
            ready = t.cast("t.IO[str]", process.stdout).readline().strip() == restarter.READY
        except OSError as exc:
            raise MacvtapError(f"network {name!r} is not restarted, because no other process starts: {exc}") from exc
        if not ready:
            process.kill()
            process.wait()
            raise MacvtapError(
                f"network {name!r} is not restarted, because the process that would start it again, if this run was "
                "killed in between, does not start"
            )
        return process
