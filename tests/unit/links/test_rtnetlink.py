# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel may answer, and what is sent at once: messages by hand, over a pair of sockets."""

from __future__ import annotations

import errno
import socket
import struct
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, rtnetlink

NLMSG_ERROR, NLMSG_DONE, NLM_F_MULTI, NLM_F_DUMP_INTR = 2, 3, 2, 0x10


DONE = struct.pack("=i", 0)


def message(kind: int, body: bytes, flags: int = NLM_F_MULTI, number: int = 0) -> tuple[int, int, bytes, int]:
    """Return a message of the kernel's; ``number`` is its sequence number, counted from the first request's."""
    return kind, number, body, flags


class Kernel:
    """A netlink socket with a kernel behind it that gives these answers to each send, as datagrams of messages."""

    def __init__(self, *answers: t.Sequence[t.Sequence[tuple[int, int, bytes, int]]]) -> None:
        self._answers = list(answers)
        self._queue: list[bytes] = []
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        first = rtnetlink.HEADER.unpack_from(data)[3]
        for datagram in self._answers.pop(0):
            self._queue.append(
                b"".join(
                    rtnetlink.HEADER.pack(16 + len(body), kind, flags, first + number, 0) + body
                    for kind, number, body, flags in datagram
                )
            )
        return len(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self._queue:
            assert flags & socket.MSG_DONTWAIT, "waits for ever"
            raise BlockingIOError
        return self._queue.pop(0)[:size]


def socket_of(*answers: t.Sequence[t.Sequence[tuple[int, int, bytes, int]]]) -> tuple[socket.socket, Kernel]:
    kernel = Kernel(*answers)
    return t.cast("socket.socket", kernel), kernel


def link(index: int) -> bytes:
    return rtnetlink.IFINFO.pack(0, 1, index, 1, 0)


def refused(code: int) -> bytes:
    return struct.pack("=i", -code) + bytes(16)


def test_a_dump_that_the_kernel_could_not_end_is_no_dump() -> None:
    sock, _kernel = socket_of(
        [[message(16, link(2)), message(NLMSG_DONE, DONE)]],
        [[message(16, link(2)), message(NLMSG_DONE, struct.pack("=i", -errno.EMSGSIZE))]],
    )
    assert rtnetlink.dump_links(sock) == [link(2)]
    with pytest.raises(OSError, match="Message too long"):
        rtnetlink.dump_links(sock)


def test_a_dump_that_is_never_of_one_moment_is_an_error() -> None:
    sock, _kernel = socket_of(*[[[message(NLMSG_DONE, DONE, NLM_F_MULTI | NLM_F_DUMP_INTR)]]] * 10)
    with pytest.raises(MacvtapError, match="the host's network configuration changed during each of 10 attempts"):
        rtnetlink.dump_links(sock)


def test_a_dump_always_says_what_it_is_to_have() -> None:
    """With no mask the kernel makes no room for links with thousands of addresses, and ends the dump before them."""
    sock, kernel = socket_of(*[[[message(NLMSG_DONE, DONE)]]] * 2)
    for statistics in (False, True):
        rtnetlink.dump_links(sock, statistics=statistics)
        mask = rtnetlink.attributes(kernel.sent[-1], 32, 40)[29]
        assert struct.unpack("=I", mask) != (0,)


def of_inet6(*kinds: int) -> bytes:
    """Return a link's message with these attributes of IPv6."""
    settings = b"".join(rtnetlink.attribute(kind, bytes(4)) for kind in kinds)
    return link(1) + rtnetlink.attribute(26, rtnetlink.attribute(socket.AF_INET6, settings))


@pytest.mark.parametrize("kinds", [(2, 5), (5, 2)])
def test_a_kernel_that_omits_addrgenmode_with_the_statistics_is_asked_for_both(kinds: tuple[int, ...]) -> None:
    """Linux 5.10. By the loopback link's, the kernel would seem to have no IPv6."""
    dumps = [[link(2), of_inet6(*kinds)], [link(2), of_inet6(*kinds, 8)]]
    answers = [[[*(message(16, body) for body in dump), message(NLMSG_DONE, DONE)]] for dump in dumps]
    sock, kernel = socket_of(*answers)
    assert rtnetlink.dump_links(sock) == dumps[1]
    masks = [rtnetlink.attributes(sent, 32, 40)[29] for sent in kernel.sent]
    assert len(masks) == 2
    assert masks[0] != masks[1]


@pytest.mark.parametrize("dump", [[], [link(1)], [of_inet6()], [link(2), of_inet6(2, 5, 8)]])
def test_other_kernels_are_asked_once(dump: list[bytes]) -> None:
    """A kernel without IPv6 among them."""
    sock, kernel = socket_of([[*(message(16, body) for body in dump), message(NLMSG_DONE, DONE)]])
    assert rtnetlink.dump_links(sock) == dump
    assert len(kernel.sent) == 1


@pytest.mark.parametrize(
    "left",
    [
        [message(NLMSG_ERROR, bytes(20), 0, -1)],
        [message(NLMSG_ERROR, refused(errno.EEXIST), 0, -1)],
        [message(16, link(9), number=-1), message(NLMSG_DONE, DONE, number=-1)],
        [message(NLMSG_DONE, DONE, NLM_F_MULTI | NLM_F_DUMP_INTR, -1)],
    ],
)
@pytest.mark.parametrize("in_own_datagram", [True, False])
def test_an_answer_to_another_request_is_skipped_wherever_it_is(
    left: list[tuple[int, int, bytes, int]], *, in_own_datagram: bool
) -> None:
    dump = [message(16, link(2)), message(16, link(3)), message(NLMSG_DONE, DONE)]
    ack = [message(NLMSG_ERROR, refused(errno.EBUSY), 0, 1)]
    for at in range(len(dump)):
        sock, _kernel = socket_of(
            [part for part in (dump[:at], left, dump[at:]) if part]
            if in_own_datagram
            else [[*dump[:at], *left, *dump[at:]]],
            [left, ack] if in_own_datagram else [left + ack],
        )
        assert rtnetlink.dump_links(sock) == [link(2), link(3)]
        first, second = rtnetlink.transact_at_once(sock, [messages.delete(2), messages.delete(3)])
        assert (first, second and second.code) == (None, errno.EBUSY)


def test_no_two_requests_have_the_same_number() -> None:
    sock, kernel = socket_of([[message(NLMSG_DONE, DONE)]], [[message(NLMSG_ERROR, bytes(20), 0, 1)]])
    rtnetlink.dump_links(sock)
    rtnetlink.transact_at_once(sock, [messages.delete(2), messages.delete(3)])
    dump, removals = kernel.sent
    parts = [dump, removals[: len(removals) // 2], removals[len(removals) // 2 :]]
    assert len({rtnetlink.HEADER.unpack_from(part)[3] for part in parts}) == 3


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([40] * 120, [50, 50, 20]),
        ([40_000] * 3, [1, 1, 1]),
        ([30_000] * 5, [2, 2, 1]),
        ([70_000, 40, 40, 65_500], [1, 2, 1]),
        ([], []),
    ],
)
def test_what_is_sent_at_once_is_divided_by_number_and_bytes(sizes: list[int], batches: list[int]) -> None:
    requests = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    divided = list(rtnetlink.batches(requests))
    assert [len(batch) for batch in divided] == batches
    assert [request for batch in divided for request in batch] == requests


def test_only_the_last_of_several_requests_is_answered_if_all_is_well() -> None:
    asked = [messages.delete(index) for index in (5, 6, 7)]
    sock, kernel = socket_of(
        [[message(NLMSG_ERROR, refused(errno.EBUSY), 0, 1)], [message(NLMSG_ERROR, bytes(20), 0, 2)]]
    )
    assert [answer and answer.code for answer in rtnetlink.transact(sock, asked)] == [None, errno.EBUSY, None]
    (sent,) = kernel.sent
    heads = [rtnetlink.HEADER.unpack_from(sent, at) for at in range(0, len(sent), len(asked[0]))]
    assert [bool(flags & rtnetlink.NLM_F_ACK) for _length, _kind, flags, _number, _port in heads] == [
        False,
        False,
        True,
    ]


def test_links_are_moved_and_removed_in_one_send() -> None:
    asked = [messages.move(5, 77), messages.move(6, 77), messages.delete_group(77)]
    sock, kernel = socket_of(
        [[message(NLMSG_ERROR, refused(errno.ENODEV), 0, 1)], [message(NLMSG_ERROR, bytes(20), 0, 2)]]
    )
    first, second, last = rtnetlink.transact_at_once(sock, asked)
    assert (first, second and second.code, last) == (None, errno.ENODEV, None)
    (sent,) = kernel.sent
    assert len(sent) == sum(map(len, asked))
    # Only what is asked for last is answered if all is well.
    assert [struct.unpack_from("=H", one, 6)[0] & rtnetlink.NLM_F_ACK for one in asked] == [0, 0, rtnetlink.NLM_F_ACK]
