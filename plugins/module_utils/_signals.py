# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Signals that ask a run to end: it puts back or completes what is out, instead of dying in the middle.

An async timeout, a lost SSH session and Ctrl-C all end in one of these. A SIGKILL cannot be caught: for that see what
each adapter does before it takes anything away.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import typing as t

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Interrupted(BaseException):
    """A signal that asks the run to end. No Exception, so that no handler of errors takes it for one.

    ``state`` says what has become of the host, where anything was begun.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.state = ""

    def __str__(self) -> str:
        return f"stopped by {self.name}" + (f". {self.state}" if self.state else "")


class _Handler:
    """Raises Interrupted for the first signal only: what clears up after it is not to be interrupted in turn."""

    def __init__(self) -> None:
        self.deferred = False
        self.raised = False
        # What has come while it was deferred.
        self.waiting = ""

    def __call__(self, number: int, _frame: t.Any) -> None:
        self.waiting = signal.Signals(number).name
        if not self.deferred:
            self.raise_waiting()

    def raise_waiting(self) -> None:
        if self.waiting and not self.raised:
            self.raised = True
            raise Interrupted(self.waiting)


_current: list[_Handler] = []


@contextlib.contextmanager
def raising() -> t.Iterator[None]:
    """Let the signals raise Interrupted in the main thread, once; ignored signals (nohup) stay ignored."""
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
    """Let no signal interrupt what comes: the run is ending, and what is left is to put back, or to return its result.

    One that comes meanwhile raises where the run goes on all the same: at :func:`resume`.
    """
    if _current:
        _current[-1].deferred = True


def resume() -> None:
    """Let signals interrupt again.

    :raises Interrupted: one has come meanwhile.
    """
    if _current:
        _current[-1].deferred = False
        _current[-1].raise_waiting()
