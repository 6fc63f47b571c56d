# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for the files that this collection manages. All paths are below ``root``, which is / but in tests."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, content
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


def read(path: str, shown: str) -> File:
    """Return the file at ``path``, as the one at ``shown``.

    :raises MacvtapError: it is a directory or the like, or cannot be read.
    """
    if os.path.islink(path):
        return File(shown, target=os.readlink(path))
    if not os.path.isfile(path):
        raise MacvtapError(f"{shown} is no file; move it away")
    return File(shown, _files.read(path) or "", stat.S_IMODE(os.stat(path).st_mode))


def apply(steps: t.Sequence[Step[File]], journal: Journal[File] | None = None, root: str = "/") -> None:
    """Write, link and remove the files, each at once and wholly, and the directories that are empty then.

    :raises MacvtapError: one that cannot be, or that somebody else has changed since; others may have been.
    """
    for step in steps:
        path = under(root, step.target)
        if content(read(path, step.target) if os.path.lexists(path) else None) != content(step.before):
            raise MacvtapError(
                f"{step.target} was changed by something else while this ran. Nothing is done to it; run it again"
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
    """As :func:`apply`, for the way back: goes on where one file cannot be put back.

    :raises MacvtapError: all that could not be.
    """
    failed = []
    for step in steps:
        try:
            apply([step], root=root)
        except MacvtapError as exc:
            failed.append(str(exc))
    if failed:
        raise MacvtapError(". ".join(failed))


def clear(directories: t.Iterable[str]) -> None:
    """Remove what runs that were killed had not put in place yet; a lock keeps any other from being at it."""
    for directory in directories:
        for path in glob.glob(f"{directory}/{_files.TEMPORARY}????????"):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)


def under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _remove_empty(directory: str) -> None:
    """Remove the directories of ours that have nothing in them any more."""
    if directory.endswith((".network.d", ".device.wants")) or "/linuxvirt-macvtap" in directory:
        # Empty or not, says the kernel.
        with contextlib.suppress(OSError):
            os.rmdir(directory)
            _remove_empty(os.path.dirname(directory))


def _write(path: str, file: File) -> None:
    if os.path.exists(path) and stat.S_IMODE(os.lstat(path).st_mode) != file.mode:
        # The content of before under the mode of after, if it ends here.
        try:
            os.chmod(path, file.mode)
        except OSError as exc:
            raise MacvtapError(f"the mode of {path} cannot be changed: {exc.strerror or exc}") from exc
    _files.write(path, file.text, mode=file.mode)
