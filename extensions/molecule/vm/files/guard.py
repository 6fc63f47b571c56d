# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On the virtual machine: what the guard of a macvtap link lets out of it, before it gets another name and after.

``guard.py LINK ADDRESS OTHER NAME`` holds the link's tap, as QEMU does, and writes ARP of the guest's own ADDRESS, of
an OTHER one and from another MAC address. It prints as JSON which of them are on the uplink: at first, when udev has
put the guard on the link with its NAME, and with its former name.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time

import nftables  # type: ignore[import-not-found]  # of the machine

FOREIGN = "52:54:00:00:06:ff"
# include/uapi/linux/if_tun.h
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def in_sysfs(link: str, what: str) -> str:
    with open(f"/sys/class/net/{link}/{what}") as file:
        return file.read().strip()


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def arp(source: str, sender: str) -> bytes:
    """Return the announcement that ``source`` has the address ``sender``."""
    address = socket.inet_aton(sender)
    head = b"\xff" * 6 + mac(source) + bytes.fromhex("08060001080006040001")
    return (head + mac(source) + address + bytes(6) + address).ljust(60, b"\0")


class Guest:
    """A link, by whatever name, with its tap held and its uplink looked at."""

    def __init__(self, link: str, address: str, other: str) -> None:
        index, own = in_sysfs(link, "ifindex"), in_sysfs(link, "address")
        uplink = socket.if_indextoname(int(in_sysfs(link, "iflink")))
        self._tap = os.open(f"/dev/tap{index}", os.O_RDWR)
        # Each write is a bare frame.
        fcntl.ioctl(self._tap, TUNSETIFF, struct.pack("16sH22x", b"", IFF_TAP | IFF_NO_PI))
        # The honest one is the last: what is before it has been on its way before it.
        self._frames = {"other": arp(own, other), "foreign": arp(FOREIGN, address), "own": arp(own, address)}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((uplink, 3))
        self._socket.settimeout(10)

    def sends(self) -> list[str]:
        """Return which of its frames are on the uplink."""
        for frame in self._frames.values():
            os.write(self._tap, frame)
        found: list[str] = []
        while "own" not in found:
            data = self._socket.recv(2048)
            found += [name for name, frame in self._frames.items() if data[: len(frame)] == frame]
        return found


def rename(former: str, new: str) -> None:
    """Give a link another name, and wait until udev has put its guard on it."""
    # This kernel renames no link that is up (EBUSY).
    for words in ((former, "down"), (former, "name", new), (new, "up")):
        subprocess.run(["ip", "link", "set", *words], check=True)
    library = nftables.Nftables()
    deadline = time.monotonic() + 60
    while library.cmd(f"list chain netdev linuxvirt_macvtap link_{new}")[0]:
        if time.monotonic() > deadline:
            sys.exit(f"udev has put no guard on {new}")
        time.sleep(0.1)
    subprocess.run(["udevadm", "settle"], check=True)


def main(link: str, address: str, other: str, name: str) -> None:
    guest = Guest(link, address, other)
    first = guest.sends()
    rename(link, name)
    found = guest.sends()
    rename(name, link)
    print(json.dumps([first, found, guest.sends()]))


main(*sys.argv[1:])
