# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper: a process that attaches a NIC again which a guest releases after the run that asked for it has ended.

A guest cannot be asked to forget a request to release a NIC: it answers late, or QEMU carries it out at the next reset.
So each request is written to a state file before it is made (``records.py``), and as long as there is one a keeper
runs, one for each host. It is this package, copied to where the state files are: it needs nothing but Python and
libvirt, since a module's own code is gone when the run ends. If it is killed, systemd starts it again or, without
systemd, a second process of it, which it starts again likewise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, records

# What starts it again at boot and when it is killed, where systemd runs; each is a file and a link to it.
UNIT = "linuxvirt-macvtap-keeper.service"
UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system")
WANTS = "multi-user.target.wants"
# What LOCK of main() is: it is taken here, by a process that systemd looks after; or by two that look after each other.
BY_SYSTEMD, BY_TWO = "systemd", "-"
_SECONDS = 0.25
# libvirt 9.0 gives a source the guest's address for a moment at each attempt that fails in mode passthrough.
_LONGEST_SECONDS = 8.0


def main(arguments: t.Sequence[str]) -> None:
    """Run as ``DIRECTORY LOCK PATH…``: LOCK is an inherited descriptor or one of the above, PATH where libvirt is."""
    directory, inherited, *paths = arguments
    sys.path += paths
    import libvirt  # pylint: disable=import-outside-toplevel  # only the program needs it, and must not run without

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    lock = _take_lock(directory) if inherited in {BY_SYSTEMD, BY_TWO} else int(inherited)
    if lock is None:
        return
    os.set_inheritable(lock, True)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def again() -> None:
        # Where Python itself has gone meanwhile, it goes on as it is.
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [sys.executable, sys.argv[0], directory, str(lock), *paths])  # noqa: S606

    if inherited == BY_SYSTEMD:
        _work(libvirt, directory, lock)
    supervisor = os.getpid()
    while True:
        worker = os.fork()
        if worker == 0:
            _work(libvirt, directory, lock, supervisor, again)
        ended = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        if ended or not os.path.isdir(directory):
            return
        time.sleep(_SECONDS)
        # Not only as before: a newer run may have brought a newer program.
        again()


def _take_lock(directory: str) -> int | None:
    """Return the descriptor of the keeper's lock, None if there is a keeper already."""
    file = os.open(os.path.join(directory, records.LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    for _try in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return file
    os.close(file)
    return None


def _work(
    libvirt: t.Any, directory: str, lock: int, supervisor: int | None = None, again: t.Callable[[], None] | None = None
) -> t.NoReturn:
    """Watch every domain until nothing is outstanding; ``again`` is called when the ``supervisor`` has ended."""
    threads: dict[str, threading.Thread] = {}
    program = _identity(sys.argv[0])
    while True:
        with records.locked(directory, "all"):
            found = records.uuids(directory)
            if not found:
                _remove_unit(directory)
                # Whoever writes a file holds the other lock, and finds no keeper then.
                fcntl.flock(lock, fcntl.LOCK_UN)
                os._exit(0)
        for uuid in found:
            if uuid not in threads or not threads[uuid].is_alive():
                threads[uuid] = threading.Thread(target=_watch, args=(libvirt, directory, uuid), daemon=True)
                threads[uuid].start()
        if again is not None and os.getppid() != supervisor:
            again()
        if _identity(sys.argv[0]) not in {program, None}:
            # A newer run's requests are the newer program's to understand. Whoever starts this again starts that.
            os._exit(1)
        time.sleep(_SECONDS)


def _watch(libvirt: t.Any, directory: str, uuid: str) -> None:
    """Look at one domain until nothing of it is outstanding; libvirtd may go and come back meanwhile."""
    connection = None
    pause = _SECONDS
    while True:
        refused = False
        # Whatever happens, the next look may find what is needed: nobody else would.
        with contextlib.suppress(Exception):
            state = records.load(directory, uuid)
            if state is not None and (connection is None or not connection.isAlive()):
                connection = libvirt.open(state["uri"])
            refused = guest.look(libvirt, connection, directory, uuid)
            if state is None:
                return
        pause = min(2 * pause, _LONGEST_SECONDS) if refused else _SECONDS
        time.sleep(pause)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _remove_unit(directory: str) -> None:
    """Remove what starts a keeper of this directory at boot; where that cannot be, it starts one that ends at once."""
    for units in UNIT_DIRECTORIES:
        with contextlib.suppress(OSError):
            with open(f"{units}/{UNIT}", encoding="utf-8") as file:
                if f'"{directory}"' not in file.read():
                    continue
            for path in (f"{units}/{WANTS}/{UNIT}", f"{units}/{UNIT}"):
                os.unlink(path)
