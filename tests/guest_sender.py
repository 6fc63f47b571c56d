# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What runs in a hostile guest: it sends frames by raw sockets as they are, some with a header of its NIC (virtio).

It stands alone, since a guest has little of Python's library. Each line on its stdin is one frame and what follows it:
the header of the NIC or "-", the frame, the number of zeros at its end, and the marker, all but the number in
hexadecimal digits. It prints the numbers of the lines that its own kernel has refused.
"""

from __future__ import annotations

import socket
import sys

_PACKET_VNET_HDR = 15
_PACKET = 263


def main(link: str) -> None:
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as plain,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as offloads,
    ):
        offloads.setsockopt(_PACKET, _PACKET_VNET_HDR, 1)
        for sock in (plain, offloads):
            sock.bind((link, 0))
        refused = []
        for number, line in enumerate(sys.stdin):
            head, frame, zeros, marker = line.split()
            data = bytes.fromhex(frame) + bytes(int(zeros))
            try:
                if head == "-":
                    plain.send(data)
                else:
                    offloads.send(bytes.fromhex(head) + data)
            except OSError:
                refused.append(number)
            plain.send(bytes.fromhex(marker))
        print(*refused)


if __name__ == "__main__":
    main(*sys.argv[1:])
