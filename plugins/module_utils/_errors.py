# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Errors that are shown to the user."""

from __future__ import annotations

import contextlib
import struct
import typing as t


class MacvtapError(Exception):
    """An error that the user can fix. Its text is the message that the module fails with.

    ``path`` is the option at fault as the user wrote it (``links[3].mtu``), or "" if no single option is.
    ``details`` become additional return values of the failed module.
    """

    def __init__(self, message: str, *, path: str = "", **details: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.details = details
        self.state = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}. {self.state}" if self.state else text


class StaleError(MacvtapError):
    """Another process has changed what this run had read, so it has to be read again."""


class MissingLibraryError(MacvtapError):
    """A Python library that the module needs is not on this host."""

    def __init__(self, library: str, hint: str, trace: str) -> None:
        super().__init__(f"the Python library {library} is missing: {hint}")
        self.library = library
        self.hint = hint
        self.trace = trace


def join_path(path: str, option: str) -> str:
    """Return the path of ``option`` below ``path``: ``("links[3]", "mtu")`` gives ``links[3].mtu``."""
    return f"{path}.{option}" if path else option


@contextlib.contextmanager
def below(path: str) -> t.Iterator[None]:
    """Put ``path`` before the option's path of an error, if it is about an option."""
    try:
        yield
    except MacvtapError as exc:
        exc.path = join_path(path, exc.path) if exc.path else ""
        raise


@contextlib.contextmanager
def decoding(what: str) -> t.Iterator[None]:
    """Have a message of a form that is not known, as a kernel may send that is newer than this, be a clear error.

    :raises MacvtapError: the kernel's answer about ``what`` cannot be decoded.
    """
    try:
        yield
    except (struct.error, ValueError, KeyError, IndexError) as exc:
        raise MacvtapError(
            f"the kernel's answer about {what} has a form that this version of the collection does not know ({exc})"
        ) from exc
