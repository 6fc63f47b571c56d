# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Taps of macvtap links, opened as QEMU would: on a hypervisor, where this file stands alone.

    taps.py hold [--seconds 60] LINK...     holds taps open, as a guest would; prints the PID
    taps.py serve LINK...                   sends and receives frames as it reads on stdin: what taptalk.py talk runs

A macvtap link talks through its tap. Any other link talks as the host's own stack: it hears only the frames that the
kernel leaves to the host.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import glob
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import tempfile
import typing as t

ETHERTYPE = 0x88B5  # IEEE 802, local experimental
MINIMUM = 60  # of an Ethernet frame without its checksum
MAGIC = b"taptalk "

# include/uapi/linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
IFF_UP = 0x1


class TapError(Exception):
    """What went wrong, in one line."""


def in_sysfs(link: str, what: str) -> str:
    try:
        with open(f"/sys/class/net/{link}/{what}", encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        raise TapError(f"{link}: /sys/class/net/{link}/{what}: {error.strerror}") from error


def tap_device(link: str) -> int | None:
    """The number of a link's tap; None if it is no macvtap.

    Not that of /dev/tapN: indexes are counted per network namespace and /dev is one for all, so that the node of this
    name may be another link's.
    """
    index = in_sysfs(link, "ifindex")
    if not os.path.exists(f"/sys/class/net/{link}/tap{index}"):
        return None
    major, minor = in_sysfs(link, f"tap{index}/dev").split(":")
    return os.makedev(int(major), int(minor))


def holders(device: int) -> list[int]:
    """The processes that have the device open, as far as /proc shows them."""
    found = set()
    for path in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it was closed meanwhile
            status = os.stat(path)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == device:
                found.add(int(path.split("/")[2]))
    return sorted(found)


def open_tap(link: str) -> int:
    """Open a link's own tap; raises TapError where it is held already, since two openers would share its frames."""
    device = tap_device(link)
    if device is None:
        raise TapError(f"{link} is no macvtap link")
    if held := holders(device):
        raise TapError(f"the tap of {link} is held by process {', '.join(map(str, held))}")
    # In /dev, because elsewhere device nodes may be forbidden, and under a name that nobody else opens.
    with tempfile.TemporaryDirectory(prefix=".taptalk-", dir="/dev") as directory:
        node = os.path.join(directory, "tap")
        os.mknod(node, stat.S_IFCHR | 0o600, device)
        fd = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    # Without IFF_VNET_HDR each read and write is a bare frame. The name is ignored: the tap belongs to its link.
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"", IFF_TAP | IFF_NO_PI))
    return fd


@dataclasses.dataclass
class Mouth:
    """A link that talks."""

    link: str
    mac: str
    fd: int
    sock: socket.socket | None  # of the host's stack, where it is no macvtap

    @classmethod
    def open(cls, link: str) -> Mouth:
        if not int(in_sysfs(link, "flags"), 16) & IFF_UP:
            raise TapError(f"{link} is down")
        mac = in_sysfs(link, "address")
        if tap_device(link) is not None:
            return cls(link, mac, open_tap(link), None)
        # Of this one ethertype, not of all: it is served after the macvlan driver has taken what is its links'.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        sock.setblocking(False)
        sock.bind((link, ETHERTYPE))
        return cls(link, mac, sock.fileno(), sock)

    def say(self, to: str, words: bytes) -> None:
        addresses = bytes.fromhex((to + self.mac).replace(":", ""))
        os.write(self.fd, (addresses + struct.pack("!H", ETHERTYPE) + MAGIC + words + b"\0").ljust(MINIMUM, b"\0"))

    def hear(self) -> t.Iterator[bytes]:
        """The words of what has come in so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                if self.sock is None:
                    frame = os.read(self.fd, 65536)
                else:
                    frame, (link, _protocol, packet_type, _hardware, _address) = self.sock.recvfrom(65536)
                    # The stack throws away what is another's; and it shows a frame for a macvlan at its parent too.
                    if packet_type in (socket.PACKET_OUTGOING, socket.PACKET_OTHERHOST) or link != self.link:
                        continue
                if frame[12:14] == struct.pack("!H", ETHERTYPE) and frame[14:].startswith(MAGIC):
                    yield frame[14 + len(MAGIC) :].split(b"\0")[0]


def serve(links: t.Sequence[str]) -> None:
    """Obey the lines on stdin, with one line on stdout each, until it ends; the first line says that all is open."""
    mouths = {link: Mouth.open(link) for link in links}
    by_fd = {mouth.fd: mouth for mouth in mouths.values()}
    heard: list[tuple[str, str]] = []

    def answer(value: object) -> None:
        print(json.dumps(value), flush=True)

    answer({mouth.link: mouth.mac for mouth in mouths.values()})
    while True:
        ready = select.select([0, *by_fd], [], [])[0]
        for mouth in (by_fd[fd] for fd in ready if fd != 0):
            heard += [(mouth.link, words.decode()) for words in mouth.hear()]
        if 0 in ready:
            line = sys.stdin.readline()
            if not line:
                return
            # What was heard is asked for with nothing to say.
            to_say = json.loads(line)
            for link, to, words in to_say:
                mouths[link].say(to, words.encode())
            answer([] if to_say else heard)


def hold(links: t.Sequence[str], seconds: int) -> None:
    """Hold the taps open in a process of its own, which outlives this one."""
    fds = {link: open_tap(link) for link in links}
    pid = os.fork()
    if pid:
        print(json.dumps({"pid": pid, "links": sorted(fds)}))
        return
    os.setsid()
    # Whoever started us waits for the end of our output.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    signal.alarm(seconds)
    signal.pause()


def main(argv: t.Sequence[str]) -> int:
    top = argparse.ArgumentParser(prog="taps.py", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = top.add_subparsers(required=True, dest="command")
    sub = commands.add_parser("hold", help="hold the taps of links open in the background, and print the process's PID")
    sub.add_argument("--seconds", type=int, default=60, help="after which it ends by itself (%(default)s)")
    sub.add_argument("links", nargs="+", metavar="LINK")
    sub = commands.add_parser("serve", help="speak and listen as told on stdin")
    sub.add_argument("links", nargs="+", metavar="LINK")
    args = top.parse_args(argv)
    try:
        if args.command == "hold":
            hold(args.links, args.seconds)
        else:
            serve(args.links)
    except TapError as error:
        print(f"taps: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
