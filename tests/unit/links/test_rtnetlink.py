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


def message(kind: int, body: bytes, flags: int = NLM_F_MULTI) -> bytes:
    return rtnetlink.HEADER.pack(16 + len(body), kind, flags, 1, 0) + body


@pytest.fixture
def ends() -> t.Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the kernel's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_dump_that_the_kernel_could_not_end_is_no_dump(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    link = rtnetlink.IFINFO.pack(0, 1, 2, 1, 0)
    theirs.send(message(16, link) + message(NLMSG_DONE, struct.pack("=i", 0)))
    assert rtnetlink.dump_links(ours) == [link]
    theirs.send(message(16, link) + message(NLMSG_DONE, struct.pack("=i", -errno.EMSGSIZE)))
    with pytest.raises(OSError, match="Message too long"):
        rtnetlink.dump_links(ours)


def test_a_dump_that_is_never_of_one_moment_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    for _attempt in range(10):
        theirs.send(message(NLMSG_DONE, struct.pack("=i", 0), NLM_F_MULTI | NLM_F_DUMP_INTR))
    with pytest.raises(MacvtapError, match="the host's network configuration changed during each of 10 attempts"):
        rtnetlink.dump_links(ours)


def test_a_dump_always_says_what_it_is_to_have(ends: tuple[socket.socket, socket.socket]) -> None:
    """With no mask the kernel makes no room for links with thousands of addresses, and ends the dump before them."""
    ours, theirs = ends
    for statistics in (False, True):
        theirs.send(message(NLMSG_DONE, struct.pack("=i", 0)))
        rtnetlink.dump_links(ours, statistics=statistics)
        mask = rtnetlink.attributes(theirs.recv(1 << 16), 32, 40)[29]
        assert struct.unpack("=I", mask) != (0,)


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


def test_only_the_last_of_several_requests_is_answered_if_all_is_well(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    asked = [messages.delete(index) for index in (5, 6, 7)]
    refused = struct.pack("=i", -errno.EBUSY) + bytes(16)
    theirs.send(rtnetlink.HEADER.pack(36, NLMSG_ERROR, 0, 1, 0) + refused)
    theirs.send(rtnetlink.HEADER.pack(36, NLMSG_ERROR, 0, 2, 0) + bytes(20))
    assert [answer and answer.code for answer in rtnetlink.transact(ours, asked)] == [None, errno.EBUSY, None]
    sent = theirs.recv(1 << 16)
    heads = [rtnetlink.HEADER.unpack_from(sent, at) for at in range(0, len(sent), len(asked[0]))]
    assert [(number, bool(flags & rtnetlink.NLM_F_ACK)) for _length, _kind, flags, number, _port in heads] == [
        (0, False),
        (1, False),
        (2, True),
    ]


def test_links_are_moved_and_removed_in_one_send(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    asked = [messages.move(5, 77), messages.move(6, 77), messages.delete_group(77)]
    gone = struct.pack("=i", -errno.ENODEV) + bytes(16)
    theirs.send(rtnetlink.HEADER.pack(36, NLMSG_ERROR, 0, 1, 0) + gone)
    theirs.send(rtnetlink.HEADER.pack(36, NLMSG_ERROR, 0, 2, 0) + bytes(20))
    first, second, last = rtnetlink.transact_at_once(ours, asked)
    assert (first, second and second.code, last) == (None, errno.ENODEV, None)
    sent = theirs.recv(1 << 16)
    assert len(sent) == sum(map(len, asked))
    # Only what is asked for last is answered if all is well.
    assert [struct.unpack_from("=H", one, 6)[0] & rtnetlink.NLM_F_ACK for one in asked] == [0, 0, rtnetlink.NLM_F_ACK]
