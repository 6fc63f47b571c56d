# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest that only sends: `bare_tap.py LINK MAC ADDRESS BYTES FRAMES` prints the processor time of a frame, in µs."""

from __future__ import annotations

import fcntl
import os
import pathlib
import socket
import struct
import sys
import time

# linux/if_tun.h
_TUNSETIFF, _TAP, _NO_PI = 0x400454CA, 0x0002, 0x1000


def main(link: str, mac: str, address: str, size: int, frames: int) -> None:
    index = pathlib.Path("/sys/class/net", link, "ifindex").read_text(encoding="ascii").strip()
    payload = size - 42
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28 + payload, 0, 0, 64, 17, 0) + socket.inet_aton(address) + b"\xc0\0\2\x63"
    frame = b"\x02\0\0\0\0\1" + bytes.fromhex(mac.replace(":", "")) + b"\x08\0" + ip
    frame += struct.pack("!HHHH", 4000, 4000, 8 + payload, 0) + bytes(payload)
    tap = os.open(f"/dev/tap{index}", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"", _TAP | _NO_PI))
    started = time.process_time()
    for _frame in range(frames):
        os.write(tap, frame)
    print(1e6 * (time.process_time() - started) / frames)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
