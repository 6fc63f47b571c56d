# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Text files of the host's configuration: read whole, and replaced so that there never is a half of one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_SELINUX = "security.selinux"
# What a file is called until it is whole. None of those who read such directories reads a hidden file.
TEMPORARY = ".macvtap-"


def read(path: str) -> str | None:
    """Return the text of the file at ``path``, None where there is none.

    It gives the same bytes when :func:`write` writes it, whatever they are.

    :raises MacvtapError: there is one that cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise MacvtapError(f"{path} cannot be read: {exc.strerror or exc}") from exc


def write(path: str, text: str | None, *, mode: int = 0o644, option: str = "") -> None:
    """Replace the file at ``path`` by ``text`` at once and wholly, or remove it where ``text`` is None.

    A file that is there keeps its owner, mode and SELinux context; a new one gets ``mode``. A symbolic link is replaced
    itself, and what it points to is left alone: in /etc it often is /dev/null, or a file of the vendor's.

    :raises MacvtapError: it cannot be done, and what was there is there still; ``option`` is its path.
    """
    temporary = ""
    directory = os.path.dirname(path)
    try:
        if text is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        make_directory(directory)
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=TEMPORARY)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            _make_alike(path, file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as exc:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(exc, OSError):
            raise MacvtapError(f"{path} cannot be written: {exc.strerror or exc}", path=option) from exc
        raise


def target(path: str) -> str | None:
    """Return where the symbolic link at ``path`` points to, None where there is no such link."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def write_link(path: str, to: str, *, option: str = "") -> None:
    """Replace what is at ``path`` by a symbolic link to ``to``, at once.

    :raises MacvtapError: it cannot be done; ``option`` is its path.
    """
    directory = os.path.dirname(path)
    try:
        make_directory(directory)
        with tempfile.TemporaryDirectory(dir=directory, prefix=TEMPORARY) as passing:
            made = os.path.join(passing, "link")
            os.symlink(to, made)
            os.replace(made, path)
    except OSError as exc:
        raise MacvtapError(f"{path} cannot be made a link to {to}: {exc.strerror or exc}", path=option) from exc


def make_directory(path: str) -> None:
    """Make the directory ``path`` and those above it, which any user may read whatever the umask: networkd does."""
    if os.path.isdir(path):
        return
    make_directory(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o755)  # noqa: S103  # as /etc is


def _make_alike(path: str, descriptor: int, mode: int) -> None:
    """Give the open file what the one at ``path`` has, or ``mode`` where there is none."""
    try:
        was = os.lstat(path)
    except FileNotFoundError:
        was = None
    if was is None or not stat.S_ISREG(was.st_mode):
        os.fchmod(descriptor, mode)
        return
    os.fchown(descriptor, was.st_uid, was.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(was.st_mode))
    # Not every file system has it, and not every user may set it.
    with contextlib.suppress(OSError):
        os.setxattr(descriptor, _SELINUX, os.getxattr(path, _SELINUX))
