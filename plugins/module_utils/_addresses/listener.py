# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Receives what running guests send on their links: who says what about addresses."""

from __future__ import annotations

import contextlib
import select
import socket
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    CLAIMED,
    IPV6,
    LEARNED,
    MOST_ADDRESSES,
    Nic,
    Sighting,
    family_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import packets

# Duplicate address detection waits for a second by default (RFC 4861, RetransTimer).
_DETECTION_SECONDS = 1.2


class Listener:
    """Sockets on the links of guests. It sees frames in every mode, before they leave the link; it sends nothing."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self._sockets: dict[int, tuple[int, socket.socket, Nic]] = {}
        # When each NIC's address was last claimed, and when it was said to be about to be taken, by index of the link.
        self._claimed: dict[int, dict[str, float]] = {}
        self._tentative: dict[int, dict[str, float]] = {}
        # Who else has an address: it is not the guest's, whatever that was about to do.
        self._taken: set[tuple[int, str]] = set()

    def close(self) -> None:
        for _index, sock, _nic in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def add(self, nics: t.Iterable[Nic]) -> None:
        """Receive on the links of ``nics`` too.

        :raises PermissionError: this user may not.
        """
        there = {index for index, _sock, _nic in self._sockets.values()}
        for nic in nics:
            if nic.link is None or not nic.link_index or nic.link_index in there:
                continue
            sock = packets.packet_socket()
            try:
                packets.attach_filter(sock, frames.socket_filter())
                sock.bind((nic.link, packets.ETH_P_ALL))
                # Another link may have the name by now.
                if socket.if_nametoindex(nic.link) != nic.link_index:
                    sock.close()
                    continue
            except OSError as exc:
                sock.close()
                if isinstance(exc, PermissionError):
                    raise
                continue
            self._sockets[sock.fileno()] = (nic.link_index, sock, nic)
            self.poll.register(sock, select.POLLIN)

    def receive(self, descriptor: int) -> bool:
        """Take some of what has arrived on a socket, and return whether it is one of these."""
        if descriptor not in self._sockets:
            return False
        index, sock, nic = self._sockets[descriptor]
        try:
            for data, outgoing in packets.received(sock):
                self._take(index, nic, data, outgoing=outgoing)
        except OSError:
            # The link is gone.
            with contextlib.suppress(KeyError):
                self.poll.unregister(sock)
            del self._sockets[descriptor]
            sock.close()
        return True

    def listen(self, seconds: float) -> None:
        """Receive for so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            remaining = deadline - time.monotonic()
            for descriptor, _events in self.poll.poll(max(0.0, remaining) * 1000):
                self.receive(descriptor)
            if remaining <= 0:
                return

    def _take(self, index: int, nic: Nic, data: bytes, *, outgoing: bool) -> None:
        statement = frames.read(data)
        if statement is None:
            return
        address = statement.address
        if outgoing and statement.mac in nic.macs:
            statements = (self._tentative if statement.tentative else self._claimed).setdefault(index, {})
            # A guest may claim any number of them.
            if address in statements or len(statements) < MOST_ADDRESSES:
                statements[address] = time.monotonic()
        elif statement.mac not in nic.macs and not statement.tentative and address in self._tentative.get(index, {}):
            self._taken.add((index, address))

    def is_tentative(self, address: str, seconds: float = 10) -> bool:
        """Whether any guest was about to take an address less than so many seconds ago."""
        since = time.monotonic() - seconds
        return any(statements.get(address, since) > since for statements in self._tentative.values())

    def sightings(self) -> list[Sighting]:
        """Return what guests have claimed so far."""
        now = time.monotonic()
        return [
            Sighting(nic.mac, address, LEARNED, CLAIMED, now - when, nic.uplink or "")
            for index, _sock, nic in self._sockets.values()
            for address, when in {**self._detected(index, now), **self._claimed.get(index, {})}.items()
        ]

    def _detected(self, index: int, now: float) -> dict[str, float]:
        """Return the addresses that a guest was about to take, and that nobody else has."""
        return {
            address: when
            for address, when in self._tentative.get(index, {}).items()
            # IPv4 addresses are announced when they are taken.
            if family_of(address) == IPV6 and now - when > _DETECTION_SECONDS and (index, address) not in self._taken
        }
