# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The switch's VLANs, where the kernel has none: copies frames between a trunk and a TAP device per VLAN.

    vlantag.py TRUNK VLAN...

A frame with the tag of VLAN 20 comes out of the TAP device lan20 without it, and the other way round. Runs on in the
background, once all devices are open, until its PID namespace ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
import typing as t

# include/uapi/linux/if_tun.h
TUNSETIFF, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
# include/uapi/linux/if_packet.h; auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR = 263, 8, 15
AUXDATA, VLAN_VALID = struct.Struct("@IIIHHHH"), 1 << 4
ETH_P_ALL, ETH_P_8021Q = 0x0003, 0x8100
VLAN_MASK = 0x0FFF
# Both ends of a copy have it before each frame: a sender leaves its checksum, or its cutting up, to who comes after.
VNET_HDR = 10
ADDRESSES = 12
MAXIMUM = VNET_HDR + ADDRESSES + 4 + 65536


def open_tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HDR))
    return fd


def open_trunk(name: str) -> socket.socket:
    trunk = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    trunk.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    trunk.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    trunk.setblocking(False)
    trunk.bind((name, ETH_P_ALL))
    return trunk


def vlan_of(ancillary: t.Iterable[tuple[int, int, bytes]]) -> int | None:
    """The VLAN that a frame came in; the kernel has taken the tag out of it."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and len(data) >= AUXDATA.size:
            status, _len, _snaplen, _mac, _net, tci, tpid = AUXDATA.unpack(data[: AUXDATA.size])
            if status & VLAN_VALID and tpid == ETH_P_8021Q:
                return int(tci & VLAN_MASK)
    return None


def tagged(data: bytes, vlan: int) -> bytes:
    """A frame with its VLAN's tag. It was read from a TAP device with no offloads, and so is complete."""
    frame = data[VNET_HDR:]
    return bytes(VNET_HDR) + frame[:ADDRESSES] + struct.pack("!HH", ETH_P_8021Q, vlan) + frame[ADDRESSES:]


def copy(trunk: socket.socket, taps: dict[int, int]) -> t.NoReturn:
    vlans = {fd: vlan for vlan, fd in taps.items()}
    while True:
        for fd in select.select([trunk.fileno(), *vlans], [], [])[0]:
            # A frame for a device that is down is lost, as on any switch.
            try:
                if fd in vlans:
                    trunk.send(tagged(os.read(fd, MAXIMUM), vlans[fd]))
                    continue
                data, ancillary, _flags, address = trunk.recvmsg(MAXIMUM, socket.CMSG_SPACE(AUXDATA.size))
                vlan = vlan_of(ancillary)
                if address[2] != socket.PACKET_OUTGOING and vlan in taps:
                    os.write(taps[vlan], data)
            except OSError as error:
                print(f"vlantag: {error}", file=sys.stderr)


def main(trunk_name: str, *vlans: str) -> None:
    trunk = open_trunk(trunk_name)
    taps = {int(vlan): open_tap(f"lan{vlan}") for vlan in vlans}
    if os.fork():
        return
    os.setsid()
    copy(trunk, taps)


if __name__ == "__main__":
    main(*sys.argv[1:])
