# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Asks on the LAN who has which address, from a temporary link that nothing is left of."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import struct
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.listener import Listener
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    CLAIMED,
    CONFIRMED,
    LEARNED,
    MOST_ADDRESSES,
    PROBE,
    Questions,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import arp_frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import packets, temporary
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

_ROUNDS = 3
# Of the networks that routers advertise, as many as Linux takes addresses of (max_addresses), and the link-local one.
_MOST_NETWORKS = 16 + 1
# Machines with one of the addresses that were asked for, of which one is the guest's.
_MOST_STRANGERS = 16
# From one round to the next, and after the last: a guest that is busy answers late.
_ROUND_SECONDS = 0.6
_SOL_PACKET, _ADD_MEMBERSHIP, _MULTICAST = 263, 1, 0
_MEMBERSHIP = struct.Struct("=iHH8s")  # index of the link, kind, length of the address, address
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/64")
# The dummy address of RFC 7600, which nobody has. A request from it is no conflict for a guest that is just checking
# whether it may take the address; one without a sender (RFC 5227) is. Some guests answer only the latter.
_DUMMY = ipaddress.IPv4Address("192.0.0.8").packed


_KeyT = t.TypeVar("_KeyT")


@dataclass(frozen=True)
class Answers:
    """What was answered on one uplink; ``asked`` are the addresses that were asked for in each way that there is.

    ``failure`` is why nothing could be asked, "" if it could.
    """

    sightings: tuple[Sighting, ...] = ()
    asked: frozenset[str] = frozenset()
    failure: str = ""


class _Heard:
    """Who said when to have which address, and whether as an answer: what matters of it, and so much of each machine.

    A machine may claim any number of addresses, and use any number of MAC addresses.
    """

    def __init__(self, macs: t.Collection[str], asked: t.Iterable[str]) -> None:
        self.times: dict[tuple[str, str], tuple[str, float]] = {}
        self.asked = set(asked)
        self._macs = frozenset(macs)
        # By MAC address and whether it is an answer; and the machines that do not matter, by address.
        self._unasked: dict[tuple[str, bool], int] = {}
        self._strangers: dict[str, int] = {}

    def add(self, mac: str, address: str, *, reply: bool) -> None:
        known = self.times.get((mac, address))
        if known is None and not self._counts(mac, address, reply=reply):
            return
        if known is None or reply or known[0] == LEARNED:
            self.times[mac, address] = (PROBE if reply else LEARNED, time.monotonic())

    def _counts(self, mac: str, address: str, *, reply: bool) -> bool:
        asked = address in self.asked
        if mac in self._macs:
            return asked or _has_room(self._unasked, (mac, reply), MOST_ADDRESSES)
        return asked and _has_room(self._strangers, address, _MOST_STRANGERS)


def _has_room(counts: dict[_KeyT, int], key: _KeyT, most: int) -> bool:
    counts[key] = counts.get(key, 0) + 1
    return counts[key] <= most


class _Uplink:
    """An uplink with a temporary link on it."""

    def __init__(self, name: str, endpoint: temporary.Endpoint, questions: Questions, macs: t.Collection[str]) -> None:
        self.name = name
        self.socket = endpoint.socket
        self._index = endpoint.number
        self._own = bytes.fromhex(endpoint.mac.replace(":", ""))
        self._macs = frozenset(macs)
        self._questions = questions
        self._host_part = os.urandom(8)
        # Our own source addresses, by network, and those that NICs form of their MAC address.
        self._sources: dict[ipaddress.IPv6Network, bytes] = {}
        self._formed: list[str] = []
        self._heard = _Heard(macs, (*questions.ipv4, *questions.ipv6))
        self._skipped: set[str] = set()
        packets.attach_filter(self.socket, frames.socket_filter())
        self.socket.bind((endpoint.name, packets.ETH_P_ALL))
        for network in (_LINK_LOCAL, *questions.prefixes):
            self._join(network)

    def _join(self, network: ipaddress.IPv6Network) -> None:
        """Have a source address in a network, and receive the questions for it."""
        if network in self._sources:
            return
        source = network.network_address.packed[:8] + self._host_part
        self._sources[network] = source
        formed = [_mac.eui64(mac, network) for mac in sorted(self._macs)]
        self._formed += formed
        self._heard.asked.update(formed)
        group = frames.multicast_mac(frames.solicited_node(source))
        self.socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, _MEMBERSHIP.pack(self._index, _MULTICAST, 6, group))

    def questions(self, number: int, listener: Listener) -> t.Iterator[bytes]:
        """Yield the frames of a round: for what was not answered in those before."""
        answered = {address for _mac, address in self._heard.times}
        own, link_local = self._own, self._sources[_LINK_LOCAL]
        for address in self._questions.ipv4:
            # Repeated whoever has answered: another machine may have the address as well.
            if number and address in answered:
                continue
            last = number == _ROUNDS - 1
            if last and listener.is_tentative(address):
                self._skipped.add(address)
                continue
            sender = arp_frames.NONE4 if last else _DUMMY
            yield arp_frames.probe(own, ipaddress.IPv4Address(address).packed, sender)
        if number == 0:
            yield frames.router_solicitation(own, link_local)
        # A router may answer while these are sent: its networks have their turn in the next round.
        for source in tuple(self._sources.values()):
            yield frames.echo_request(own, source, number + 1)
        for address in dict.fromkeys((*self._questions.ipv6, *self._formed)):
            if address not in answered:
                yield frames.solicitation(own, link_local, ipaddress.IPv6Address(address).packed)

    def receive(self) -> None:
        with contextlib.suppress(OSError):  # the uplink is gone
            for data, outgoing in packets.received(self.socket):
                if not outgoing:
                    self._take(data)

    def _take(self, data: bytes) -> None:
        for network in frames.advertised_prefixes(data):
            if len(self._sources) < _MOST_NETWORKS + len(self._questions.prefixes):
                self._join(network)
        question = frames.solicited(data, self._sources.values())
        if question is not None:
            mac, destination, target = question
            self.send(frames.advertisement(self._own, mac, destination, target))
            return
        statement = frames.read(data)
        if statement is None or statement.tentative:
            return
        # What comes to our own address was asked for.
        self._heard.add(statement.mac, statement.address, reply=statement.reply and data[:6] == self._own)

    def send(self, frame: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.send(frame)

    def answers(self) -> Answers:
        now = time.monotonic()
        return Answers(
            tuple(
                Sighting(mac, address, source, CONFIRMED if source == PROBE else CLAIMED, now - when, self.name)
                for (mac, address), (source, when) in self._heard.times.items()
            ),
            frozenset(self._heard.asked - self._skipped),
        )


def ask(
    uplinks: t.Sequence[Link],
    questions: t.Mapping[str, Questions],
    macs: t.Mapping[str, t.Collection[str]],
    *,
    rate: int,
    listener: Listener,
) -> dict[str, Answers]:
    """Ask on ``uplinks``, all of them at once, ``rate`` frames a second on each; return the answers by uplink.

    ``questions`` and ``macs``, those whose answers matter, are by uplink as well. ``listener`` receives meanwhile.

    :raises PermissionError: this user may not.
    """
    asking: list[_Uplink] = []
    failed: dict[str, Answers] = {}
    with contextlib.ExitStack() as stack:
        for link in uplinks:
            if not (link.up and link.carrier):
                failed[link.name] = Answers(failure=f"{link.name} {'has no carrier' if link.up else 'is down'}")
                continue
            try:
                (endpoint,) = stack.enter_context(temporary.links(link, "bridge"))
                asking.append(_Uplink(link.name, endpoint, questions[link.name], macs[link.name]))
            except PermissionError:
                raise
            except temporary.RefusedError as exc:
                failed[link.name] = Answers(
                    failure=f"the kernel refused a temporary link on {link.name}: {exc}. {temporary.REFUSED_HINT}"
                )
            except OSError as exc:
                failed[link.name] = Answers(failure=f"nothing could be sent on {link.name}: {exc.strerror}")
        for number in range(_ROUNDS if asking else 0):
            _round(asking, number, rate, listener)
        return {**failed, **{one.name: one.answers() for one in asking}}


def _round(asking: t.Sequence[_Uplink], number: int, rate: int, listener: Listener) -> None:
    """Send a round of questions, and take the answers until its time is over."""
    pending = [(one, one.questions(number, listener)) for one in asking]
    begin = time.monotonic()
    sent = 0
    while pending:
        pending = [(one, frame_source) for one, frame_source in pending if _send(one, frame_source)]
        sent += 1
        _receive(asking, listener, begin + sent / rate)
    _receive(asking, listener, time.monotonic() + _ROUND_SECONDS)


def _send(one: _Uplink, source: t.Iterator[bytes]) -> bool:
    frame = next(source, None)
    if frame is not None:
        one.send(frame)
    return frame is not None


def _receive(asking: t.Sequence[_Uplink], listener: Listener, deadline: float) -> None:
    poll = listener.poll
    by_descriptor = {one.socket.fileno(): one for one in asking}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    try:
        while True:
            remaining = deadline - time.monotonic()
            for descriptor, _events in poll.poll(max(0.0, remaining) * 1000):
                if descriptor in by_descriptor:
                    by_descriptor[descriptor].receive()
                else:
                    listener.receive(descriptor)
            if remaining <= 0:
                return
    finally:
        for descriptor in by_descriptor:
            poll.unregister(descriptor)
