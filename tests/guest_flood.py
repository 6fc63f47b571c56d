# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest that floods the LAN with forged frames, and what of it arrives there.

It stands alone, since a guest has little of Python's library. `guest_flood.py flood MAC` runs in the guest. On each NIC
that there is, and from the moment when there is one, it sends frames of each kind as fast as it can: a foreign MAC
address, another's IP address in ARP, a router's advertisement, and a frame that it may send, by which its flood is seen
at all. `guest_flood.py count MAC` sees what the LAN gets, and prints a line for each kind, the number of frames and
when the first and the last of them arrived. With each line on its stdin it starts afresh.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

ALL, FOREIGN = b"\xff" * 6, bytes.fromhex("5254000000ee")
# An ARP packet: Ethernet and IPv4. 203.0.113.0/24 is for documentation.
_ARP = bytes.fromhex("00010800060400")
_MARK = bytes((203, 0, 113, 7))
_SO_RCVBUFFORCE = 33


def forged(own: bytes) -> dict[str, bytes]:
    """Return the frames by name, each marked so that no other traffic is taken for it."""
    return {
        "own": ALL + own + b"\x08\x06" + _ARP + b"\1" + own + bytes(4) + bytes(6) + _MARK,
        "mac": ALL + FOREIGN + b"\x08\x06" + _ARP + b"\1" + FOREIGN + bytes(4) + bytes(6) + _MARK,
        "arp": ALL + own + b"\x08\x06" + _ARP + b"\2" + own + b"\xc0\0\2\1" + own + _MARK,
        "router": b"\x33\x33\0\0\0\1" + own + _router(own),
    }


def _router(own: bytes) -> bytes:
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0) + b"\1\1" + own
    source, all_nodes = bytes.fromhex("fe80000000000000") + _MARK + _MARK, bytes.fromhex("ff02" + "00" * 13 + "01")
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + all_nodes + body


def flood(mac: str) -> None:
    frames = list(forged(bytes.fromhex(mac.replace(":", ""))).values())
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        while True:
            for _index, name in socket.if_nameindex():
                for frame in frames if name != "lo" else ():
                    try:
                        sock.sendto(frame.ljust(60, b"\0"), (name, 0))
                    except OSError:
                        # A NIC that is not up, or goes at this moment.
                        break
            # Enough to hit each moment, and to leave the machine to others.
            time.sleep(0.001)


def count(mac: str) -> None:
    names = {frame: name for name, frame in forged(bytes.fromhex(mac.replace(":", ""))).items()}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        sock.setblocking(False)
        found: dict[str, list[float]] = {}
        print("counting", flush=True)
        while True:
            if sys.stdin in select.select([sock, sys.stdin], [], [])[0]:
                # What is in the queue arrived before.
                _take(sock, names, found)
                if not sys.stdin.readline():
                    return
                print(" ".join(f"{name} {len(at)} {at[0]:.6f} {at[-1]:.6f}" for name, at in found.items()), flush=True)
                found = {}
            _take(sock, names, found)


def _take(sock: socket.socket, names: dict[bytes, str], found: dict[str, list[float]]) -> None:
    while True:
        try:
            frame = sock.recv(2048)
        except BlockingIOError:
            return
        for known, name in names.items():
            if frame.startswith(known):
                found.setdefault(name, []).append(time.monotonic())


if __name__ == "__main__":
    {"flood": flood, "count": count}[sys.argv[1]](sys.argv[2])
