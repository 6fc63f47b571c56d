# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Frames about addresses."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.frames import Statement
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import arp_frames

MAC, OTHER = bytes.fromhex("52540000000a"), bytes.fromhex("52540000000b")
TEXT = MAC.hex(":")
ADDRESS = ipaddress.IPv6Address("2001:db8::7").packed
LOCAL = ipaddress.IPv6Address("fe80::7").packed


def arp(operation: int, sender: str, target: str, mac: bytes = MAC) -> bytes:
    one, two = (ipaddress.IPv4Address(text).packed for text in (sender, target))
    body = arp_frames.ARP.pack(1, 0x0800, 6, 4, operation, mac, one, bytes(6), two)
    return arp_frames.HEAD.pack(b"\xff" * 6, MAC, arp_frames.ETH_P_ARP) + body


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (arp(1, "192.0.2.7", "192.0.2.1"), Statement(TEXT, "192.0.2.7")),
        (arp(1, "192.0.2.7", "192.0.2.7"), Statement(TEXT, "192.0.2.7")),
        (arp(2, "192.0.2.7", "192.0.2.1"), Statement(TEXT, "192.0.2.7", reply=True)),
        (arp(1, str(ipaddress.IPv4Address(0)), "192.0.2.7"), Statement(TEXT, "192.0.2.7", tentative=True)),
        # Of another than who sends it.
        (arp(2, "192.0.2.7", "192.0.2.1", mac=OTHER), None),
        (arp(1, "255.255.255.255", "192.0.2.1"), None),
        (arp(1, "192.0.2.7", "192.0.2.1")[:40], None),
        (b"", None),
        (frames.solicitation(MAC, LOCAL, ADDRESS), Statement(TEXT, "fe80::7")),
        (frames.solicitation(MAC, bytes(16), ADDRESS), Statement(TEXT, "2001:db8::7", tentative=True)),
        (frames.advertisement(MAC, OTHER, LOCAL, ADDRESS), Statement(TEXT, "2001:db8::7", reply=True)),
        (frames.router_solicitation(MAC, LOCAL), Statement(TEXT, "fe80::7")),
        (frames.router_solicitation(MAC, bytes(16)), None),
        (frames.echo_request(MAC, ADDRESS, 1), None),
    ],
)
def test_what_a_frame_says_of_its_sender(frame: bytes, said: Statement | None) -> None:
    assert frames.read(frame) == said


@pytest.mark.parametrize("at", range(0, 86, 5))
def test_a_frame_that_is_cut_short_is_no_defect(at: int) -> None:
    for whole in (frames.advertisement(MAC, OTHER, LOCAL, ADDRESS), advertised("2001:db8:5::")):
        frames.read(whole[:at])
        frames.advertised_prefixes(whole[:at])
        frames.solicited(whole[:at], {ADDRESS})


def test_neighbour_discovery_of_another_network_does_not_count() -> None:
    frame = bytearray(frames.advertisement(MAC, OTHER, LOCAL, ADDRESS))
    frame[21] = 254
    assert frames.read(bytes(frame)) is None


def test_an_advertisement_for_another_machine_says_nothing() -> None:
    frame = frames.advertisement(MAC, OTHER, LOCAL, ADDRESS)
    assert frames.read(frame[:6] + OTHER + frame[12:]) is None


def advertised(prefix: str, length: int = 64, flags: int = 0xC0) -> bytes:
    option = struct.pack("!BBBBIII16s", 3, 4, length, flags, 60, 60, 0, ipaddress.IPv6Address(prefix).packed)
    frame = frames.router_solicitation(MAC, LOCAL)
    return frame[:54] + b"\x86" + bytes(15) + option


def test_the_networks_that_a_router_advertises() -> None:
    assert frames.advertised_prefixes(advertised("2001:db8:5::")) == (ipaddress.IPv6Network("2001:db8:5::/64"),)
    assert frames.advertised_prefixes(advertised("2001:db8:5::", length=48)) == ()
    assert frames.advertised_prefixes(frames.solicitation(MAC, LOCAL, ADDRESS)) == ()


def test_a_question_for_our_own_address_is_answered() -> None:
    question = frames.solicitation(MAC, LOCAL, ADDRESS)
    assert frames.solicited(question, {ADDRESS}) == (MAC, LOCAL, ADDRESS)
    assert frames.solicited(question, {LOCAL}) is None
    # Whoever is just about to take it has no address to answer to.
    assert frames.solicited(frames.solicitation(MAC, bytes(16), ADDRESS), {ADDRESS}) is None


def test_a_solicitation_goes_to_the_group_of_its_target() -> None:
    assert frames.solicitation(MAC, LOCAL, ADDRESS)[:6] == bytes.fromhex("3333ff000007")
