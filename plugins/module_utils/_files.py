# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Configuration files of the host: read as a whole, and replaced atomically."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_SELINUX = "security.selinux"
# Prefix of a file's name until it is complete. No program that reads such directories reads hidden files.
TEMPORARY = ".macvtap-"


def read(path: str) -> str | None:
    """Return the text of the file at ``path``, or None if it does not exist.

    :func:`write` turns the text back into exactly the same bytes.

    :raises MacvtapError: the file exists and cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise MacvtapError(f"{path} cannot be read: {exc.strerror or exc}") from exc


def write(path: str, text: str | None, *, mode: int = 0o644, option: str = "") -> None:
    """Atomically replace the file at ``path`` by ``text``, or remove it if ``text`` is None.

    An existing file keeps its owner, mode and SELinux context; a new one gets ``mode`` and the context that the host's
    policy has for its path. A symbolic link is itself replaced, and its target is left alone: in /etc it often is
    /dev/null or a vendor's file.

    :raises MacvtapError: the write failed and the old file is intact. ``option`` is the error's path.
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
            _copy_metadata(path, file.fileno(), mode)
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
    """Return the target of the symbolic link at ``path``, or None if there is no such link."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def write_link(path: str, to: str, *, option: str = "") -> None:
    """Atomically replace ``path`` by a symbolic link to ``to``.

    :raises MacvtapError: the link cannot be created. ``option`` is the error's path.
    """
    directory = os.path.dirname(path)
    try:
        make_directory(directory)
        with tempfile.TemporaryDirectory(dir=directory, prefix=TEMPORARY) as temporary:
            link = os.path.join(temporary, "link")
            os.symlink(to, link)
            os.replace(link, path)
    except OSError as exc:
        message = f"the symbolic link {path} to {to} cannot be created: {exc.strerror or exc}"
        raise MacvtapError(message, path=option) from exc


def make_directory(path: str) -> None:
    """Create the directory ``path`` and its parents, readable by every user regardless of the umask.

    networkd reads them as a user without privileges.
    """
    if os.path.isdir(path):
        return
    make_directory(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o755)  # noqa: S103  # like /etc


def _copy_metadata(path: str, descriptor: int, mode: int) -> None:
    """Give the open file the owner, mode and SELinux context of the file at ``path``, or ``mode`` if there is none."""
    try:
        old = os.lstat(path)
    except FileNotFoundError:
        old = None
    kept = old is not None and stat.S_ISREG(old.st_mode)
    if old is not None and kept:
        os.fchown(descriptor, old.st_uid, old.st_gid)
        mode = stat.S_IMODE(old.st_mode)
    os.fchmod(descriptor, mode)
    # Not every file system supports it, and not every user may set it.
    with contextlib.suppress(OSError):
        context = os.getxattr(path, _SELINUX) if kept else policys_context(path, stat.S_IFREG | mode)
        if context:
            os.setxattr(descriptor, _SELINUX, context)


def policys_context(path: str, mode: int) -> bytes:
    """Return the SELinux context for a new file, b"" without SELinux or if the policy has none.

    The kernel would give it the directory's, or one by the name that it has until it is complete.
    """
    try:
        from ansible.module_utils.compat import selinux
    except ImportError:
        return b""
    code, context = selinux.matchpathcon(path, mode) if selinux.is_selinux_enabled() == 1 else (-1, "")
    return str(context).encode() + b"\0" if code == 0 else b""
