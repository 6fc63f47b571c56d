# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Sends probe frames on parents, and waits for the frames that switches reflect. Adapter."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, netns, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ADDRGENMODES, MODES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import ProbeReplies

# All protocols: these sockets receive frames before the macvlan driver consumes them (all of them in mode passthru).
# Sockets for one ethertype would come after it.
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _PACKET_OUTGOING = 263, 23, 4
# Of the two endpoints, in an otherwise empty namespace.
_FIRST_INDEX, _GROUP = 1000, 1


class _RefusedError(Exception):
    """The kernel refuses the temporary links."""


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
            if number in self.sent and address[2] != _PACKET_OUTGOING:
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
            except _RefusedError as exc:
                failed[parent.name] = ProbeReplies(
                    failure=f"the kernel refused two temporary links on {parent.name}: {exc}. They are impossible on a "
                    "port of a bridge, and beside a link in mode passthru"
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
    with _packet_socket() as sock:
        _listen(sock, parent.name, cookie)
        yield _ProbePath(parent.mac or "", parent.mac or "", sock, sock, cookie)


@contextlib.contextmanager
def _endpoints(parent: Link) -> t.Iterator[_ProbePath]:
    """Send from one temporary link in mode vepa to another.

    They are macvlan links, which have no tap, in a network namespace of their own. It has no addresses, and ends with
    this process.
    """
    cookie = os.urandom(frames.COOKIE_BYTES)
    macs = ["02:" + os.urandom(5).hex(":") for _number in range(2)]
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(rtnetlink.open_socket())
        with netns.fresh() as namespace:
            there = stack.enter_context(rtnetlink.open_socket())
            sending, receiving = (stack.enter_context(_packet_socket()) for _number in range(2))
            _transact(here, [_create(parent, namespace, number, mac) for number, mac in enumerate(macs)])
        # Immediately: the end of the namespace would do it a moment later.
        stack.callback(rtnetlink.transact, there, [messages.delete_group(_GROUP)])
        indexes = range(_FIRST_INDEX, _FIRST_INDEX + len(macs))
        # Otherwise each would announce an IPv6 address on the LAN.
        silent = (messages.addrgenmode(ADDRGENMODES["none"]),)
        _transact(there, [messages.change(index, silent) for index in indexes])
        up = rtnetlink.IFF_UP
        _transact(there, [messages.change(index, (), up, up) for index in indexes])
        sending.bind((_name(0), 0))
        _listen(receiving, _name(1), cookie)
        yield _ProbePath(macs[0], macs[1], sending, receiving, cookie)


def _create(parent: Link, namespace: int, number: int, mac: str) -> bytes:
    attrs = (
        ("IFLA_IFNAME", _name(number)),
        ("IFLA_LINK", parent.index),
        ("IFLA_ADDRESS", mac),
        ("IFLA_GROUP", _GROUP),
        ("IFLA_NET_NS_FD", namespace),
        messages.kind("macvlan", ("IFLA_MACVLAN_MODE", MODES["vepa"])),
    )
    return messages.create(attrs, 0, 0, index=_FIRST_INDEX + number)


def _name(number: int) -> str:
    return f"relay{number}"


def _transact(sock: socket.socket, requests: t.Sequence[bytes]) -> None:
    refused = [answer for answer in rtnetlink.transact(sock, requests) if answer is not None]
    if refused:
        raise _RefusedError(str(refused[0]))


def _packet_socket() -> socket.socket:
    # No protocol: it receives nothing until it is bound to one.
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)


def _listen(sock: socket.socket, link: str, cookie: bytes) -> None:
    _attach(sock, frames.socket_filter(cookie))
    with contextlib.suppress(OSError):  # before Linux 4.20: receive() filters them
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.bind((link, _ETH_P_ALL))


def _attach(sock: socket.socket, program: bytes) -> None:
    # In the kernel, so that a busy parent's traffic does not fill the socket.
    import ctypes

    buffer = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    )
