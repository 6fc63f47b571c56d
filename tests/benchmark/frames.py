# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Numbered frames, and which of them arrived. It stands alone, since a guest has little of Python's library.

`frames.py send INTERFACE MAC MILLISECONDS` says `sending` and sends one after the other until its stdin ends; then it
prints when it sent each, in seconds, one a line. `frames.py record FILE SECONDS` makes FILE.ready and, each time it
hears that this was all, FILE.0, FILE.1 and so on: the longest time without a frame, in ms, and the numbers that came,
`530.2 0-511 1040-2000`. It ends when it has heard nothing for so many seconds.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

ETHERTYPE = 0x88B6  # IEEE 802, local experimental; a guest answers to the other one
MAGIC = b"numbered"
LAST = 0xFFFFFFFF
_BUFFER = 16 << 20
# include/uapi/asm-generic/socket.h
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 32, 33, 35
_REPEATS = 20


def send(interface: str, to: str, interval: float) -> None:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    # Frames in the queue of a tap that nobody reads are the sender's still: it would wait for them.
    sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    sock.bind((interface, ETHERTYPE))
    own: bytes = sock.getsockname()[4]
    head = bytes.fromhex(to.replace(":", "")) + own + struct.pack("!H", ETHERTYPE) + MAGIC
    times: list[float] = []
    print("sending", flush=True)
    due = time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        times.append(time.monotonic())
        sock.send(head + struct.pack("!I", len(times) - 1).ljust(40, b"\0"))
        due = max(due + interval, times[-1])  # a frame that is late makes none after it early
    for _repeat in range(_REPEATS):
        sock.send(head + struct.pack("!I", LAST).ljust(40, b"\0"))
        time.sleep(0.02)
    print("\n".join(f"{sent:.6f}" for sent in times))


def record(path: str, seconds: float) -> None:
    # Bound to no interface: one that goes and comes again is heard all the same.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    # When the kernel had it, not when this program came to it.
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    write(f"{path}.ready", "ready")
    ranges: list[list[int]] = []
    longest = before = 0.0
    ended = 0
    while select.select([sock], [], [], seconds)[0]:
        try:
            data, ancillary, _flags, _address = sock.recvmsg(128, 64)
        except OSError:  # an interface went down
            continue
        if not data[14:].startswith(MAGIC):
            continue
        (number,) = struct.unpack_from("!I", data, 14 + len(MAGIC))
        if number != LAST:
            second, nanosecond = struct.unpack("qq", ancillary[0][2])
            now = second + nanosecond / 1e9
            longest, before = max(longest, now - (before or now)), now
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        elif ranges:
            write(f"{path}.{ended}", " ".join([f"{1000 * longest:.1f}", *(f"{a}-{b}" for a, b in ranges)]))
            ranges, longest, before, ended = [], 0.0, 0.0, ended + 1


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], sys.argv[3], float(sys.argv[4]) / 1000)
    else:
        record(sys.argv[2], float(sys.argv[3]))
