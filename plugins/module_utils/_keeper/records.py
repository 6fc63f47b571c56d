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
from xml.etree import ElementTree

# The keeper locks this file as long as it runs, and writes its process ID into it.
LOCK = "keeper.lock"
_SUFFIX = ".json"
# Follows the name of a damaged file that is kept.
_ASIDE = ".damaged"
State = t.Dict[str, t.Any]
# What has to be there, of each version, and of which type; and the types of what may be there.
_OF_STATE = {"uri": str, "local": bool, "instance": str, "nics": dict}
_OF_NIC = {"since": str, "returns": bool, "element": str}
_OF_PAUSE = {"token": str, "running": bool, "local": bool}
_NIC_MAY_HAVE = {
    "asked": bool,
    "unguarded": bool,
    "allmulticast": bool,
    "ifindex": int,
    **dict.fromkeys(("error", "desired", "off_network", "target", "guard"), str),
}
_PAUSE_MAY_HAVE = {"until": (int, float), "since": str, "run": str, "error": str}


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
    return sorted(name[: -len(_SUFFIX)] for name in _names(directory) if name.endswith(_SUFFIX))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def load(directory: str, uuid: str) -> State | None:
    """Return a domain's state without what is damaged in it, None without requests or if nothing of it is of use.

    :raises OSError: it cannot be read, so that this is not known.
    """
    return _read(directory, uuid)[0]


def damaged(directory: str) -> list[str]:
    """Return the paths of files with a damaged state, and of those that were set aside for it.

    :raises OSError: that is not known.
    """
    kept = [name for name in _names(directory) if name.endswith(_SUFFIX + _ASIDE)]
    found = [uuid + _SUFFIX for uuid in uuids(directory) if _read(directory, uuid)[1]]
    return [os.path.join(directory, name) for name in sorted({*kept, *found})]


def _read(directory: str, uuid: str) -> tuple[State | None, bool]:
    """Return what is of use in a domain's state, and whether anything else is in the file."""
    try:
        with open(os.path.join(directory, uuid + _SUFFIX), encoding="utf-8") as file:
            state = json.load(file)
    except FileNotFoundError:
        return None, False
    except (ValueError, RecursionError):
        return None, True
    if not _has(state, _OF_STATE):
        return None, True
    nics = {mac: nic for mac, nic in state["nics"].items() if _has(nic, _OF_NIC) and _is_element(nic["element"])}
    found = {**state, "nics": {mac: _completed(nic) for mac, nic in nics.items()}}
    if "pause" in state:
        pause = _pause(state["pause"])
        found = {**found, "pause": pause} if pause else {key: found[key] for key in found if key != "pause"}
    lost = len(nics) < len(state["nics"]) or bool(state.get("pause")) > bool(found.get("pause"))
    return found, lost


def _has(data: t.Any, types: t.Mapping[str, type]) -> bool:
    return isinstance(data, dict) and all(isinstance(data.get(key), kind) for key, kind in types.items())


def _is_element(text: str) -> bool:
    try:
        ElementTree.fromstring(text)  # noqa: S314  # a run's own
    except (ElementTree.ParseError, ValueError):
        return False
    return True


def _completed(nic: State) -> State:
    """Return a NIC's entry without values that are of no use. What may be missing is less than the NIC."""
    found = _fitting(nic, _NIC_MAY_HAVE)
    for key in ("desired", "off_network"):
        if found.get(key) and not _is_element(found[key]):
            del found[key]
    return {"ifindex": None, "allmulticast": False, **found}


def _pause(pause: t.Any) -> State | None:
    """Return the record of a pause with all that is read of it, None if the guest's image cannot be told by it."""
    if not _has(pause, _OF_PAUSE) or not pause["token"]:
        return None
    found: State = {**pause, "has": "new" if pause.get("has") == "new" else "old"}
    for key, kind, inner in (("interfaces", dict, str), ("allmulticast", list, str)):
        sides = pause.get(key)
        found[key] = {
            side: sides[side] if isinstance(sides, dict) and _is_of(sides.get(side), kind, inner) else kind()
            for side in ("old", "new")
        }
    return _fitting(found, _PAUSE_MAY_HAVE)


def _fitting(data: State, types: t.Mapping[str, t.Any]) -> State:
    return {key: one for key, one in data.items() if one is None or isinstance(one, types.get(key, object))}


def _is_of(data: t.Any, kind: t.Any, inner: type) -> bool:
    """Whether this is a list of values of one type, or a dictionary with such values."""
    if not isinstance(data, kind):
        return False
    return all(isinstance(one, inner) for one in (data.values() if isinstance(data, dict) else data))


def is_asked(nic: State) -> bool:
    """Whether the guest was asked to release a NIC. If not, the NIC is attached and lacks its guard."""
    # Before there was the entry, a NIC without its guard had no request.
    return bool(nic.get("asked", "unguarded" not in nic))


def save(directory: str, uuid: str, state: State | None) -> None:
    """Replace a domain's state atomically and durably; a state without NICs and without a pause is removed.

    A file with anything damaged is kept under another name. The caller holds the domain's lock.
    """
    path = os.path.join(directory, uuid + _SUFFIX)
    if _read(directory, uuid)[1]:
        # A guest may miss what was in it. The first one is the one that says most.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(path, path + _ASIDE)
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
