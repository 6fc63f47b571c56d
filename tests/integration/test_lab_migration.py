# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The lab's hosts between which guests migrate: what libvirt does there by itself."""

from __future__ import annotations

import typing as t

import direct_iface
import moved_guests
import pytest
from direct_iface import A
from direct_network import network, nic_on
from moved_guests import Hosts

pytestmark = direct_iface.MARKS


@pytest.fixture
def on_networks(hosts: Hosts) -> moved_guests.Guest:
    """web1 runs on the first host, with its NIC on the direct network lan, which each host has on its own uplink."""
    for hv in hosts.all:
        hv.virsh("net-define", "/dev/stdin", stdin=network("lan", "bridge", hv.uplink))
        hv.virsh("net-start", "lan")
    return moved_guests.start(hosts, nic_on(A))


@pytest.mark.parametrize(("transport", "words"), [("ssh", ("--tunnelled",)), ("ssh", ("--tls",)), ("tls", ("--tls",))])
def test_a_guest_on_a_direct_network_migrates(
    hosts: Hosts, on_networks: moved_guests.Guest, transport: str, words: t.Sequence[str]
) -> None:
    uri = moved_guests.uri(hosts.destination, transport)
    with moved_guests.watched(hosts, on_networks) as noticed:
        assert moved_guests.migrate(hosts.source, "web1", uri, *words) == ""
    moved_guests.assert_whole(hosts, on_networks, hosts.destination)
    assert noticed[0].silence < 30


def test_libvirt_refuses_a_guest_on_an_uplink_that_the_destination_lacks(hosts: Hosts) -> None:
    guest = moved_guests.start(hosts)
    # Over SSH, libvirt 9.0 reports some of all failures as "End of file while reading data" alone.
    error = moved_guests.migrate(hosts.source, "web1", moved_guests.uri(hosts.destination, "tls"), "--tunnelled")
    assert "Unable to get index for interface eth0: No such device" in error
    moved_guests.assert_whole(hosts, guest, hosts.source)
