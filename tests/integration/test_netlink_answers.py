# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A request that something interrupts leaves its answer in the netlink socket: no later one takes it for its own."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, netns, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

if t.TYPE_CHECKING:
    from namespaces import Namespace

# More links than one datagram of a dump has.
COUNT, GROUP = 80, 77
NO_LINK, SO_RCVTIMEO = 0x7FFFFFF0, 20


class Stopping(socket.socket):
    """A socket whose process gets a signal once: right after the socket has ``sent`` or ``received`` something."""

    moment = ""

    def send(self, data: t.Any, flags: int = 0) -> int:
        length = super().send(data, flags)
        self._stop("sent")
        return length

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self._stop("received")
        return data

    def _stop(self, moment: str) -> None:
        if self.moment == moment:
            self.moment = ""
            raise Interrupted("SIGTERM")


@pytest.fixture(scope="module")
def crowd(_namespace: Namespace) -> t.Iterator[Namespace]:
    """A namespace with many links."""
    create = "".join(f"link add name many{n} link eth0 group {GROUP} type macvlan mode bridge\n" for n in range(COUNT))
    batch = ["ip", "-n", _namespace.name, "-batch", "-"]
    subprocess.run(batch, check=True, input=f"{create}address add 192.0.2.1/24 dev eth0\n", text=True)
    yield _namespace
    subprocess.run(batch, check=True, input=f"link del group {GROUP}\naddress del 192.0.2.1/24 dev eth0\n", text=True)


@pytest.fixture
def sock(crowd: Namespace) -> t.Iterator[Stopping]:
    with netns.entered(f"/run/netns/{crowd.name}"):
        opened = rtnetlink.open_socket()
    with Stopping(fileno=opened.detach()) as sock:
        # Fail instead of waiting for ever.
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVTIMEO, struct.pack("@ll", 10, 0))
        yield sock


def names(sock: socket.socket) -> list[str]:
    """Return the names of the links that a dump has."""
    size = rtnetlink.IFINFO.size
    return sorted(
        rtnetlink.attributes(body, size, len(body))[3].rstrip(b"\0").decode() for body in rtnetlink.dump_links(sock)
    )


def codes(sock: socket.socket, requests: t.Sequence[bytes]) -> list[int]:
    return [answer.code if answer else 0 for answer in rtnetlink.transact(sock, requests)]


def route(sock: socket.socket) -> int:
    body = rtnetlink.route_between(sock, b"", bytes([192, 0, 2, 9]))
    assert body is not None
    return int(struct.unpack("=I", rtnetlink.attributes(body, rtnetlink.RTMSG.size, len(body))[4])[0])


def change(index: int) -> bytes:
    """Return a request that the kernel accepts and acknowledges."""
    length, kind, flags, number, port = rtnetlink.HEADER.unpack_from(messages.move(index, GROUP))
    head = rtnetlink.HEADER.pack(length, kind, flags | rtnetlink.NLM_F_ACK, number, port)
    return head + messages.move(index, GROUP)[len(head) :]


def check(sock: socket.socket, crowd: Namespace, index: int) -> None:
    """Check that each kind of request gets its own answer."""
    assert codes(sock, [change(index), messages.delete(NO_LINK)]) == [0, errno.ENODEV]
    assert codes(sock, [messages.delete(NO_LINK), change(index)]) == [errno.ENODEV, 0]
    assert names(sock) == sorted(link["ifname"] for link in crowd.links())
    assert bytes([192, 0, 2, 1]) in b"".join(rtnetlink.dump_addresses(sock))
    assert route(sock) == crowd.link("eth0")["ifindex"]
    assert rtnetlink.nsid_of(sock, os.getpid()) is None


def requests(sock: socket.socket, index: int) -> dict[str, t.Callable[[], t.Any]]:
    """Return a request of each kind by its name."""
    done, refused = change(index), messages.delete(NO_LINK)
    return {
        "links": lambda: rtnetlink.dump_links(sock),
        "counters": lambda: rtnetlink.dump_links(sock, statistics=True),
        "bridges": lambda: rtnetlink.dump_bridges(sock),
        "addresses": lambda: rtnetlink.dump_addresses(sock),
        "routes": lambda: rtnetlink.dump_routes(sock, socket.AF_INET),
        "neighbours": lambda: rtnetlink.dump_neighbours(sock),
        "route": lambda: rtnetlink.route_between(sock, b"", bytes([192, 0, 2, 9])),
        "no route": lambda: rtnetlink.route_between(sock, b"", bytes([203, 0, 113, 9])),
        "nsid": lambda: rtnetlink.nsid_of(sock, os.getpid()),
        "change": lambda: rtnetlink.transact(sock, [done]),
        "refused": lambda: rtnetlink.transact(sock, [refused]),
        "several": lambda: rtnetlink.transact(sock, [done, refused] * 20),
    }


KINDS = tuple(requests(t.cast("socket.socket", None), 1))
# What is asked after it. A route has a clock in it, and links have counters.
NEXT: dict[str, t.Callable[[socket.socket, int], t.Any]] = {
    "links": lambda sock, _index: names(sock),
    "change": lambda sock, index: codes(sock, [change(index)]),
    "route": lambda sock, _index: route(sock),
    "nsid": lambda sock, _index: rtnetlink.nsid_of(sock, os.getpid()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_an_interrupted_request_has_left_is_nobodys(sock: Stopping, crowd: Namespace, kind: str) -> None:
    index = crowd.link("many0")["ifindex"]
    for after, ask in NEXT.items():
        expected = ask(sock, index)
        for moment in ("sent", "received"):
            sock.moment = moment
            with pytest.raises(Interrupted):
                requests(sock, index)[kind]()
            assert ask(sock, index) == expected, (moment, after)
    check(sock, crowd, index)


def test_a_socket_that_has_overflowed_is_read_as_if_it_were_new(sock: Stopping, crowd: Namespace) -> None:
    index = crowd.link("many0")["ifindex"]
    refused = messages.delete(NO_LINK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with pytest.raises(OSError, match="No buffer space"):
        rtnetlink.transact_at_once(sock, [refused] * 50)
    # A dump's datagram takes more than that.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    check(sock, crowd, index)
