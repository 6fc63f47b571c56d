# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Signals that ask a run to end: it rolls back or completes what it has begun, instead of dying in the middle.

An async timeout, a lost SSH session and Ctrl-C all send one of these. SIGKILL cannot be caught: each adapter prepares
for it before it removes anything.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Interrupted(BaseException):
    """A signal that asks the run to end. Not an Exception, so that no error handler catches it.

    ``errors`` are the errors that the run ended with at the same moment. ``state`` is the state of the host, if
    anything was begun.
    """

    def __init__(self, name: str, *errors: str) -> None:
        super().__init__(name)
        self.name = name
        self.errors = errors
        self.state = ""

    def __str__(self) -> str:
        return ". ".join(filter(None, [f"stopped by {self.name}", *self.errors, self.state]))


class _Handler:
    """Raises Interrupted for the first signal only, so that the cleanup is not interrupted in turn."""

    def __init__(self) -> None:
        self.deferred = False
        self.raised = False
        # The last signal received, deferred or not.
        self.pending = ""

    def __call__(self, number: int, _frame: t.Any) -> None:
        self.pending = signal.Signals(number).name
        if not self.deferred:
            self.raise_pending()

    def raise_pending(self, *errors: str) -> None:
        if self.pending and not self.raised:
            self.raised = True
            raise Interrupted(self.pending, *errors)


_current: list[_Handler] = []


@contextlib.contextmanager
def raising() -> t.Iterator[None]:
    """Make the signals raise Interrupted in the main thread, once. Ignored signals (nohup) stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler()
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in caught}
    _current.append(handler)
    try:
        yield
    finally:
        _current.pop()
        for number, was in before.items():
            signal.signal(number, was)


def defer() -> None:
    """Defer signals: the run is ending, and only the rollback or its result remains.

    A deferred signal is raised by :func:`resume`, if the run continues after all.
    """
    if _current:
        _current[-1].deferred = True


@contextlib.contextmanager
def deferred() -> t.Iterator[None]:
    """Defer signals for something that must not be left half done; one that arrives meanwhile is raised at the end.

    Not if signals were deferred already, or in another thread than the main one, which no signal interrupts: then
    nothing changes.

    :raises Interrupted: a signal arrived meanwhile. It has the error that the block has failed with.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not _current or _current[-1].deferred:
        yield
        return
    defer()
    try:
        yield
    except MacvtapError as exc:
        resume(str(exc))
        raise
    finally:
        resume()


def is_pending() -> bool:
    """Return whether a signal arrived that has interrupted nothing yet."""
    return bool(_current) and bool(_current[-1].pending) and not _current[-1].raised


def resume(*errors: str) -> None:
    """Let signals interrupt again.

    :raises Interrupted: a signal arrived meanwhile. It has the ``errors``.
    """
    if _current:
        _current[-1].deferred = False
        _current[-1].raise_pending(*errors)
