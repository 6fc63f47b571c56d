# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for managed files. All paths are below ``root``, which is / except in tests."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, content
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


def read(path: str, shown: str) -> File:
    """Return the file at ``path``, under the name ``shown``.

    :raises MacvtapError: it is not a regular file, or cannot be read.
    """
    if os.path.islink(path):
        return File(shown, target=os.readlink(path))
    if not os.path.isfile(path):
        raise MacvtapError(f"{shown} is not a regular file; move it away")
    return File(shown, _files.read(path) or "", stat.S_IMODE(os.stat(path).st_mode))


def apply(steps: t.Sequence[Step[File]], journal: Journal[File] | None = None, root: str = "/") -> None:
    """Write, link or remove the files, each atomically, and remove directories that are empty afterwards.

    :raises MacvtapError: a file cannot be changed, or something else has changed it since; others may be done.
    """
    for step in steps:
        path = under(root, step.target)
        if content(read(path, step.target) if os.path.lexists(path) else None) != content(step.before):
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
    if os.path.exists(path) and stat.S_IMODE(os.lstat(path).st_mode) != file.mode:
        # If it stops here, the file has the old content and the new mode.
        try:
            os.chmod(path, file.mode)
        except OSError as exc:
            raise MacvtapError(f"the mode of {path} cannot be changed: {exc.strerror or exc}") from exc
    _files.write(path, file.text, mode=file.mode)
