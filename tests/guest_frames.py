# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a hostile guest sends, and what an honest one does: frames by name, and a program that is such a guest.

It holds the tap of a macvtap link, as QEMU does, writes each frame into it, and prints the names of those that reached
the LAN or a neighbour on the same uplink. To add a frame, add a line.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import typing as t

MAC, FOREIGN, NEIGHBOUR, ALL = "52:54:00:00:0a:01", "52:54:00:00:0b:02", "52:54:00:00:0a:02", "ff:ff:ff:ff:ff:ff"
# That of a VRRP group.
VIRTUAL = "00:00:5e:00:01:07"
IP4, FOREIGN4, VIRTUAL4 = "192.0.2.10", "192.0.2.1", "192.0.2.50"
IP6, FOREIGN6, LOCAL, ROUTER = "2001:db8::10", "2001:db8::1", "fe80::5054:ff:fe00:a01", "fe80::1"
VIRTUAL6 = "2001:db8::50"
NONE4, ANY6, NODES, ROUTERS = "0.0.0.0", "::", "ff02::1", "ff02::2"  # noqa: S104  # a source address
_TCP, _UDP, _ICMP6 = 6, 17, 58
_FRAGMENT, _OPTIONS, _ROUTING, _HOP = 44, 60, 43, 0


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def ether(kind: int, body: bytes, source: str = MAC, to: str = ALL) -> bytes:
    return mac(to) + mac(source) + struct.pack("!H", kind) + body


def arp(  # noqa: PLR0917  # the fields of a packet
    operation: int, sender: str, sender_ip: str, target_ip: str, source: str = MAC, head: str = "000108000604"
) -> bytes:
    addresses = mac(sender) + ip(sender_ip) + bytes(6) + ip(target_ip)
    return ether(0x0806, bytes.fromhex(head) + struct.pack("!H", operation) + addresses, source)


def ip4(source: str, body: bytes, protocol: int = _UDP, to: str = "192.0.2.99", flags: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, flags, 64, protocol, 0, ip(source), ip(to))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ip6(source: str, body: bytes, protocol: int = _UDP, to: str = NODES) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(body), protocol, 255, ip(source), ip(to)) + body


def udp(source: int, to: int, body: bytes = b"12345678") -> bytes:
    return struct.pack("!HHHH", source, to, 8 + len(body), 0) + body


def icmp6(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, 0, 0) + body


def solicit(target: str, option: bytes = b"") -> bytes:
    return icmp6(135, bytes(4) + ip(target) + option)


def advert(target: str, option: bytes = b"") -> bytes:
    return icmp6(136, b"\x20\0\0\0" + ip(target) + option)


def source_option(address: str) -> bytes:
    return b"\1\1" + mac(address)


def target_option(address: str) -> bytes:
    return b"\2\1" + mac(address)


def router() -> bytes:
    return icmp6(134, struct.pack("!BBHII", 64, 0, 1800, 0, 0))


def extension(following: int, body: bytes, size: int = 8) -> bytes:
    return bytes((following, size // 8 - 1)) + b"\1" + bytes((size - 4,)) + bytes(size - 4) + body


def fragment(following: int, body: bytes, offset: int = 0, more: bool = True) -> bytes:
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 7) + body


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# What an honest guest sends.
OWN = {
    "arp-request": arp(1, MAC, IP4, FOREIGN4),
    "arp-reply": arp(2, MAC, IP4, FOREIGN4),
    "arp-gratuitous": arp(1, MAC, IP4, IP4),
    "arp-probe": arp(1, MAC, NONE4, IP4),
    "ip4": ether(0x0800, ip4(IP4, udp(1000, 53))),
    "ip4-tcp": ether(0x0800, ip4(IP4, bytes(20), _TCP)),
    "ip4-fragment": ether(0x0800, ip4(IP4, bytes(16), _UDP, flags=0x2001)),
    "ip4-to-neighbour": ether(0x0800, ip4(IP4, udp(1000, 53)), to=NEIGHBOUR),
    "dhcp-client": ether(0x0800, ip4(NONE4, udp(68, 67), to="255.255.255.255")),
    "dhcp-renewal": ether(0x0800, ip4(IP4, udp(68, 67), to=FOREIGN4)),
    "ip6": ether(0x86DD, ip6(IP6, udp(1000, 53))),
    "ip6-local": ether(0x86DD, ip6(LOCAL, udp(1000, 53))),
    "ip6-fragment": ether(0x86DD, ip6(IP6, fragment(_UDP, udp(1000, 53)), _FRAGMENT)),
    "ip6-later-fragment": ether(0x86DD, ip6(IP6, fragment(_UDP, bytes(16), 2, more=False), _FRAGMENT)),
    "ip6-options": ether(0x86DD, ip6(IP6, extension(_UDP, udp(1000, 53)), _OPTIONS)),
    "dhcpv6-client": ether(0x86DD, ip6(LOCAL, udp(546, 547), to="ff02::1:2")),
    "nd-solicit": ether(0x86DD, ip6(IP6, solicit(FOREIGN6, source_option(MAC)), _ICMP6)),
    "nd-solicit-local": ether(0x86DD, ip6(LOCAL, solicit(FOREIGN6, source_option(MAC)), _ICMP6)),
    "nd-advert": ether(0x86DD, ip6(IP6, advert(IP6, target_option(MAC)), _ICMP6)),
    "nd-duplicate": ether(0x86DD, ip6(ANY6, solicit(IP6), _ICMP6)),
    "nd-duplicate-nonce": ether(0x86DD, ip6(ANY6, solicit(IP6, b"\x0e\x01abcdef"), _ICMP6)),
    "router-solicit": ether(0x86DD, ip6(LOCAL, icmp6(133, bytes(4) + source_option(MAC)), _ICMP6, ROUTERS)),
    "router-solicit-any": ether(0x86DD, ip6(ANY6, icmp6(133, bytes(4)), _ICMP6, ROUTERS)),
    "listener": ether(0x86DD, ip6(ANY6, extension(_ICMP6, icmp6(143, bytes(24))), _HOP, "ff02::16")),
    "vrrp": ether(0x0800, ip4(IP4, b"\x21\1\x64\1" + bytes(16), 112, "224.0.0.18"), to="01:00:5e:00:00:12"),
    "vrrp-6": ether(0x86DD, ip6(LOCAL, b"\x31\1\x64\1" + bytes(20), 112, "ff02::12")),
    "igmp": ether(0x0800, b"\x46" + ip4(IP4, b"\x94\4\0\0\x22" + bytes(15), 2, "224.0.0.22")[1:]),
    "mdns": ether(0x0800, ip4(IP4, udp(5353, 5353), to="224.0.0.251")),
    "jumbo": ether(0x0800, ip4(IP4, udp(1000, 53, bytes(1400)))),
    "echo6": ether(0x86DD, ip6(IP6, icmp6(128, bytes(8)), _ICMP6)),
}
_VRRP = b"\x31\7\x64\1" + bytes(8)
# What a hostile one sends, and the kind as which it is dropped.
FORGED = {
    "mac": ("mac", ether(0x0800, ip4(IP4, udp(1000, 53)), FOREIGN)),
    "mac-to-neighbour": ("mac", ether(0x0800, ip4(IP4, udp(1000, 53)), FOREIGN, NEIGHBOUR)),
    "mac-of-neighbour": ("mac", ether(0x0800, ip4(IP4, udp(1000, 53)), NEIGHBOUR)),
    "mac-runt": ("mac", ether(0x0800, b"", FOREIGN)),
    "mac-vlan": ("mac", ether(0x8100, b"\0\5\x08\0" + ip4(IP4, udp(1000, 53)), FOREIGN)),
    "vrrp": ("mac", ether(0x0800, ip4(IP4, _VRRP, 112, "224.0.0.18"), VIRTUAL, "01:00:5e:00:00:12")),
    "vrrp-arp": ("mac", arp(1, VIRTUAL, VIRTUAL4, VIRTUAL4, VIRTUAL)),
    "vrrp-nd": (
        "mac",
        ether(0x86DD, ip6(VIRTUAL6, advert(VIRTUAL6, target_option(VIRTUAL)), _ICMP6), VIRTUAL, "33:33:00:00:00:01"),
    ),
    "arp-request": ("arp", arp(1, MAC, FOREIGN4, "192.0.2.99")),
    "arp-reply": ("arp", arp(2, MAC, FOREIGN4, "192.0.2.99")),
    "arp-gratuitous": ("arp", arp(1, MAC, FOREIGN4, FOREIGN4)),
    "arp-gratuitous-reply": ("arp", arp(2, MAC, FOREIGN4, FOREIGN4)),
    "arp-mac-inside": ("arp", arp(2, FOREIGN, IP4, "192.0.2.99")),
    "arp-probe-mac-inside": ("arp", arp(1, FOREIGN, NONE4, FOREIGN4)),
    "arp-source": ("mac", arp(2, MAC, IP4, "192.0.2.99", FOREIGN)),
    "arp-other-hardware": ("arp", arp(2, MAC, IP4, FOREIGN4, head="000608000604")),
    "arp-other-protocol": ("arp", arp(2, MAC, IP4, FOREIGN4, head="000186dd0604")),
    "arp-other-length": ("arp", arp(2, MAC, IP4, FOREIGN4, head="000108000804")),
    "arp-runt": ("arp", ether(0x0806, bytes.fromhex("0001080006040002") + mac(MAC))),
    "rarp": ("ethertype", ether(0x8035, arp(3, MAC, IP4, IP4)[14:])),
    "ip4-source": ("address", ether(0x0800, ip4(FOREIGN4, udp(1000, 53)))),
    "ip4-source-to-neighbour": ("address", ether(0x0800, ip4(FOREIGN4, udp(1000, 53)), to=NEIGHBOUR)),
    "ip4-none": ("address", ether(0x0800, ip4(NONE4, udp(1000, 53)))),
    "ip4-broadcast": ("address", ether(0x0800, ip4("255.255.255.255", udp(1000, 53)))),
    "ip4-fragment-source": ("address", ether(0x0800, ip4(FOREIGN4, bytes(16), flags=0x2001))),
    "ip4-runt": ("malformed", ether(0x0800, ip4(IP4, b"")[:14])),
    "ip4-no-header": ("malformed", ether(0x0800, b"")),
    "ip4-version-6": ("malformed", ether(0x0800, b"\x65" + ip4(IP4, udp(1000, 53))[1:])),
    "dhcp-server": ("dhcp_server", ether(0x0800, ip4(IP4, udp(67, 68), to="255.255.255.255"))),
    "dhcp-server-other-port": ("dhcp_server", ether(0x0800, ip4(IP4, udp(1000, 68), to="255.255.255.255"))),
    "dhcp-server-options": ("dhcp_server", ether(0x0800, b"\x46" + ip4(IP4, bytes(4) + udp(67, 68))[1:])),
    "dhcp-server-fragment": ("dhcp_server", ether(0x0800, ip4(IP4, udp(67, 68), flags=0x2000))),
    "dhcpv6-server": ("dhcp_server", ether(0x86DD, ip6(LOCAL, udp(547, 546)))),
    "dhcpv6-server-options": ("dhcp_server", ether(0x86DD, ip6(LOCAL, extension(_UDP, udp(547, 546)), _OPTIONS))),
    "ip6-source": ("address", ether(0x86DD, ip6(FOREIGN6, udp(1000, 53)))),
    "ip6-router-source": ("address", ether(0x86DD, ip6(ROUTER, udp(1000, 53)))),
    "ip6-none": ("address", ether(0x86DD, ip6(ANY6, udp(1000, 53)))),
    "ip6-runt": ("malformed", ether(0x86DD, ip6(IP6, b"")[:30])),
    "ip6-endless-headers": ("malformed", ether(0x86DD, ip6(IP6, fragment(_OPTIONS, b"\x3a\xff"), _FRAGMENT))),
    "ip6-later-fragment": ("address", ether(0x86DD, ip6(FOREIGN6, fragment(_UDP, bytes(16), 2), _FRAGMENT))),
    "ip6-long-options": ("malformed", ether(0x86DD, ip6(IP6, b"\x3a\xff" + bytes(6) + router(), _OPTIONS))),
    "router-advert": ("router_advertisement", ether(0x86DD, ip6(LOCAL, router(), _ICMP6))),
    "router-advert-source": ("router_advertisement", ether(0x86DD, ip6(ROUTER, router(), _ICMP6))),
    "router-advert-options": (
        "router_advertisement",
        ether(0x86DD, ip6(LOCAL, extension(_ICMP6, router()), _OPTIONS)),
    ),
    "router-advert-hop": ("router_advertisement", ether(0x86DD, ip6(LOCAL, extension(_ICMP6, router()), _HOP))),
    "router-advert-routing": ("router_advertisement", ether(0x86DD, ip6(LOCAL, extension(_ICMP6, router()), _ROUTING))),
    "router-advert-tiny-fragment": (
        "malformed",
        ether(0x86DD, ip6(LOCAL, fragment(_OPTIONS, extension(_ICMP6, b"")), _FRAGMENT)),
    ),
    "router-advert-fragment": (
        "router_advertisement",
        ether(0x86DD, ip6(LOCAL, fragment(_ICMP6, router()), _FRAGMENT)),
    ),
    "router-advert-fragment-options": (
        "router_advertisement",
        ether(0x86DD, ip6(LOCAL, fragment(_OPTIONS, extension(_ICMP6, router())), _FRAGMENT)),
    ),
    "redirect": ("router_advertisement", ether(0x86DD, ip6(LOCAL, icmp6(137, bytes(36)), _ICMP6))),
    "nd-solicit-source": ("address", ether(0x86DD, ip6(FOREIGN6, solicit(IP6, source_option(MAC)), _ICMP6))),
    "nd-solicit-option": ("nd", ether(0x86DD, ip6(IP6, solicit(FOREIGN6, source_option(FOREIGN)), _ICMP6))),
    "nd-solicit-second-option": (
        "nd",
        ether(0x86DD, ip6(IP6, solicit(FOREIGN6, source_option(MAC) + source_option(FOREIGN)), _ICMP6)),
    ),
    "nd-duplicate": ("nd", ether(0x86DD, ip6(ANY6, solicit(FOREIGN6), _ICMP6))),
    "nd-duplicate-option": ("nd", ether(0x86DD, ip6(ANY6, solicit(IP6, source_option(FOREIGN)), _ICMP6))),
    "nd-advert": ("nd", ether(0x86DD, ip6(IP6, advert(FOREIGN6, target_option(MAC)), _ICMP6))),
    "nd-advert-router": ("nd", ether(0x86DD, ip6(LOCAL, advert(ROUTER, target_option(MAC)), _ICMP6))),
    "nd-advert-option": ("nd", ether(0x86DD, ip6(IP6, advert(IP6, target_option(FOREIGN)), _ICMP6))),
    "nd-advert-bare": ("nd", ether(0x86DD, ip6(IP6, advert(FOREIGN6), _ICMP6))),
    "nd-advert-second-option": (
        "nd",
        ether(0x86DD, ip6(IP6, advert(IP6, target_option(MAC) + target_option(FOREIGN)), _ICMP6)),
    ),
    "nd-advert-options": (
        "nd",
        ether(0x86DD, ip6(IP6, extension(_ICMP6, advert(FOREIGN6, target_option(MAC))), _OPTIONS)),
    ),
    "nd-advert-fragment": (
        "nd",
        ether(0x86DD, ip6(IP6, fragment(_ICMP6, advert(FOREIGN6, target_option(MAC))), _FRAGMENT)),
    ),
    "router-solicit-option": (
        "nd",
        ether(0x86DD, ip6(LOCAL, icmp6(133, bytes(4) + source_option(FOREIGN)), _ICMP6, ROUTERS)),
    ),
    "vlan": ("ethertype", ether(0x8100, b"\0\5\x08\0" + ip4(IP4, udp(1000, 53)))),
    "vlan-0": ("ethertype", ether(0x8100, b"\0\0\x08\0" + ip4(FOREIGN4, udp(1000, 53)))),
    "vlan-arp": ("ethertype", ether(0x8100, b"\0\0\x08\6" + arp(2, FOREIGN, FOREIGN4, IP4)[14:])),
    "vlan-provider": ("ethertype", ether(0x88A8, b"\0\5\x08\0" + ip4(IP4, udp(1000, 53)))),
    "vlan-double": ("ethertype", ether(0x88A8, b"\0\5\x81\0\0\6\x08\0" + ip4(IP4, udp(1000, 53)))),
    "vlan-old-provider": ("ethertype", ether(0x9100, b"\0\5\x08\0" + ip4(IP4, udp(1000, 53)))),
    "arp-in-snap": ("ethertype", ether(36, b"\xaa\xaa\3\0\0\0\x08\6" + arp(2, MAC, FOREIGN4, IP4)[14:])),
    "cfm": ("ethertype", ether(0x8902, bytes(40), to="01:80:c2:00:00:30")),
    "ptp": ("ethertype", ether(0x88F7, bytes(40), to="01:1b:19:00:00:00")),
    "mrp": ("ethertype", ether(0x88F6, bytes(40), to="01:80:c2:00:00:21")),
    "dhcp-server-later-port": ("dhcp_server", ether(0x0800, ip4(IP4, udp(67, 67), to=FOREIGN4))),
    "lldp": ("ethertype", ether(0x88CC, bytes(40), to="01:80:c2:00:00:0e")),
    "lacp": ("ethertype", ether(0x8809, bytes(40), to="01:80:c2:00:00:02")),
    "stp": ("ethertype", ether(38, b"\x42\x42\3" + bytes(35), to="01:80:c2:00:00:00")),
    "pause": ("ethertype", ether(0x8808, bytes(44), to="01:80:c2:00:00:01")),
    "eapol": ("ethertype", ether(0x888E, bytes(40), to="01:80:c2:00:00:03")),
    "pppoe": ("ethertype", ether(0x8863, bytes(40))),
    "wake": ("ethertype", ether(0x0842, b"\xff" * 6 + mac(FOREIGN) * 16)),
    "reserved": ("ethertype", ether(0x88B5, bytes(40))),
    "jumbo": ("address", ether(0x0800, ip4(FOREIGN4, udp(1000, 53, bytes(1400))))),
}
FRAMES = {
    **{f"own {name}": frame for name, frame in OWN.items()},
    **{name: frame for name, (_kind, frame) in FORGED.items()},
}

_TUNSETIFF, _TAP, _NO_PI = 0x400454CA, 0x0002, 0x1000
_SECONDS = 90


def open_tap(link: str) -> int:
    """Hold the tap of a link, for frames without any header of the host's."""
    tap = os.open(f"/dev/tap{socket.if_nametoindex(link)}", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"", _TAP | _NO_PI))
    return tap


def main(link: str, neighbour: str, far: str, *names: str) -> None:
    tap, other, own = open_tap(link), open_tap(neighbour), os.environ.get("GUEST_MAC", MAC)
    passed = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as lan:
        lan.bind((far, 0))
        lan.setblocking(False)
        for number, name in enumerate(names or FRAMES):
            # The guard allows it, and it comes last: an ARP probe with a number as its target.
            marker = arp(1, own, NONE4, f"192.0.3.{number}", source=own).ljust(60, b"\0")
            os.write(tap, FRAMES[name])
            os.write(tap, marker)
            seen = [*until(marker, lan.fileno(), lambda: lan.recv(65536))]
            seen += until(marker, other, lambda: os.read(other, 65536))
            sent = (frame for frame in seen if frame[6:12] == FRAMES[name][6:12])  # Not by links of the host.
            if any(frame[12:14] != b"\x08\6" or frame[38:41] != ip("192.0.3.0")[:3] for frame in sent):
                passed.append(name)
    print(json.dumps(passed))


def until(marker: bytes, file: int, read: t.Callable[[], bytes]) -> t.Iterator[bytes]:
    """Yield the frames that come in before the marker."""
    while True:
        if not select.select([file], [], [], _SECONDS)[0]:
            raise TimeoutError("the guest's own frame has not arrived")
        frame = read()
        if frame[: len(marker)] == marker:
            return
        yield frame


if __name__ == "__main__":
    main(*sys.argv[1:])
