# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Configuration files of the host: read as a whole, and replaced atomically."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import stat
import tempfile
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_SELINUX = "security.selinux"
# Prefix of a file's name until it is complete. No program that reads such directories reads hidden files.
TEMPORARY = ".macvtap-"
# The end of the names of those that their writer has locked. Former versions remove any whose name has just 8 more
# characters than the prefix.
_LOCKED = ".tmp"
# When nothing of a former version is writing any more.
_ABANDONED_SECONDS = 3600
_TRIES = 20


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


def read_open(descriptor: int) -> str:
    """Return the text of an open file, as :func:`read` does. It stays open."""
    with open(descriptor, encoding="utf-8", errors="surrogateescape", newline="", closefd=False) as file:
        return file.read()


def write(path: str, text: str | None, *, mode: int = 0o644, option: str = "") -> None:
    """Atomically replace the file at ``path`` by ``text``, or remove it if ``text`` is None.

    An existing file keeps its owner, mode and SELinux context; a new one gets ``mode`` and the context that the host's
    policy has for its path. A symbolic link is itself replaced, and its target is left alone: in /etc it often is
    /dev/null or a vendor's file.

    :raises MacvtapError: the write failed and the old file is intact. ``option`` is the error's path.
    """
    temporary = ""
    try:
        if text is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        descriptor, temporary = _temporary(os.path.dirname(path), _file)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            _copy_metadata(path, file.fileno(), mode)
            os.fsync(file.fileno())
            # Still locked: see clear().
            os.replace(temporary, path)
    except BaseException as exc:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(exc, OSError):
            raise MacvtapError(f"{path} cannot be written: {exc.strerror or exc}", path=option) from exc
        raise


def root_may(exc: OSError) -> bool:
    """Whether this user was refused what root may do. Root itself is refused for other reasons."""
    return exc.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0


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
    try:
        descriptor, temporary = _temporary(os.path.dirname(path), _directory)
        try:
            link = os.path.join(temporary, "link")
            os.symlink(to, link)
            os.replace(link, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(descriptor)
    except OSError as exc:
        message = f"the symbolic link {path} to {to} cannot be created: {exc.strerror or exc}"
        raise MacvtapError(message, path=option) from exc


def clear(directories: t.Iterable[str]) -> None:
    """Remove what killed runs have left of :func:`write` and :func:`write_link`.

    Other runs may be writing: there is a lock for each kind of file, and several kinds in one directory. So each
    writer locks what it writes, until it is in place. The kernel releases the lock when the writer ends, however it
    ends and wherever it ran: by its pid, a process of a container would not be known.
    """
    for directory in directories:
        for end in ("", _LOCKED):
            for path in glob.glob(f"{glob.escape(directory)}/{TEMPORARY}????????{end}"):
                with contextlib.suppress(OSError):
                    _clear(path)


def _clear(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        # Former versions locked nothing.
        if not path.endswith(_LOCKED) and abs(time.time() - status.st_mtime) < _ABANDONED_SECONDS:
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
        elif stat.S_ISREG(status.st_mode):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _temporary(directory: str, create: t.Callable[[str], tuple[int, str]]) -> tuple[int, str]:
    """Create what is to be renamed, in ``directory``, and return its locked descriptor and its path."""
    for left in reversed(range(_TRIES)):
        try:
            # Another run may remove it when it is empty.
            make_directory(directory)
            descriptor, path = create(directory)
        except FileNotFoundError:
            if not left:
                raise
            continue
        if _locked(descriptor, path):
            return descriptor, path
        os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "another run removes what is written there", directory)


def _file(directory: str) -> tuple[int, str]:
    return tempfile.mkstemp(dir=directory, prefix=TEMPORARY, suffix=_LOCKED)


def _directory(directory: str) -> tuple[int, str]:
    path = tempfile.mkdtemp(dir=directory, prefix=TEMPORARY, suffix=_LOCKED)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path


def _locked(descriptor: int, path: str) -> bool:
    """Lock what was just created, and return whether it is still there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # clear() has found it before it was locked.
        return False
    except OSError:
        # This file system has no locks, so nothing is cleared there either.
        pass
    return os.path.lexists(path)


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
