# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Packet sockets, and classic BPF programs that select what they receive."""

from __future__ import annotations

import socket
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import bpf

_SO_ATTACH_FILTER = 26
# All protocols: such a socket receives frames before the macvlan driver consumes them (all of them in mode passthru).
# One for a single ethertype would come after it.
ETH_P_ALL = 3
PACKET_OUTGOING = 4
# How many frames are read of a socket before the clock and the others are looked at: there may be no end of them.
AT_ONCE = 16
_LARGEST = 2048


def packet_socket() -> socket.socket:
    # No protocol: it receives nothing until it is bound to one.
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)


def received(sock: socket.socket) -> t.Iterator[tuple[bytes, bool]]:
    """Yield frames that have arrived, and whether each one was sent from here: the first AT_ONCE, if there are more.

    :raises OSError: the link is gone, or down.
    """
    for _number in range(AT_ONCE):
        try:
            data, address = sock.recvfrom(_LARGEST)
        except BlockingIOError:
            return
        yield data, address[2] == PACKET_OUTGOING


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """Let the kernel drop what ``program`` does not accept, so that a busy link does not fill the socket."""
    import ctypes

    buffer = ctypes.create_string_buffer(program, len(program))
    length = len(program) // bpf.SIZE
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", length, ctypes.addressof(buffer)))
