# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A netlink socket for links: dumps without unneeded decoding, and requests in batches.

pyroute2 encodes the requests (see messages.py). For dumps it is too slow: importing it and decoding every attribute
takes 0.5 s for 1,000 links instead of 0.02 s. One send per request would double the time of 1,000 requests.

The kernel answers within send(). A signal or an error right after it leaves the answers in the socket, and a rollback
asks over the same socket. So each request has a sequence number of its own, and :func:`_exchange` alone sends and
receives.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, decoding
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import attributes

# include/uapi/linux/netlink.h, rtnetlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x1, 0x4, 0x200, 0x400, 0x300
_NLM_F_DUMP_INTR, _NLM_F_ACK_TLVS = 0x10, 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINKPROP, RTM_DELLINKPROP = 16, 17, 18, 108, 109
RTM_NEWADDR, RTM_DELADDR, _RTM_GETADDR, RTM_NEWROUTE, RTM_DELROUTE, _RTM_GETROUTE = 20, 21, 22, 24, 25, 26
_RTA_DST, _RTA_SRC = 1, 2
_RTM_GETNEIGH = 30
_RTM_GETNSID, _NETNSA_NSID, _NETNSA_PID = 90, 1, 2
_IFLA_AF_SPEC, _IFLA_INET6_CONF, _IFLA_INET6_ADDR_GEN_MODE = 26, 2, 8  # include/uapi/linux/if_link.h
_IFLA_EXT_MASK, _RTEXT_FILTER_BRVLAN, _RTEXT_FILTER_SKIP_STATS, _RTEXT_FILTER_MRP = 29, 2, 8, 16

IFF_UP, IFF_LOOPBACK = 0x1, 0x8  # include/uapi/linux/if.h

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
IFINFO = struct.Struct("=BxHiII")  # family, hardware, index, flags, change
IFINFO_END = HEADER.size + IFINFO.size  # in a whole message
IFADDR = struct.Struct("=BBBBI")  # family, prefix's length, flags, scope, index of the link
# Family, lengths of the destination and of the source, type of service, table, protocol, scope, type, flags.
RTMSG = struct.Struct("=BBBBBBBBI")
NDMSG_BYTES = 12
_ATTRIBUTE = struct.Struct("=HH")  # length, type

_RECEIVE = 1 << 18
# Acknowledgements wait in the socket until the whole batch is sent: this many fit into the smallest buffer.
_BATCH = 50
# Bytes per send: less than the smallest send buffer, which also holds the kernel's overhead.
BATCH_BYTES = 1 << 16
_DUMP_ATTEMPTS = 10
# Of all sockets of this process: no answer that is left in one has the number of a later request.
_sequence_numbers = itertools.count(1)


class Refusal(t.NamedTuple):
    """The kernel's error for a request: errno, and the message where it has one (extack)."""

    code: int
    text: str

    def __str__(self) -> str:
        name = errno.errorcode.get(self.code, str(self.code))
        return f"{self.text or os.strerror(self.code)} ({name})"


def open_socket() -> socket.socket:
    """Open a socket in the network namespace of this thread."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, 0))
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            sock.setsockopt(_SOL_NETLINK, option, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    except OSError:
        sock.close()
        raise
    return sock


def dump_links(sock: socket.socket, *, statistics: bool = False) -> list[bytes]:
    """Return the body (ifinfomsg and attributes) of every link's message.

    The kernel marks a dump as inconsistent if links change meanwhile; the dump is then repeated.
    """
    # Without any mask rtnl_calcit() reserves no room for a link with thousands of addresses, and the kernel ends the
    # dump before it without an error. The MRP mask has no effect outside a dump of bridges.
    bodies = _dump_links(sock, socket.AF_UNSPEC, _RTEXT_FILTER_MRP if statistics else _RTEXT_FILTER_SKIP_STATS)
    return bodies if statistics or not _abridged(bodies) else dump_links(sock, statistics=True)


def _abridged(bodies: t.Sequence[bytes]) -> bool:
    """Return whether links have settings of IPv6 without addrgenmode: Linux 5.10 omits it with the statistics."""
    for body in bodies:
        families = attributes(body, IFINFO.size, len(body)).get(_IFLA_AF_SPEC, b"")
        inet6 = attributes(families, 0, len(families)).get(socket.AF_INET6)
        if inet6 is not None:
            settings = attributes(inet6, 0, len(inet6))
            return _IFLA_INET6_CONF in settings and _IFLA_INET6_ADDR_GEN_MODE not in settings
    return False


def dump_bridges(sock: socket.socket) -> list[bytes]:
    """Return the body (ifinfomsg and attributes) of every bridge and port of one, with their VLANs."""
    return _dump_links(sock, socket.AF_BRIDGE, _RTEXT_FILTER_BRVLAN)


def _dump_links(sock: socket.socket, family: int, mask: int) -> list[bytes]:
    body = IFINFO.pack(family, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, struct.pack("=I", mask))
    return _dump(sock, RTM_GETLINK, body)


def dump_addresses(sock: socket.socket) -> list[bytes]:
    """Return the body (ifaddrmsg and attributes) of every IP address's message."""
    return _dump(sock, _RTM_GETADDR, IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0))


def dump_routes(sock: socket.socket, family: int) -> list[bytes]:
    """Return the body (rtmsg and attributes) of the message of every route of an address family."""
    # A kernel without that family, as with ipv6.disable=1, dumps those of all others (rtnl_dump_all()).
    bodies = _dump(sock, _RTM_GETROUTE, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    with decoding("routes"):
        return [body for body in bodies if body[0] == family]


def route_between(sock: socket.socket, source: bytes, destination: bytes) -> bytes | None:
    """Return the body (rtmsg and attributes) of the kernel's route between two IP addresses, None if none.

    It considers all tables, and the rules for ``source``, an address of this host, or b"" for the one it chooses.
    """
    family, bits = (socket.AF_INET if len(destination) == 4 else socket.AF_INET6), 8 * len(destination)
    body = RTMSG.pack(family, bits, 8 * len(source), 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_DST, destination) + (attribute(_RTA_SRC, source) if source else b"")
    answers = _ask(sock, _RTM_GETROUTE, NLM_F_ACK, body)
    with decoding("a route"):
        return None if answers.refusals else answers.bodies[0]


def dump_neighbours(sock: socket.socket) -> list[bytes]:
    """Return the body (ndmsg and attributes) of every neighbour's message."""
    return _dump(sock, _RTM_GETNEIGH, bytes(NDMSG_BYTES))


def _dump(sock: socket.socket, message: int, body: bytes) -> list[bytes]:
    """Return the bodies of a dump's messages.

    :raises MacvtapError: the configuration changed during each attempt.
    :raises OSError: the kernel refuses, or the dump is incomplete.
    """
    for _attempt in range(_DUMP_ATTEMPTS):
        answers = _ask(sock, message, NLM_F_DUMP, body)
        for refusal in answers.refusals.values():
            raise OSError(refusal.code, os.strerror(refusal.code))
        if answers.consistent:
            return answers.bodies
    raise MacvtapError(
        f"the host's network configuration changed during each of {_DUMP_ATTEMPTS} attempts to read it. Run the task "
        "again when it has settled"
    )


def nsid_of(sock: socket.socket, pid: int) -> int | None:
    """Return the ID in the socket's namespace for that of the process ``pid``, None if there is none."""
    body = b"\0\0\0\0" + attribute(_NETNSA_PID, struct.pack("=I", pid))
    answers = _ask(sock, _RTM_GETNSID, NLM_F_ACK, body)
    if answers.refusals:
        return None
    with decoding("network namespaces"):
        value = attributes(answers.bodies[0], 4, len(answers.bodies[0])).get(_NETNSA_NSID)
        nsid = struct.unpack("=i", value)[0] if value else -1
    return None if nsid < 0 else int(nsid)


def transact(sock: socket.socket, requests: t.Sequence[bytes]) -> list[Refusal | None]:
    """Send ``requests`` and return the answer to each: None is success.

    Each is a whole message; its sequence number is set here. The later ones are sent even after a refusal.
    """
    return [answer for batch in batches(requests) for answer in transact_at_once(sock, batch)]


def batches(requests: t.Sequence[bytes]) -> t.Iterator[t.Sequence[bytes]]:
    """Split ``requests`` into batches, by number and bytes."""
    start = size = 0
    for at, request in enumerate(requests):
        if at > start and (at - start == _BATCH or size + len(request) + 3 > BATCH_BYTES):
            yield requests[start:at]
            start, size = at, 0
        size += len(request) + 3
    if start < len(requests):
        yield requests[start:]


def transact_at_once(sock: socket.socket, requests: t.Sequence[bytes]) -> list[Refusal | None]:
    """As :func:`transact`, in one send: if the process is killed, all of ``requests`` are carried out, or none.

    The last request must have NLM_F_ACK. The kernel goes through them in their order, and answers one without that flag
    only with an error. So the others are sent without it: as many answers need not be received one by one.
    """
    numbers = list(itertools.islice(_sequence_numbers, len(requests)))
    batch = []
    for number, request in zip(numbers, requests):
        length, kind, flags, _number, port = HEADER.unpack_from(request)
        flags = flags if number == numbers[-1] else flags & ~NLM_F_ACK
        batch += [HEADER.pack(length, kind, flags, number, port), request[16:], bytes(-len(request) % 4)]
    refusals = _exchange(sock, b"".join(batch), numbers[0], numbers[-1]).refusals
    return [refusals.get(number) for number in numbers]


class _Answers(t.NamedTuple):
    """The answers to requests that were sent at once: bodies of messages, and refusals by sequence number.

    ``consistent`` is False if the kernel has marked a dump as interrupted by a change.
    """

    bodies: list[bytes]
    refusals: dict[int, Refusal]
    consistent: bool


def _ask(sock: socket.socket, message: int, flags: int, body: bytes) -> _Answers:
    """Send one request. NLM_F_ACK or NLM_F_DUMP must be in ``flags``: either makes the kernel mark the answer's end."""
    number = next(_sequence_numbers)
    request = HEADER.pack(16 + len(body), message, NLM_F_REQUEST | flags, number, 0) + body
    return _exchange(sock, request, number, number)


def _exchange(sock: socket.socket, requests: bytes, first: int, last: int) -> _Answers:
    """Send ``requests`` with the sequence numbers ``first`` to ``last``, and receive until the last one is answered.

    What has another number is the answer to an earlier request, which something has interrupted.
    """
    _discard(sock)
    sock.send(requests)
    bodies, refusals, consistent = _Answers([], {}, consistent=True)
    while True:
        for kind, flags, number, message in _messages(sock.recv(_RECEIVE), range(first, last + 1)):
            consistent = consistent and not flags & _NLM_F_DUMP_INTR
            if kind not in (_NLMSG_DONE, _NLMSG_ERROR):
                bodies.append(message[16:])
            elif (refusal := _refusal(message)) is not None:
                refusals[number] = refusal
            if number == last and kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return _Answers(bodies, refusals, consistent)


@decoding("a request")
def _messages(data: bytes, numbers: range) -> list[tuple[int, int, int, bytes]]:
    """Return the type, the flags and the number of each message with one of these sequence numbers, and the message."""
    found: list[tuple[int, int, int, bytes]] = []
    at = 0
    while at < len(data):
        length, kind, flags, number, _port = HEADER.unpack_from(data, at)
        end = at + length
        if number in numbers:
            found.append((kind, flags, number, data[at:end]))
        at += (max(length, 16) + 3) & ~3
    return found


def _discard(sock: socket.socket) -> None:
    """Receive what is left of earlier requests.

    A socket that has overflowed takes no answer until it is empty, and one with an unfinished dump refuses another.
    """
    while True:
        try:
            # Whatever its size: the kernel drops the rest of a message.
            sock.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as exc:
            # It has overflowed; what it holds comes after this error.
            if exc.errno != errno.ENOBUFS:
                raise


@decoding("a request")
def _refusal(message: bytes) -> Refusal | None:
    """Return the error of an NLMSG_ERROR or NLMSG_DONE, None if it is success."""
    _length, kind, flags, _number, _port = HEADER.unpack_from(message)
    # The final message of a dump has an error code since netlink_dump_done(); 0 is success.
    code = -struct.unpack_from("=i", message, 16)[0] if len(message) >= 20 else 0
    if code <= 0:
        return None
    text = b""
    if flags & _NLM_F_ACK_TLVS:
        # An error has the request's header before its attributes.
        text = attributes(message, 36 if kind == _NLMSG_ERROR else 20, len(message)).get(_NLMSGERR_ATTR_MSG, b"")
    return Refusal(code, text.rstrip(b"\0").decode(errors="replace"))


def attribute(kind: int, payload: bytes) -> bytes:
    """Return an attribute, padded so that another can follow."""
    return (_ATTRIBUTE.pack(4 + len(payload), kind) + payload).ljust((len(payload) + 7) & ~3, b"\0")
