# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Temporary macvlan links to send and receive frames with, in a network namespace that ends with this process."""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    messages,
    netns,
    packets,
    requests,
    rtnetlink,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import MODES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

# Of the links, in an otherwise empty namespace.
_FIRST_INDEX, _GROUP = 1000, 1
REFUSED_HINT = "They are impossible on a port of a bridge, and beside a link in mode passthru"


class RefusedError(Exception):
    """The kernel refuses the temporary links."""


class Endpoint(t.NamedTuple):
    """A link's name, index (``number``) and MAC address, and a packet socket to bind to it.

    The socket receives nothing before.
    """

    name: str
    number: int
    mac: str
    socket: socket.socket


@contextlib.contextmanager
def links(parent: Link, mode: str, count: int = 1) -> t.Iterator[list[Endpoint]]:
    """Create ``count`` links on ``parent``, up and without addresses.

    They are macvlan links, which have no tap, in a network namespace of their own. Nothing of it outlives this process,
    however it ends.

    :raises RefusedError: the kernel refuses them.
    :raises OSError: this user may not create them.
    """
    macs = ["02:" + os.urandom(5).hex(":") for _number in range(count)]
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(rtnetlink.open_socket())
        with netns.fresh() as namespace:
            there = stack.enter_context(rtnetlink.open_socket())
            sockets = [stack.enter_context(packets.packet_socket()) for _mac in macs]
            _transact(here, [_create(parent, mode, namespace, number, mac) for number, mac in enumerate(macs)])
        # Immediately: the end of the namespace would do it a moment later.
        stack.callback(rtnetlink.transact, there, [messages.delete_group(_GROUP)])
        indexes = range(_FIRST_INDEX, _FIRST_INDEX + count)
        # Otherwise each would announce an IPv6 address on the LAN.
        _transact(there, [requests.addrgenmode(index, "none") for index in indexes])
        up = rtnetlink.IFF_UP
        _transact(there, [messages.change(index, (), up, up) for index in indexes])
        made = enumerate(zip(indexes, macs, sockets))
        yield [Endpoint(_name(number), index, mac, sock) for number, (index, mac, sock) in made]


def _create(parent: Link, mode: str, namespace: int, number: int, mac: str) -> bytes:
    attrs = (
        ("IFLA_IFNAME", _name(number)),
        ("IFLA_LINK", parent.index),
        ("IFLA_ADDRESS", mac),
        ("IFLA_GROUP", _GROUP),
        ("IFLA_NET_NS_FD", namespace),
        messages.kind("macvlan", ("IFLA_MACVLAN_MODE", MODES[mode])),
    )
    return messages.create(attrs, 0, 0, index=_FIRST_INDEX + number)


def _name(number: int) -> str:
    return f"probe{number}"


def _transact(sock: socket.socket, asked: t.Sequence[bytes]) -> None:
    for request, answer in zip(asked, rtnetlink.transact(sock, asked)):
        if answer is not None and not requests.is_fulfilled(request, answer):
            raise RefusedError(str(answer))
