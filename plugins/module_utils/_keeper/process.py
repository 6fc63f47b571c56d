# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper: a process that attaches NICs again that guests release after a run has ended.

A request to release a NIC cannot be cancelled: the guest may answer late, or QEMU completes it at the next reset. So
each request is written to a state file before it is made (``records.py``). A keeper runs as long as there is one, one
keeper per host. Its program is a copy of this package beside the state files, because a module's code is gone when the
run ends. It needs only Python and libvirt. If it is killed, systemd restarts it. Without systemd two processes of it
restart each other.
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

# The systemd unit that restarts it, at boot and when it is killed; a file and a link to it.
UNIT = "linuxvirt-macvtap-keeper.service"
UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system")
WANTS = "multi-user.target.wants"
# The values of main()'s LOCK: supervised by systemd, or two processes that supervise each other.
BY_SYSTEMD, BY_TWO = "systemd", "-"
_SECONDS = 0.25
# Each failed attempt in mode passthrough briefly gives the source the guest's address (libvirt 9.0).
_LONGEST_SECONDS = 8.0


def main(arguments: t.Sequence[str]) -> None:
    """Run as ``DIRECTORY LOCK PATH…``: LOCK is an inherited descriptor or one of the above, PATH finds libvirt."""
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
        # If Python itself was removed meanwhile, this process goes on.
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
        # By exec: a newer run may have installed a newer program.
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
    """Watch all domains until no request is outstanding; call ``again`` when the ``supervisor`` has ended."""
    threads: dict[str, threading.Thread] = {}
    program = _identity(sys.argv[0])
    while True:
        with records.locked(directory, "all"):
            found = records.uuids(directory)
            if not found:
                _remove_unit(directory)
                # A run that writes a file holds the other lock, and then finds no keeper.
                fcntl.flock(lock, fcntl.LOCK_UN)
                os._exit(0)
        for uuid in found:
            if uuid not in threads or not threads[uuid].is_alive():
                threads[uuid] = threading.Thread(target=_watch, args=(libvirt, directory, uuid), daemon=True)
                threads[uuid].start()
        if again is not None and os.getppid() != supervisor:
            again()
        if _identity(sys.argv[0]) not in {program, None}:
            # Only the newer program understands a newer run's requests. The restart uses it.
            os._exit(1)
        time.sleep(_SECONDS)


def _watch(libvirt: t.Any, directory: str, uuid: str) -> None:
    """Watch one domain until none of its requests is outstanding; libvirtd may restart meanwhile."""
    connection = None
    pause = _SECONDS
    while True:
        refused = False
        # Go on after any error: the next look may succeed, and no other process does this work.
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
    """Remove the unit of this directory's keeper; if that fails, it starts a keeper that ends at once."""
    for units in UNIT_DIRECTORIES:
        with contextlib.suppress(OSError):
            with open(f"{units}/{UNIT}", encoding="utf-8") as file:
                if f'"{directory}"' not in file.read():
                    continue
            for path in (f"{units}/{WANTS}/{UNIT}", f"{units}/{UNIT}"):
                os.unlink(path)
