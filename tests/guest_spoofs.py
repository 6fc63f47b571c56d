# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""All that a guest sends from inside: the frames of guest_frames.py, and what only its own NIC and kernel can send.

Run as a program it prints which frames arrive: `guest_spoofs.py LINK` reads frames until the marker after the last one
has come, and then prints the size of each that came, by its number.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import typing as t

import guest_frames as frames
from guest_frames import FOREIGN, FOREIGN4, FOREIGN6, IP4, IP6, LOCAL, MAC, arp, ether, ip4, ip6, udp

_TCP, _ICMP6, _HOP, _ROUTING, _FRAGMENT, _AH, _OPTIONS = 6, 58, 0, 43, 44, 51, 60
# Extension headers that nftables does not know: mobility, and a number for experiments.
_MOBILITY, _EXPERIMENT = 135, 253
_GSO_TCP4, _GSO_TCP6, _NEEDS_SUM = 1, 4, 1
_TCP_HEADER = struct.pack("!HHIIBBHHH", 1000, 53, 1, 1, 0x50, 0x10, 512, 0, 0)
# More than the largest frame on the link.
_SEGMENT = 16000


class Sent(t.NamedTuple):
    """A frame as a guest sends it: with ``zeros`` at its end, and a header for its NIC, "" for none.

    ``kind`` is that by which a guard drops it, "" if it does not.
    """

    kind: str
    frame: bytes
    zeros: int = 0
    head: bytes = b""


def _gso4(kind: str, source: str, mac: str = MAC) -> Sent:
    """Return a large TCP segment, which is left to the NIC."""
    body = ip4(source, _TCP_HEADER + bytes(_SEGMENT), _TCP)
    head = struct.pack("<BBHHHH", _NEEDS_SUM, _GSO_TCP4, 54, 1448, 34, 16)
    return Sent(kind, ether(0x0800, body, mac)[:54], _SEGMENT, head)


def _gso6(kind: str, source: str) -> Sent:
    body = ip6(source, _TCP_HEADER + bytes(_SEGMENT), _TCP)
    head = struct.pack("<BBHHHH", _NEEDS_SUM, _GSO_TCP6, 74, 1428, 54, 16)
    return Sent(kind, ether(0x86DD, body)[:74], _SEGMENT, head)


def _jumbo(kind: str, source: str, mac: str = MAC) -> Sent:
    body = ip4(source, udp(1000, 53, bytes(8900)))
    return Sent(kind, ether(0x0800, body, mac)[:42], 8900)


def _authenticated(following: int, body: bytes) -> bytes:
    """Return an authentication header (RFC 4302) with a sum of 12 bytes."""
    return struct.pack("!BBHII", following, 4, 0, 1, 1) + bytes(12) + body


def _in6(following: int, body: bytes, source: str = LOCAL) -> bytes:
    return ether(0x86DD, ip6(source, body, following))


def _tagged(tags: bytes, frame: bytes, mac: str = MAC) -> bytes:
    """Return a frame with these bytes between its addresses and its type."""
    return frame[:6] + frames.mac(mac) + tags + frame[12:]


_ADVERT = frames.advert(FOREIGN6, frames.target_option(MAC))
_OPTION, _LATER = frames.extension, frames.fragment
_ECHO = frames.icmp6(128, bytes(12))
_ROUTER_FRAME = _in6(_ICMP6, frames.router())
MORE = {
    "mac-zero": Sent("mac", ether(0x0800, ip4(IP4, udp(1000, 53)), "00:00:00:00:00:00")),
    "mac-broadcast": Sent("mac", ether(0x0800, ip4(IP4, udp(1000, 53)), frames.ALL)),
    "mac-multicast": Sent("mac", ether(0x0800, ip4(IP4, udp(1000, 53)), "01:00:5e:00:00:01")),
    "mac-llc": Sent("mac", ether(38, b"\x42\x42\3" + bytes(35), FOREIGN)),
    "own-ah": Sent("", _in6(_AH, _authenticated(17, udp(1000, 53)))),
    "own-gso": _gso4("", IP4),
    "own-gso6": _gso6("", IP6),
    "gso-source": _gso4("address", FOREIGN4),
    "gso-mac": _gso4("mac", IP4, FOREIGN),
    "gso6-source": _gso6("address", FOREIGN6),
    "own-jumbo": _jumbo("", IP4),
    "jumbo-source": _jumbo("address", FOREIGN4),
    "jumbo-mac": _jumbo("mac", IP4, FOREIGN),
    "runt-14": Sent("malformed", ether(0x0800, b"")),
    "runt-arp": Sent("arp", ether(0x0806, b"\0\1")),
    "runt-ip6": Sent("malformed", ether(0x86DD, b"\x60")),
    "router-advert-atomic": Sent("router_advertisement", _in6(_FRAGMENT, _LATER(_ICMP6, frames.router(), more=False))),
    "nd-advert-atomic": Sent("nd", _in6(_FRAGMENT, _LATER(_ICMP6, _ADVERT, more=False))),
    "dhcpv6-server-atomic": Sent("dhcp_server", _in6(_FRAGMENT, _LATER(17, udp(547, 546), more=False))),
    "router-advert-several": Sent(
        "router_advertisement",
        _in6(_HOP, _OPTION(_OPTIONS, _OPTION(_ROUTING, _OPTION(_ICMP6, frames.router())))),
    ),
    "fragment-overlapped": Sent("", _in6(_FRAGMENT, _LATER(_OPTIONS, _OPTION(_ICMP6, _ECHO)))),
    "router-advert-overlap": Sent("malformed", _in6(_FRAGMENT, _LATER(_OPTIONS, frames.router(), 1, more=False))),
    "own-echo-later-fragment": Sent("", _in6(_FRAGMENT, _LATER(_ICMP6, bytes(16), 2, more=False))),
    "ip4-later-fragment-source": Sent("address", ether(0x0800, ip4(FOREIGN4, bytes(16), flags=0x0002))),
    "router-advert-ah": Sent("router_advertisement", _in6(_AH, _authenticated(_ICMP6, frames.router()))),
    "router-advert-ah-options": Sent(
        "router_advertisement", _in6(_AH, _authenticated(_OPTIONS, _OPTION(_ICMP6, frames.router())))
    ),
    "router-advert-options-ah": Sent(
        "router_advertisement", _in6(_OPTIONS, _OPTION(_AH, _authenticated(_ICMP6, frames.router())))
    ),
    "nd-advert-ah": Sent("router_advertisement", _in6(_AH, _authenticated(_ICMP6, _ADVERT))),
    "router-advert-mobility": Sent("", _in6(_MOBILITY, _OPTION(_ICMP6, frames.router()))),
    "router-advert-experiment": Sent("", _in6(_EXPERIMENT, _OPTION(_ICMP6, frames.router()))),
    "ah-source": Sent("address", ether(0x86DD, ip6(FOREIGN6, _authenticated(17, udp(1000, 53)), _AH))),
    "vlan-router-advert": Sent("ethertype", _tagged(b"\x81\0\0\5", _ROUTER_FRAME)),
    "vlan-dhcp-server": Sent(
        "ethertype", _tagged(b"\x81\0\0\5", ether(0x0800, ip4(IP4, udp(67, 68), to="255.255.255.255")))
    ),
    "vlan-double-arp": Sent("ethertype", _tagged(b"\x81\0\0\1\x81\0\0\5", arp(2, MAC, FOREIGN4, IP4))),
    "vlan-double-mac": Sent("mac", _tagged(b"\x81\0\0\1\x81\0\0\5", arp(2, FOREIGN, FOREIGN4, IP4), FOREIGN)),
    "vlan-provider-router-advert": Sent("ethertype", _tagged(b"\x88\xa8\0\1\x81\0\0\5", _ROUTER_FRAME)),
    "redirect4-router": Sent("address", ether(0x0800, ip4(FOREIGN4, b"\5\1\0\0" + bytes(32), 1))),
    "redirect4": Sent("", ether(0x0800, ip4(IP4, b"\5\1\0\0" + bytes(32), 1))),
    "tunnel4": Sent("", ether(0x0800, ip4(IP4, ip4(FOREIGN4, udp(1000, 53)), 4))),
    "tunnel6": Sent("", ether(0x0800, ip4(IP4, ip6(LOCAL, frames.router(), _ICMP6), 41))),
    "igmp-query": Sent("", ether(0x0800, ip4(IP4, b"\x11\x64" + bytes(6), 2, "224.0.0.1"))),
    "mld-query": Sent("", _in6(_ICMP6, frames.icmp6(130, bytes(20)))),
    "mdns-answer": Sent("", ether(0x0800, ip4(IP4, udp(5353, 5353), to="224.0.0.251"))),
}
ALL = {
    **{f"own {name}": Sent("", frame) for name, frame in frames.OWN.items()},
    **{name: Sent(kind, frame) for name, (kind, frame) in frames.FORGED.items()},
    **MORE,
}


_SO_RCVBUFFORCE = 33


def marker(number: int) -> bytes:
    """Return what the guard allows and what comes after each frame: an ARP probe with a number as its target."""
    return arp(1, MAC, frames.NONE4, f"192.0.3.{number}").ljust(60, b"\0")


def lines() -> str:
    """Return the frames for guest_sender.py."""
    return "".join(
        f"{one.head.hex() or '-'} {one.frame.hex()} {one.zeros} {marker(number).hex()}\n"
        for number, one in enumerate(ALL.values())
    )


def main(link: str) -> None:
    sizes = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as lan:
        lan.bind((link, 0))
        # The kernel keeps all frames, however long a busy machine keeps this process waiting.
        lan.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        print("listens", flush=True)
        for number in range(len(ALL)):
            found = [len(one) for one in frames.until(marker(number), lan.fileno(), lambda: lan.recv(1 << 17))]
            if found:
                sizes[number] = max(found)
    print(json.dumps(sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
