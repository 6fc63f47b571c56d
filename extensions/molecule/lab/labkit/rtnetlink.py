# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""As much of rtnetlink as it takes to use up interface indexes quickly; imports nothing but the standard library."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
import typing as t
from pathlib import Path

RTM_NEWLINK, RTM_DELLINK = 16, 17
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_GROUP, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 3, 4, 18, 27, 31, 32
IFLA_INFO_KIND = 1
CLONE_NEWNET = 0x40000000
FILLER_GROUP = 0x6C6162
# Too small for IPv6, of which such a link has nothing: that takes a fifth less.
FILLER_MTU = 1000
# A dummy costs least; where the kernel has none (it is a module on most distributions), an ifb costs little more.
KINDS = ("dummy", "ifb", "bridge")
CHUNK = 500
T = t.TypeVar("T")


def advance_index(netns: Path, start: int) -> None:
    """Use up interface indexes of a namespace until its next link will get `start` or a higher one.

    Some 0.3 ms an index. Raises OSError from the kernel.
    """
    _inside(netns, lambda sock: _advance(sock, start))


def use_index(netns: Path) -> int:
    """Use up one interface index of a namespace, and return it. Raises OSError from the kernel."""
    return _inside(netns, _use)


def _inside(netns: Path, work: t.Callable[[socket.socket], T]) -> T:
    """Call `work` with a socket of the namespace, and return what it returns."""
    found: list[T] = []
    failure: list[OSError] = []

    def call() -> None:
        # A socket belongs to the namespace of the thread that made it: only this thread moves.
        try:
            _enter(netns)
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
                sock.bind((0, 0))
                found.append(work(sock))
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return found[0]


def _enter(netns: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


def _use(sock: socket.socket) -> int:
    _request(sock, [_new_link(_usable_kind(sock), 0)])
    here = socket.if_nametoindex("idx0")
    _request(sock, [_delete_group()])
    return here


def _advance(sock: socket.socket, start: int) -> None:
    kind = _usable_kind(sock)
    while True:
        # Each round finds out where the counter is by making one link, so that it never goes past `start`.
        _request(sock, [_new_link(kind, 0)])
        here = socket.if_nametoindex("idx0")
        missing = start - here - 1
        # The bridge driver tears its links down one by one, a grace period of the kernel's each.
        step = min(missing, CHUNK * 20)
        for first in range(1, step + 1, CHUNK):
            _request(sock, [_new_link(kind, n) for n in range(first, min(first + CHUNK, step + 1))])
        _request(sock, [_delete_group()])
        if step == missing or missing <= 0:
            return


def _usable_kind(sock: socket.socket) -> str:
    for kind in KINDS:
        try:
            _request(sock, [_new_link(kind, 0), _delete_group()])
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # what `ip` calls an unknown device type
                continue
            raise
        return kind
    raise OSError(errno.EOPNOTSUPP, f"the kernel has none of the link types {', '.join(KINDS)}")


def _new_link(kind: str, number: int) -> bytes:
    # Named explicitly: for a name left to the kernel it searches all the links there are, for each new one.
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    body += _attribute(IFLA_IFNAME, b"idx%d\0" % number)
    body += _attribute(IFLA_MTU, struct.pack("=I", FILLER_MTU))
    body += _attribute(IFLA_GROUP, struct.pack("=I", FILLER_GROUP))
    body += _attribute(IFLA_NUM_TX_QUEUES, struct.pack("=I", 1))
    body += _attribute(IFLA_NUM_RX_QUEUES, struct.pack("=I", 1))
    body += _attribute(IFLA_LINKINFO, _attribute(IFLA_INFO_KIND, kind.encode() + b"\0"))
    return _message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def _delete_group() -> bytes:
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    return _message(RTM_DELLINK, 0, body + _attribute(IFLA_GROUP, struct.pack("=I", FILLER_GROUP)))


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0) + body


def _request(sock: socket.socket, messages: t.Sequence[bytes]) -> None:
    """Send and wait for as many acknowledgements; raises the first error among them."""
    first_error = 0
    # Twenty at a time: their acknowledgements have to fit the socket's receive buffer.
    for n in range(0, len(messages), 20):
        batch = messages[n : n + 20]
        sock.send(b"".join(batch))
        pending = len(batch)
        while pending:
            data = sock.recv(65536)
            while len(data) >= 20:
                length, _kind, _flags, _seq, _pid, code = struct.unpack_from("=IHHIIi", data)
                first_error = first_error or -code
                pending -= 1
                data = data[(length + 3) & ~3 :]
    if first_error:
        raise OSError(first_error, os.strerror(first_error))
