# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for managed files. All paths are below ``root``, which is / except in tests."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, content
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

_TRIES = 5


def read(path: str, shown: str) -> File | None:
    """Return the file at ``path``, under the name ``shown``, or None if it does not exist, or no longer.

    All that is returned is of one file, whatever takes its place meanwhile.

    :raises MacvtapError: it is not a regular file, or cannot be read.
    """
    try:
        target = _files.target(path)
        # Something else may put a link there right now, and a file right after it.
        for left in reversed(range(_TRIES)):
            if target is not None:
                return File(shown, target=target)
            try:
                return _read(path, shown)
            except OSError as exc:
                if exc.errno != errno.ELOOP or not left:
                    raise
            target = _files.target(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        # A socket cannot be opened.
        if exc.errno == errno.ENXIO:
            raise _not_regular(shown) from exc
        raise MacvtapError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    return None


def _read(path: str, shown: str) -> File:
    # A FIFO is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(shown)
        return File(shown, _files.read_open(descriptor), stat.S_IMODE(status.st_mode))
    finally:
        os.close(descriptor)


def _not_regular(shown: str) -> MacvtapError:
    return MacvtapError(f"{shown} is not a regular file; move it away")


def apply(steps: t.Sequence[Step[File]], journal: Journal[File] | None = None, root: str = "/") -> None:
    """Write, link or remove the files, each atomically, and remove directories that are empty afterwards.

    :raises MacvtapError: a file cannot be changed, or something else has changed it since; others may be done.
    """
    for step in steps:
        path = under(root, step.target)
        if content(read(path, step.target)) != content(step.before):
            raise MacvtapError(
                f"{step.target} was changed by something else while this ran, and was left alone. Run the task again"
            )
        if journal is not None:
            journal.record(step)
        if step.after is None:
            _files.write(path, None)
            _remove_empty(os.path.dirname(path))
        elif step.after.target is not None:
            _files.write_link(path, step.after.target)
        else:
            _write(path, step.after)


def revert(steps: t.Sequence[Step[File]], root: str = "/") -> None:
    """Like :func:`apply`, for a rollback: continues if a file cannot be restored.

    :raises MacvtapError: listing all files that could not be restored.
    """
    failed = []
    for step in steps:
        try:
            apply([step], root=root)
        except MacvtapError as exc:
            failed.append(str(exc))
    if failed:
        raise MacvtapError(". ".join(failed))


def under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _remove_empty(directory: str) -> None:
    """Remove this collection's directories that are empty."""
    if directory.endswith((".network.d", ".device.wants")) or "/linuxvirt-macvtap" in directory:
        # The kernel refuses it if the directory is not empty.
        with contextlib.suppress(OSError):
            os.rmdir(directory)
            _remove_empty(os.path.dirname(directory))


def _write(path: str, file: File) -> None:
    # If it stops here, the file has the old content and the new mode.
    try:
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != file.mode:
            os.chmod(path, file.mode)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        raise MacvtapError(f"the mode of {path} cannot be changed: {exc.strerror or exc}") from exc
    _files.write(path, file.text, mode=file.mode)
