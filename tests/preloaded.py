# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Processes that have imported a module, and run it in a fork each time: more than half of a short run is imports.

One for each module and place, so that a run finds imported what its module itself imports first, and no more. It ends
with its place, or when this process does. Only places that :func:`allow` knows have any.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import traceback
import typing as t

Place = t.Tuple[str, ...]
# What runs modules there, by place and module.
_PLACES: dict[Place, dict[str, _Server]] = {}
_CHOICE = threading.Lock()


class Run(t.NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Program(t.NamedTuple):
    """A module, and what runs it: ``path`` is where an interpreter finds what its own packages lack."""

    python: str
    module: str
    path: t.Sequence[str]
    environment: t.Mapping[str, str]


class _Server:
    def __init__(self, prefix: Place, program: Program) -> None:
        self.program = program
        self.busy = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            words = [program.python, __file__, str(theirs.fileno()), program.module, *program.path]
            self._process = subprocess.Popen(
                [*prefix, *words], env=program.environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def run(self, stdin: str, timeout: float) -> Run:
        self._socket.settimeout(timeout)
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(os.fdopen(os.memfd_create(name), "w+b")) for name in ("in", "out", "err")]
            files[0].write(stdin.encode())
            files[0].seek(0)
            request = json.dumps({"directory": os.getcwd(), "timeout": timeout})
            socket.send_fds(self._socket, [request.encode()], [file.fileno() for file in files])
            try:
                answer = self._socket.recv(64)
            except TimeoutError as exc:
                raise AssertionError(f"the module is not ready after {timeout} s: {_read(files[2])}") from exc
            texts = [_read(file) for file in files[1:]]
        assert answer, f"the process that runs modules has ended: {texts[1]}"
        return Run(json.loads(answer), *texts)

    def end(self) -> None:
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # it waits for a run that takes too long
            self._process.kill()
            self._process.wait()


def _read(file: t.IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def allow(prefix: t.Sequence[str]) -> None:
    """Have processes for modules that run under this command from now on, until :func:`end` is called."""
    _PLACES[tuple(prefix)] = {}


def end(prefix: t.Sequence[str]) -> None:
    """End the processes of a place. A network namespace lives on as long as one of them does."""
    for server in _PLACES.pop(tuple(prefix), {}).values():
        server.end()


def run(prefix: t.Sequence[str], program: Program, stdin: str, timeout: float) -> Run | None:
    """Run a program in a place, or return None if that place has no process for it that is idle."""
    servers = _PLACES.get(tuple(prefix))
    if servers is None:
        return None
    with _CHOICE:
        if program.module not in servers:
            servers[program.module] = _Server(tuple(prefix), program)
        server = servers[program.module]
        if server.program != program or not server.busy.acquire(blocking=False):
            return None
    try:
        return server.run(stdin, timeout)
    except BaseException:
        # It may not be ready for the next run.
        del servers[program.module]
        server.end()
        raise
    finally:
        server.busy.release()


def serve(descriptor: int, module: str) -> bool:
    """Fork for each request; return True in a child, with the request's files, and False when nobody asks any more."""
    importlib.import_module(module)
    # It runs as a program, and is no module that others have imported.
    del sys.modules[module]
    with socket.socket(fileno=descriptor) as sock:
        while True:
            request, files, _flags, _address = socket.recv_fds(sock, 8192, 3)
            if not request:
                return False
            child = os.fork()
            if child == 0:
                for number, file in enumerate(files):
                    os.dup2(file, number)
                given = json.loads(request)
                os.chdir(given["directory"])
                # Right before the time is up: where it waits.
                faulthandler.dump_traceback_later(max(given["timeout"] - 2, 1), file=2)
            for file in files:
                os.close(file)
            if child == 0:
                return True
            _pid, status = os.waitpid(child, 0)
            sock.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


def perform(module: str) -> None:
    """Run a module as a program, and end this process as that says.

    Not by the interpreter's own end: that clears all that has been imported, and so copies the memory which a fork
    shares with its parent. It takes four times as long as a short run.
    """
    status: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    except Exception:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    sys.path.extend(sys.argv[3:])
    # As with `python -c`: what is beside this file is not imported by a module.
    sys.path[0] = ""
    if serve(int(sys.argv[1]), sys.argv[2]):
        module = sys.argv[2]
        sys.argv[1:] = []
        perform(module)
