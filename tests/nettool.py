# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What machines of the tests' LANs do on the network: run in a network namespace, it tells by status and output."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys
import time
import typing as t

WAIT_SECONDS = 1.2
ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
PACKET_OUTGOING = 4


def ping(to: str, source: str = "") -> int:
    """Send an echo request and wait for the reply."""
    six = ":" in to
    kind, reply = (128, 129) if six else (8, 0)
    family, protocol = (socket.AF_INET6, 58) if six else (socket.AF_INET, 1)
    number = os.getpid() & 0xFFFF
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        head = struct.pack("!BBHHH", kind, 0, 0, number, 1)
        try:
            if source:
                sock.bind((source, 0))
            sock.sendto(struct.pack("!BBHHH", kind, 0, 0 if six else checksum(head), number, 1), (to, 0))
        except OSError:
            return 1
        for data in received(sock):
            packet = data if six else data[(data[0] & 15) * 4 :]
            if packet[0] == reply and struct.unpack_from("!H", packet, 4)[0] == number:
                return 0
    return 1


def arp(link: str, target: str, sender: str) -> int:
    """Ask who has ``target``, as ``sender``, and tell the MAC addresses in the replies."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((link, ETH_P_ARP))
        own = sock.getsockname()[4]
        head = b"\xff" * 6 + own + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1)
        sock.send((head + own + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)).ljust(60, b"\0"))
        for data in received(sock, WAIT_SECONDS / 2):
            reply = struct.unpack_from("!H", data, 20)[0] == 2
            if reply and data[:6] == own and data[28:32] == socket.inet_aton(target):
                print(data[22:28].hex(":"))
    return 0


def advertise(link: str, prefix: str) -> int:
    """Be a router: send a router advertisement with the prefix, for addresses, to all on the LAN."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((link, ETH_P_IPV6))
        own = sock.getsockname()[4]
        source = b"\xfe\x80" + bytes(6) + bytes((own[0] ^ 2, *own[1:3], 0xFF, 0xFE, *own[3:]))
        target = socket.inet_pton(socket.AF_INET6, "ff02::1")
        option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, socket.inet_pton(socket.AF_INET6, prefix))
        body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option
        total = checksum(source + target + struct.pack("!II", len(body), 58) + body)
        body = body[:2] + struct.pack("!H", total) + body[4:]
        packet = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + target + body
        sock.send(b"\x33\x33\0\0\0\x01" + own + struct.pack("!H", ETH_P_IPV6) + packet)
    return 0


def serve(address: str, port: str, ready: str, *command: str) -> int:
    """Be what sshd is: take a connection, run the command, and see whether the connection has outlived it."""
    with listening(address, port, ready) as connection:
        done = subprocess.run(command, check=False)
        return done.returncode if answers(connection) else 99


def session(address: str, port: str, ready: str, name: str) -> int:
    """Be a process called ``name`` with a connection, until stdin ends; then see whether the connection lives."""
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
    with listening(address, port, ready) as connection:
        print("connected", flush=True)
        sys.stdin.read()
        return 0 if answers(connection) else 99


@contextlib.contextmanager
def listening(address: str, port: str, ready: str) -> t.Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, int(port)))
        server.listen()
        os.close(os.open(ready, os.O_CREAT | os.O_WRONLY))
        server.settimeout(10)
        connection = server.accept()[0]
        with connection:
            yield connection


def answers(connection: socket.socket) -> bool:
    connection.settimeout(WAIT_SECONDS)
    with contextlib.suppress(OSError):
        connection.sendall(b"still there?")
        return connection.recv(64) == b"still there?"
    return False


def connect(address: str, port: str, ready: str) -> int:
    """Be who connects from elsewhere: send back what comes."""
    while not os.path.exists(ready):
        time.sleep(0.02)
    with socket.create_connection((address, int(port)), timeout=10) as connection:
        connection.settimeout(60)
        with contextlib.suppress(OSError):
            while data := connection.recv(64):
                connection.sendall(data)
    return 0


def received(sock: socket.socket, seconds: float = WAIT_SECONDS) -> t.Iterator[bytes]:
    """What comes in during that time, without what goes out."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, address = sock.recvfrom(4096)
        except OSError:
            return
        if sock.family != socket.AF_PACKET or address[2] != PACKET_OUTGOING:
            yield data


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](*sys.argv[2:]))
