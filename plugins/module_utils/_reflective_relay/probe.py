# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Sends probe frames on parents, and waits for the frames that switches reflect. Adapter."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import packets, temporary
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import ProbeReplies

_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23


@dataclass
class _ProbePath:
    """The sockets that send and receive a parent's frames, and the times so far (seconds by frame number)."""

    source: str
    destination: str
    sending: socket.socket
    receiving: socket.socket
    cookie: bytes
    sent: dict[int, float] = field(default_factory=dict)
    back: dict[int, float] = field(default_factory=dict)
    failure: str | None = None

    def send(self, number: int) -> None:
        frame = frames.write(self.source, self.destination, self.cookie, number)
        self.sent[number] = time.perf_counter()
        try:
            self.sending.send(frame)
        except OSError as exc:
            del self.sent[number]
            self.failure = f"no frame could be sent: {exc.strerror}"

    def receive(self) -> None:
        with contextlib.suppress(OSError):  # the parent was removed or set down
            data, address = self.receiving.recvfrom(2048)
            number = frames.read(data, self.cookie)
            if number in self.sent and address[2] != packets.PACKET_OUTGOING:
                self.back.setdefault(number, time.perf_counter() - self.sent[number])

    def replies(self) -> ProbeReplies:
        trips = tuple(round(seconds * 1000, 3) for _number, seconds in sorted(self.back.items()))
        failure = None if self.sent else self.failure
        return ProbeReplies(self.source, self.destination, len(self.sent), trips, failure)


def ask(parents: t.Iterable[Link], *, method: str, timeout: float, count: int) -> dict[str, ProbeReplies]:
    """Send ``count`` frames on each of ``parents``, all of them at once, and wait ``timeout`` ms for each frame.

    Nothing created here outlives this process, however it ends.

    :raises MacvtapError: this user may not send frames.
    """
    paths: dict[str, _ProbePath] = {}
    failed: dict[str, ProbeReplies] = {}
    with contextlib.ExitStack() as stack:
        for parent in parents:
            opened = _endpoints(parent) if method == "endpoints" else _lower(parent)
            try:
                paths[parent.name] = stack.enter_context(opened)
            except PermissionError as exc:
                raise MacvtapError(
                    f"probing the switch behind {parent.name} sends frames, which requires root ({exc.strerror}). "
                    "Set become: true"
                ) from exc
            except OSError as exc:
                failed[parent.name] = ProbeReplies(failure=f"no frame could be sent on {parent.name}: {exc.strerror}")
            except temporary.RefusedError as exc:
                failed[parent.name] = ProbeReplies(
                    failure=f"the kernel refused two temporary links on {parent.name}: {exc}. {temporary.REFUSED_HINT}"
                )
        for number in range(count):
            for path in paths.values():
                path.send(number)
            _wait(list(paths.values()), number, time.monotonic() + timeout / 1000)
        return {**failed, **{name: path.replies() for name, path in paths.items()}}


def _wait(paths: t.Sequence[_ProbePath], number: int, deadline: float) -> None:
    poll = select.poll()
    by_fd = {path.receiving.fileno(): path for path in paths if number in path.sent}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while by_fd:
        remaining = deadline - time.monotonic()
        ready = poll.poll(max(0, remaining) * 1000)
        for fd, _events in ready:
            path = by_fd[fd]
            path.receive()
            if number in path.back:
                poll.unregister(fd)
                del by_fd[fd]
        if remaining <= 0:
            return


@contextlib.contextmanager
def _lower(parent: Link) -> t.Iterator[_ProbePath]:
    """Send from the parent's own address to itself: no switch learns a new one, and only a reflecting one replies."""
    cookie = os.urandom(frames.COOKIE_BYTES)
    with packets.packet_socket() as sock:
        _listen(sock, parent.name, cookie)
        yield _ProbePath(parent.mac or "", parent.mac or "", sock, sock, cookie)


@contextlib.contextmanager
def _endpoints(parent: Link) -> t.Iterator[_ProbePath]:
    """Send from one temporary link in mode vepa to another."""
    cookie = os.urandom(frames.COOKIE_BYTES)
    with temporary.links(parent, "vepa", 2) as (sending, receiving):
        sending.socket.bind((sending.name, 0))
        _listen(receiving.socket, receiving.name, cookie)
        yield _ProbePath(sending.mac, receiving.mac, sending.socket, receiving.socket, cookie)


def _listen(sock: socket.socket, link: str, cookie: bytes) -> None:
    packets.attach_filter(sock, frames.socket_filter(cookie))
    with contextlib.suppress(OSError):  # before Linux 4.20: receive() filters them
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.bind((link, packets.ETH_P_ALL))
