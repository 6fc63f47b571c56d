# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Frames of an ethertype that is neither IP nor ARP: asks, answers and listens.

    etherping send --to MAC [--interface eth0] [--ethertype 0x88B5] [--count 3]
    etherping listen [--interface eth0] [--ethertype 0x88B5] [--count 1] [--timeout 10]

    etherping serve

`serve` returns when the guest answers to 0x88B5 (IEEE 802, local experimental), which it then does until its end.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time

ETHERTYPE = 0x88B5
ASK, ANSWER = b"etherping?", b"etherping!"
MINIMUM = 60  # of an Ethernet frame without its checksum


def open_socket(interface: str, ethertype: int) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    if interface:
        sock.bind((interface, ethertype))
    return sock


def frame(to: bytes, source: bytes, ethertype: int, payload: bytes) -> bytes:
    return (to + source + struct.pack("!H", ethertype) + payload).ljust(MINIMUM, b"\0")


def serve() -> None:
    """Answer every question from now on, in a process of its own. There is one at most."""
    sock = open_socket("", ETHERTYPE)
    try:
        only = socket.socket(socket.AF_UNIX)
        only.bind("\0etherping")
    except OSError:
        return
    if os.fork() == 0:
        os.setsid()
        answer(sock)


def answer(sock: socket.socket) -> None:
    """Answer every question, on whatever interface it comes in."""
    while True:
        data, (interface, _protocol, packet_type, _hatype, _own) = sock.recvfrom(2048)
        if packet_type == socket.PACKET_OUTGOING or not data[14:].startswith(ASK):
            continue
        text = ANSWER + data[14 + len(ASK) :]
        try:
            sock.sendto(frame(data[6:12], mac_of(interface), ETHERTYPE, text), (interface, 0))
        except OSError:
            continue  # the interface went away meanwhile


def mac_of(interface: str) -> bytes:
    with open(f"/sys/class/net/{interface}/address") as file:
        return bytes.fromhex(file.read().strip().replace(":", ""))


def receive(sock: socket.socket, deadline: float) -> bytes | None:
    """The next frame that came in, or None at the deadline."""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            data, address = sock.recvfrom(2048)
            if address[2] != socket.PACKET_OUTGOING:
                return data
    return None


def send(interface: str, ethertype: int, to: str, count: int) -> int:
    sock = open_socket(interface, ethertype)
    answered = 0
    for number in range(count):
        token = b" %d %d" % (number, time.monotonic_ns())
        data = frame(bytes.fromhex(to.replace(":", "")), mac_of(interface), ethertype, ASK + token)
        sent, deadline = time.monotonic(), time.monotonic() + 2
        sock.send(data)
        while (reply := receive(sock, deadline)) is not None:
            if reply[14:].startswith(ANSWER + token):
                answered += 1
                print(f"answer from {reply[6:12].hex(':')} ethertype 0x{ethertype:04x}", end=" ")
                print(f"in {(time.monotonic() - sent) * 1000:.1f} ms")
                break
    print(f"{count} frames sent, {answered} answered")
    return 0 if answered else 1


def listen(interface: str, ethertype: int, count: int, timeout: float) -> int:
    sock = open_socket(interface, ethertype)
    deadline = time.monotonic() + timeout
    got = 0
    while got < count and (data := receive(sock, deadline)) is not None:
        got += 1
        print(f"{data[6:12].hex(':')} > {data[0:6].hex(':')} ethertype 0x{ethertype:04x} {len(data)} bytes", flush=True)
    return 0 if got >= count else 1


def main(argv: list[str]) -> int:
    words = dict(zip(argv[1::2], argv[2::2], strict=True))
    interface = words.pop("--interface", "eth0")
    ethertype = int(words.pop("--ethertype", hex(ETHERTYPE)), 0)
    if argv[:1] == ["send"] and "--to" in words:
        return send(interface, ethertype, words["--to"], int(words.get("--count", "3")))
    if argv[:1] == ["listen"]:
        return listen(interface, ethertype, int(words.get("--count", "1")), float(words.get("--timeout", "10")))
    if argv[:1] == ["serve"]:
        serve()
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
