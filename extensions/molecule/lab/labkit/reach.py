# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Into a hypervisor from outside, whether it is a set of namespaces or a virtual machine."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import typing as t

from labkit import cells, model
from labkit.model import Cell, Vm

# Between its stdin and stdout, which are one socket here, and a socket there.
RELAY = """\
import os, select, socket, sys
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
print(flush=True)
while True:
    for fd in select.select([0, there.fileno()], [], [])[0]:
        data = os.read(fd, 65536)
        if not data:
            sys.exit()
        there.sendall(data) if fd == 0 else os.write(1, data)
"""


def command(where: Cell, argv: t.Sequence[str]) -> list[str]:
    """The words that run a command inside a hypervisor, or in the switch's namespaces."""
    if isinstance(where, Vm):
        # A shell is at the other end.
        return ["ssh", "-F", str(where.ssh_config), where.name, shlex.join(argv)]
    return [*cells.enter(where), *argv]


@contextlib.contextmanager
def unix_socket(where: Cell, path: str) -> t.Iterator[socket.socket]:
    """A connection to a Unix socket on a hypervisor; raises OSError where nothing listens."""
    if not isinstance(where, Vm):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(f"{cells.root_of(where)}{path}")
            yield sock
        return
    here, far = socket.socketpair()
    with here:
        argv = command(where, [model.PYTHON, "-c", RELAY, path])
        with far, subprocess.Popen(argv, stdin=far.fileno(), stdout=far.fileno(), stderr=subprocess.DEVNULL) as process:
            far.close()
            try:
                if here.recv(1) != b"\n":
                    raise ConnectionRefusedError(path)
                yield here
            finally:
                here.close()
                process.terminate()
