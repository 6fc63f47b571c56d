# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The outstanding requests: a state file for each domain, and their locks.

Part of the keeper's program: standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import struct
import tempfile
import typing as t

# The keeper locks this file as long as it runs, and writes its process ID into it.
LOCK = "keeper.lock"
_SUFFIX = ".json"
State = t.Dict[str, t.Any]


@contextlib.contextmanager
def locked(directory: str, name: str) -> t.Iterator[None]:
    """Hold a lock of the directory: one domain's, by its UUID, or ``all`` for the list of files.

    Each lock is one byte of the same file, so nothing remains of former domains. The locks belong to the open file
    (F_OFD_SETLKW), not to the process: the keeper has a thread for each domain.
    """
    start = 0 if name == "all" else 1 + int(name.replace("-", "")[:15], 16)
    path = os.path.join(directory, "locks")
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        if exc.errno != errno.EROFS:
            raise
        # The file system has become read-only, so no run can write a request.
        yield
        return
    try:
        # struct flock: l_type, l_whence, l_start, l_len, l_pid
        fcntl.fcntl(file, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0))
        yield
    finally:
        os.close(file)


def uuids(directory: str) -> list[str]:
    """Return the UUIDs of the domains with outstanding requests.

    :raises OSError: that is not known.
    """
    try:
        return sorted(name[: -len(_SUFFIX)] for name in os.listdir(directory) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []


def load(directory: str, uuid: str) -> State | None:
    """Return a domain's state, None without requests or if the file is not the keeper's.

    :raises OSError: it cannot be read, so that this is not known.
    """
    try:
        with open(os.path.join(directory, uuid + _SUFFIX), encoding="utf-8") as file:
            state = json.load(file)
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return state if _is_whole(state) else None


def _is_whole(state: t.Any) -> bool:
    """Whether this is a state as :func:`save` is given one, of whatever version."""
    if not isinstance(state, dict) or not isinstance(state.get("nics"), dict):
        return False
    return all(isinstance(nic, dict) for nic in state["nics"].values()) and isinstance(state.get("pause", {}), dict)


def is_asked(nic: State) -> bool:
    """Whether the guest was asked to release a NIC. If not, the NIC is attached and lacks its guard."""
    # Before there was the entry, a NIC without its guard had no request.
    return bool(nic.get("asked", "unguarded" not in nic))


def save(directory: str, uuid: str, state: State | None) -> None:
    """Replace a domain's state atomically and durably; a state without NICs and without a pause is removed."""
    path = os.path.join(directory, uuid + _SUFFIX)
    if not state or not (state["nics"] or state.get("pause")):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    descriptor, temporary = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # A signal may arrive right after the rename.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync(directory)


def _sync(directory: str) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def running(directory: str) -> int | None:
    """Return the process ID of the keeper, None if none runs."""
    try:
        file = os.open(os.path.join(directory, LOCK), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(file, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(file)
    return None
