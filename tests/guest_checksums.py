# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest with a virtio NIC, which has the host write checksums into its frames: where they belong, and elsewhere.

`guest_checksums.py send LINK NEIGHBOUR FAR NAME...` writes these frames into the tap of a link, and prints what arrives
of each at the neighbour and on the LAN, as JSON. NEIGHBOUR may be empty. `guest_checksums.py software LINK` makes the
kernel write the checksums of what the link sends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import typing as t

import guest_frames
from guest_frames import (
    FOREIGN4,
    FOREIGN6,
    IP4,
    IP6,
    LOCAL,
    MAC,
    NEIGHBOUR,
    NODES,
    NONE4,
    arp,
    ether,
    ip,
    ip4,
    ip6,
    udp,
)

_TCP, _UDP, _ICMP6, _OPTIONS = 6, 17, 58, 60
# struct virtio_net_hdr: types of segmentation.
_TCP4, _UDP4, _TCP6, _USO = 1, 3, 4, 5


class Late(t.NamedTuple):
    """What a guest writes, with its struct virtio_net_hdr, and what it is when the host has written the checksum."""

    header: bytes
    frame: bytes
    final: bytes


def checksum(data: bytes) -> int:
    return guest_frames.checksum(data + bytes(len(data) % 2))


def header(start: int, offset: int, kind: int = 0, headers: int = 0, size: int = 0) -> bytes:
    return struct.pack("=BBHHHH", 1, kind, headers, size, start, offset)


def forged(final: bytes, at: int, cover: bytes, start: int = 20, segments: tuple[int, ...] = ()) -> Late:
    """Return what becomes ``final``, and has the two bytes of ``cover`` at ``at`` when a guard sees it.

    The host sums up from ``start`` on. Two bytes at the end make the sum what it is to be.
    """
    final += bytes((len(final) - start) % 2)
    frame = final[:at] + cover + final[at + 2 :]
    end = checksum(frame[start:] + final[at : at + 2]).to_bytes(2, "big")
    return Late(header(start, at - start, *segments), frame + end, final + end)


def honest(final: bytes, start: int, offset: int, pseudo: bytes = b"") -> Late:
    """Return what becomes ``final`` with the checksum of its transport protocol, whose own field has that of a part."""
    at = start + offset
    frame = final[:at] + (~checksum(pseudo) & 0xFFFF).to_bytes(2, "big") + final[at + 2 :]
    return Late(header(start, offset), frame, final[:at] + checksum(frame[start:]).to_bytes(2, "big") + final[at + 2 :])


def tcp(body: bytes) -> bytes:
    return struct.pack("!HHIIBBHHH", 1000, 80, 1, 0, 0x50, 0x10, 100, 0, 0) + body


def pseudo4(length: int, protocol: int) -> bytes:
    return ip(IP4) + ip("192.0.2.99") + struct.pack("!HH", protocol, length)


def pseudo6(length: int, protocol: int) -> bytes:
    return ip(IP6) + ip(NODES) + struct.pack("!II", length, protocol)


_F = {name: frame for name, (_kind, frame) in guest_frames.FORGED.items()}
# The last two bytes of what a guest has, where the forged frame has another's: the guard sees its own addresses.
_OWN4, _OWN6 = ip(IP4)[2:], ip(IP6)[-2:]
FORGED = {
    "arp": forged(_F["arp-reply"], 30, _OWN4),
    "arp-odd": forged(_F["arp-reply"], 30, _OWN4, 21),
    "arp-long": forged(_F["arp-gratuitous"].ljust(300, b"\0"), 30, _OWN4),
    "arp-mac-inside": forged(arp(2, MAC[:-5] + "0b:02", IP4, FOREIGN4), 26, bytes.fromhex("0a01")),
    "ip4-source": forged(_F["ip4-source"], 28, _OWN4),
    "ip4-source-from-26": forged(_F["ip4-source"], 28, _OWN4, 26),
    "ip4-tcp-source": forged(ether(0x0800, ip4(FOREIGN4, tcp(b"abcd"), _TCP)), 28, _OWN4),
    "ip4-source-to-neighbour": forged(_F["ip4-source-to-neighbour"], 28, _OWN4),
    "arp-to-neighbour": forged(guest_frames.mac(NEIGHBOUR) + _F["arp-reply"][6:], 30, _OWN4),
    "dhcp-server": forged(_F["dhcp-server-later-port"], 34, b"\x03\xe8"),
    "dhcp-server-port": forged(_F["dhcp-server-other-port"], 36, b"\x03\xe8"),
    "dhcpv6-server": forged(ether(0x86DD, ip6(LOCAL, udp(547, 1000))), 54, b"\x03\xe8"),
    "ip6-source": forged(_F["ip6-source"], 36, _OWN6),
    "nd-advert": forged(_F["nd-advert"], 76, _OWN6),
    "nd-advert-option": forged(_F["nd-advert-option"], 84, bytes.fromhex("0a01")),
    # The protocol, from UDP.
    "router-advert": forged(_F["router-advert"], 20, b"\x11\xff"),
    "router-advert-options": forged(_F["router-advert-options"], 54, b"\x11\0"),
}
# The same, as frames that the host is to segment. Kernels may refuse them.
SEGMENTED = {
    "arp": forged(arp(2, MAC, IP4, FOREIGN4).ljust(60, b"\0"), 36, b"\1\1", 20, (_TCP4, 54, 8)),
    "ip4-source-uso": forged(_F["ip4-source"], 28, _OWN4, 22, (_USO, 42, 8)),
    "ip4-source-ufo": forged(_F["ip4-source"], 28, _OWN4, 22, (_UDP4, 42, 8)),
    "ip6-source": forged(ether(0x86DD, ip6(FOREIGN6, tcp(bytes(99)), _TCP)), 36, _OWN6, 20, (_TCP6, 74, 8)),
    "dhcp-server": forged(_F["dhcp-server-other-port"], 36, b"\x03\xe8", 20, (_TCP4, 54, 8)),
}
_INNER = ether(0x0800, ip4("198.51.100.1", tcp(b"inner"), _TCP))
HONEST = {
    "tcp": honest(ether(0x0800, ip4(IP4, tcp(b"abc"), _TCP)), 34, 16, pseudo4(23, _TCP)),
    "udp": honest(ether(0x0800, ip4(IP4, udp(1000, 53))), 34, 6, pseudo4(16, _UDP)),
    "udp-to-neighbour": honest(ether(0x0800, ip4(IP4, udp(1000, 53)), to=NEIGHBOUR), 34, 6, pseudo4(16, _UDP)),
    "tcp-6": honest(ether(0x86DD, ip6(IP6, tcp(b"abc"), _TCP)), 54, 16, pseudo6(23, _TCP)),
    "udp-6": honest(ether(0x86DD, ip6(IP6, udp(1000, 53))), 54, 6, pseudo6(16, _UDP)),
    "udp-6-options": honest(ether(0x86DD, ip6(IP6, guest_frames.extension(_UDP, udp(1000, 53)), _OPTIONS)), 62, 6),
    "echo-6": honest(ether(0x86DD, ip6(IP6, guest_frames.icmp6(128, bytes(8)), _ICMP6)), 54, 2, pseudo6(12, _ICMP6)),
    # A guest with containers: TCP in VXLAN, which has no checksum of its own.
    "vxlan": honest(ether(0x0800, ip4(IP4, udp(1000, 4789, bytes(8) + _INNER))), 84, 16),
}
# One frame of TCP, for the host to make three segments of.
_LARGE = honest(ether(0x0800, ip4(IP4, tcp(bytes(2500)), _TCP)), 34, 16, pseudo4(2520, _TCP))
LARGE = _LARGE._replace(header=header(34, 16, _TCP4, 54, 1000))
FRAMES = {
    **{f"own {name}": one for name, one in HONEST.items()},
    **{f"large {name}": one for name, one in SEGMENTED.items()},
    **FORGED,
    "own large": LARGE,
}

_TUNSETIFF, _FLAGS = 0x400454CA, 0x5002  # a tap without packet information, with struct virtio_net_hdr
_SIOCETHTOOL, _SET_TX_CHECKSUMS = 0x8946, 0x17


def send(link: str, neighbour: str, far: str, *names: str) -> None:
    tap = os.open(f"/dev/tap{socket.if_nametoindex(link)}", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"", _FLAGS))
    other = guest_frames.open_tap(neighbour) if neighbour else None
    arrived = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as lan:
        lan.bind((far, 0))
        lan.setblocking(False)
        for number, name in enumerate(names):
            marker = arp(1, MAC, NONE4, f"192.0.3.{number}").ljust(60, b"\0")
            # The kernel may refuse it.
            with contextlib.suppress(OSError):
                os.write(tap, FRAMES[name].header + FRAMES[name].frame)
            os.write(tap, bytes(10) + marker)
            seen = [*guest_frames.until(marker, lan.fileno(), lambda: lan.recv(65536))]
            if other is not None:
                seen += guest_frames.until(marker, other, lambda: os.read(other, 65536))
            arrived[name] = [frame.hex() for frame in seen if frame[38:41] != ip("192.0.3.0")[:3]]
    print(json.dumps(arrived))


def software(link: str) -> None:
    """Make the kernel write checksums itself, as for a NIC that cannot."""
    value = ctypes.create_string_buffer(struct.pack("=II", _SET_TX_CHECKSUMS, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", link.encode(), ctypes.addressof(value)))


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        software(sys.argv[2])
