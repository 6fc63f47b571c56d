# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The changes of a link that may cut off the host. Plain values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Loss(enum.Enum):
    """What happens to a link, in the words of the message: the cause, and its effect on addresses and routes."""

    REMOVED = ("removing it", "would remove them")
    RECREATED = ("recreating it", "would remove them")
    DOWN = ("setting it down", "would cut them off")
    MAC = ("changing its MAC address", "would cut them off until the LAN has learned the new one")
    MTU = ("changing its MTU", "could cut them off if the LAN uses another one")
    # The kernel neither asks for nor answers neighbours on a link with IFF_NOARP, in IPv4 and IPv6.
    ARP = ("setting arp: false on it", "would cut them off")
    # Addresses and routes from router advertisements stay until their lifetime is over.
    RA = ("setting accept_ra: false on it", "would let them expire")
    # macvlan_handle_frame(): the link in mode passthru receives all frames, even while it is down. A VLAN on the same
    # parent comes first.
    PASSTHRU = ("a link in mode passthru on it, which receives all its frames,", "would cut them off")
    # The same function: with nodst the parent receives no frame from these addresses, whatever the destination.
    SOURCE = ("a link in mode source on it, which with nodst receives all frames from there,", "would cut them off")
    # __netif_receive_skb_core(): vlan_do_receive() comes before bridges and macvlan links, and consumes tagged frames
    # even if the VLAN link is down.
    VLAN = ("a VLAN link with this ID on it, which receives the frames first,", "would cut them off")
    # Nothing happens to it before the next boot, which creates it no longer.
    UNCONFIGURED = ("removing its configuration for the next boot", "would remove them then")
    # networkd removes them as soon as it reads its files, NetworkManager does not set them when it starts.
    UNMANAGED = ("taking it from its network manager", "would remove them at the next boot at the latest")


@dataclass(frozen=True)
class Disruption:
    """A change that disrupts the link of this name in this network namespace; ``path`` is the option that causes it.

    ``mtu`` is the new one in bytes, if it changes. ``macs`` are the source addresses of a link in mode source. ``vlan``
    is the ID and the protocol of a new VLAN link. ``declared``: the addresses and routes of the link are declared with
    it, so only connections are checked there. ``hint`` is how to prevent the loss, if there is a special way.
    """

    link: str
    loss: Loss
    path: str = ""
    mtu: int | None = None
    declared: bool = False
    macs: frozenset[str] = frozenset()
    vlan: tuple[int | None, str | None] = (None, None)
    hint: str = ""
