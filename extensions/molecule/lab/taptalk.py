# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who hears whom: sends frames through open taps, as QEMU would, and says where each of them came out.

    taptalk.py talk --name LAB CELL/LINK...    prints a table of the hypervisors' links, as JSON
    taptalk.py hold [--seconds 60] LINK...     on a hypervisor: holds taps open, as a guest would; prints the PID
    taptalk.py serve LINK...                   on a hypervisor: what talk runs there

A macvtap link talks through its tap. Any other link talks as the host's own stack: it hears only the frames that the
kernel leaves to the host. The cell 'lan' is the switch, and lan/lan0 a machine plugged into it.

The table says for each link that spoke who heard it, and which of its frames: those for the listener's 'own' address,
for 'all' (broadcast), for the address of another link, or for 'nobody', an address that none has. A link that hears a
frame twice has it twice. With hv1/one and hv1/two in bridge mode, and a switch that does not send them back to hv1:

    {"hv1/one": {"hv1/two": "own all"}, "hv1/two": {"hv1/one": "own all"}, "hv1/eth0": {}}
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import glob
import json
import os
import secrets
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import typing as t

ETHERTYPE = 0x88B5  # IEEE 802, local experimental
MINIMUM = 60  # of an Ethernet frame without its checksum
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:5e:00:53:ff"  # RFC 7042: for documentation
MAGIC = b"taptalk "

# include/uapi/linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
IFF_UP = 0x1

Heard = t.List[t.Tuple[str, str]]  # who heard, and the words of the frame


class TalkError(Exception):
    """What went wrong, in one line."""


def in_sysfs(link: str, what: str) -> str:
    try:
        with open(f"/sys/class/net/{link}/{what}", encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        raise TalkError(f"{link}: /sys/class/net/{link}/{what}: {error.strerror}") from error


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
    """Open a link's own tap; raises TalkError where it is held already, since two openers would share its frames."""
    device = tap_device(link)
    if device is None:
        raise TalkError(f"{link} is no macvtap link")
    if held := holders(device):
        raise TalkError(f"the tap of {link} is held by process {', '.join(map(str, held))}")
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
            raise TalkError(f"{link} is down")
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
    heard: Heard = []

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


class Party:
    """A cell's links, served there."""

    def __init__(self, cell: str, argv: t.Sequence[str]) -> None:
        self.cell = cell
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, value: object) -> None:
        stdin = t.cast("t.IO[str]", self._process.stdin)
        stdin.write(json.dumps(value) + "\n")
        stdin.flush()

    def answer(self) -> t.Any:
        line = t.cast("t.IO[str]", self._process.stdout).readline()
        if not line:
            raise TalkError(f"taptalk on {self.cell} ended with status {self._process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        t.cast("t.IO[str]", self._process.stdin).close()
        self._process.wait(timeout=10)


def talk(parties: t.Sequence[Party], settle: float) -> dict[str, dict[str, str]]:
    """Let each link of all parties speak to each, and to all, and draw up the table."""
    macs = {f"{party.cell}/{link}": mac for party in parties for link, mac in party.answer().items()}
    # Frames of another talk, still on their way, are none of ours.
    nonce = secrets.token_hex(4)
    # The broadcasts first, so that the switch has learnt where everybody is.
    for targets in ({"all": BROADCAST}, {**macs, "nobody": NOBODY}):
        for party in parties:
            frames = [
                (speaker.split("/")[1], mac, f"{nonce} {speaker} {name}")
                for speaker in macs
                for name, mac in targets.items()
                if speaker.split("/")[0] == party.cell and name != speaker
            ]
            party.say(frames)
            party.answer()
    return table(list(macs), nonce, settled(parties, settle))


def settled(parties: t.Sequence[Party], settle: float) -> Heard:
    """What was heard, once nothing more has come in for a while."""
    heard: Heard = []
    until = time.monotonic() + settle
    while time.monotonic() < until:
        time.sleep(0.05)
        now: Heard = []
        for party in parties:
            party.say([])
            now += [(f"{party.cell}/{link}", words) for link, words in party.answer()]
        if len(now) > len(heard):
            heard, until = now, time.monotonic() + settle
    return heard


def table(links: t.Sequence[str], nonce: str, heard: Heard) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, list[str]]] = {link: {} for link in links}
    for listener, words in heard:
        run, speaker, to = words.split(" ")
        if run == nonce:
            rows[speaker].setdefault(listener, []).append("own" if to == listener else to)

    def order(to: str) -> tuple[bool, bool, str]:
        return to != "own", to != "all", to

    return {
        speaker: {listener: " ".join(sorted(frames, key=order)) for listener, frames in sorted(row.items())}
        for speaker, row in rows.items()
    }


@contextlib.contextmanager
def parties_of(name: str, links: t.Sequence[str]) -> t.Iterator[list[Party]]:
    """The cells of a lab that these links, as CELL/LINK, are in."""
    # Not at the top: on a hypervisor this file stands alone.
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
    from labkit import model, reach
    from labkit.shell import LabError

    # By its text, since a hypervisor need not see the checkout.
    with open(__file__, encoding="utf-8") as file:
        source = file.read()
    by_cell: dict[str, list[str]] = {}
    for link in links:
        cell, _slash, link_name = link.partition("/")
        by_cell.setdefault(cell, []).append(link_name)
    parties: list[Party] = []
    try:
        lab = model.require(name)
        for cell, names in by_cell.items():
            where = lab.switch if cell == model.SWITCH else lab.hypervisor(cell)
            parties.append(Party(cell, reach.command(where, [model.PYTHON, "-c", source, "serve", *names])))
        yield parties
    except LabError as error:
        raise TalkError(str(error)) from error
    finally:
        for party in parties:
            party.end()


def talk_in_lab(name: str, links: t.Sequence[str], settle: float) -> None:
    with parties_of(name, links) as parties:
        print(json.dumps(talk(parties, settle), indent=2))


def main(argv: t.Sequence[str]) -> int:
    top = argparse.ArgumentParser(prog="taptalk.py", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = top.add_subparsers(required=True, dest="command")
    sub = commands.add_parser("talk", help="let links talk to each other, and print who heard whom as JSON")
    sub.add_argument("--name", required=True, metavar="LAB", help="the lab's name")
    sub.add_argument("--settle", type=float, default=0.5, help="seconds without a frame that end it (%(default)s)")
    sub.add_argument("links", nargs="+", metavar="CELL/LINK")
    sub = commands.add_parser("hold", help="hold the taps of links open in the background, and print the process's PID")
    sub.add_argument("--seconds", type=int, default=60, help="after which it ends by itself (%(default)s)")
    sub.add_argument("links", nargs="+", metavar="LINK")
    sub = commands.add_parser("serve", help="speak and listen as told on stdin")
    sub.add_argument("links", nargs="+", metavar="LINK")
    args = top.parse_args(argv)
    try:
        if args.command == "talk":
            talk_in_lab(args.name, args.links, args.settle)
        elif args.command == "hold":
            hold(args.links, args.seconds)
        else:
            serve(args.links)
    except TalkError as error:
        print(f"taptalk: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
