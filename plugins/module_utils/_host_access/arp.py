# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""ARP probes (RFC 5227): checks whether an IPv4 address is already in use."""

from __future__ import annotations

import select
import socket
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.arp_frames import ETH_P_ARP, claim, probe

# RFC 5227 waits for seconds, so that machines that start together do not probe together.
_PROBES, _SECONDS_EACH = 3, 0.35


def holder(link: str, mac: str, addresses: t.Sequence[str]) -> tuple[str, str] | None:
    """Probe on ``link``, whose MAC address is ``mac``; return the first address in use, with its MAC address.

    The sender IP address is empty, so that no neighbour learns it.
    """
    own = bytes.fromhex(mac.replace(":", ""))
    asked = {socket.inet_aton(address): address for address in addresses}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0) as sock:
        sock.bind((link, ETH_P_ARP))
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        for _number in range(_PROBES):
            for address in asked:
                sock.send(probe(own, address))
            deadline = time.monotonic() + _SECONDS_EACH
            remaining = _SECONDS_EACH
            # A LAN may have no end of frames.
            while remaining > 0 and poll.poll(remaining * 1000):
                found = claim(sock.recv(2048), own, asked)
                if found is not None:
                    return asked[found[0]], found[1].hex(":")
                remaining = deadline - time.monotonic()
    return None
