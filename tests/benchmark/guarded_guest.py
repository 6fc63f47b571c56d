# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a guard costs a running guest, which is emulated: with its guard and without, in turn.

The guest sends a stream over TCP, and small frames. A machine of the LAN waits for its answers.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import typing as t

from figures import Figure, Size
from harness import BenchmarkError
from hypervisors import DomainSession, bench, nic_xml
from labkit import guest, model, switch
from pauses import Inside
from tasks import LONG_ROUNDS

GUEST, MAC = "guarded", "52:54:00:00:ff:03"
_PORT = 5001
_BYTES, _FRAMES, _PINGS = 60_000_000, 8000, 100
# The guest waits for a byte, then sends a stream, or frames and the end of the stream.
_SENDER = """
import socket, sys
# Names need more of Python's library than the guest has.
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as link:
    link.connect((sys.argv[1].encode(), int(sys.argv[2])))
    link.recv(1)
    left, block = int(sys.argv[3]), bytes(65536)
    while left > 0:
        left -= link.send(block)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        mac = bytes.fromhex(sys.argv[5].replace(":", ""))
        arp = bytes.fromhex("0806000108000604") + b"\\0\\1" + mac + bytes(10) + b"\\xcb\\0\\x71\\7" + bytes(18)
        for _number in range(int(sys.argv[4])):
            sock.send(b"\\xff" * 6 + mac + arp)
    link.shutdown(socket.SHUT_WR)
    link.recv(1)
"""
# Prints how much processor time the threads of the guest's QEMU take from that byte to the end.
_SINK = """
import glob, os, socket, sys
def used():
    found = 0
    for path in glob.glob(f"/proc/{sys.argv[2]}/task/*/schedstat"):
        with open(path) as file:
            found += int(file.read().split()[0])
    return found
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    link, _peer = server.accept()
    with link:
        before = used()
        link.send(b".")
        while link.recv(1 << 20):
            pass
        print((used() - before) / 1e9)
        link.send(b".")
"""
_PING = """
import socket, struct, sys, time
found = []
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
    sock.settimeout(2)
    for number in range(int(sys.argv[2])):
        total = 0x0800 + 77 + number
        start = time.perf_counter()
        head = struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, 77, number)
        sock.sendto(head, (sys.argv[1], 0))
        while struct.unpack_from("!BBHHH", sock.recv(256), 20)[::4] != (0, number):
            pass
        found.append(time.perf_counter() - start)
print(sorted(found)[len(found) // 2])
"""


class Seen(t.NamedTuple):
    """One round: seconds of QEMU's processor time for the stream and for the frames, and those until an answer."""

    stream: float
    frames: float
    answer: float


def guarded(session: DomainSession, size: Size) -> list[Figure]:
    """Let a guest send and answer, without its guard and with it."""
    without, having = [], []
    with bench(session, 0) as outside:
        made = Inside(outside.netns, session, "macvtap_guard", outside.hypervisor)
        made.hypervisor.define_guest(GUEST, nic_xml(MAC))
        made.hypervisor.virsh("start", GUEST)
        lab, cell = model.require(made.hypervisor.cell.lab), made.hypervisor.cell
        (nic,) = guest.wait(lab, cell, GUEST)
        ((link, _index, _mac),) = made.hypervisor.macvtaps()
        options = {"link": link, "persistent": False, "addresses": [nic["ipv4"], nic["ipv6"]]}
        _round(made, lab, nic["ipv4"])
        for _number in range(min(size.rounds, LONG_ROUNDS)):
            without.append(_round(made, lab, nic["ipv4"]))
            made.module(options)
            having.append(_round(made, lab, nic["ipv4"]))
            made.module({"link": link, "persistent": False, "state": "absent"})
    what = {
        "stream": "bytes of a guest's TCP stream with a guard, for the same processor time",
        "frames": "small frames of a guest with a guard, for the same processor time",
        "answer": "a guest's answer to a ping, times as fast with a guard",
    }
    return [_figure(which, text, without, having) for which, text in what.items()]


def _figure(which: str, what: str, without: list[Seen], having: list[Seen]) -> Figure:
    # The least that it takes: what else the machine does only adds to it.
    before, after = (min(getattr(one, which) for one in seen) for seen in (without, having))
    return Figure(
        f"guarded_{which}",
        what,
        before / after,
        "×",
        len(without),
        parts={"least without, ms": before * 1000, "least with a guard, ms": after * 1000},
        note="without a guard = 1; QEMU emulates the guest's processor (TCG)",
    )


def _round(made: Inside, lab: model.Lab, address: str) -> Seen:
    argv = ["ip", "netns", "exec", lab.switch.netns, "/usr/bin/python3", "-c", _PING, address, str(_PINGS)]
    stream, frames = _sent(made, lab, _BYTES, 0), _sent(made, lab, 0, _FRAMES)
    answer = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return Seen(stream, frames, float(answer))


def _sent(made: Inside, lab: model.Lab, size: int, frames: int) -> float:
    """Let the guest send so many bytes and frames, and return the processor time that it takes."""
    argv = ["ip", "netns", "exec", lab.switch.netns, "/usr/bin/python3", "-c", _SINK, str(_PORT), _process()]
    words = [switch.IPV4.partition("/")[0], str(_PORT), str(size), str(frames), MAC]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        stdout = t.cast("t.IO[str]", process.stdout)
        try:
            stdout.readline()
            answer = guest.execute(made.hypervisor.cell, GUEST, ["python3", "-I", "-S", "-c", _SENDER, *words])
            if answer["status"]:
                raise BenchmarkError(f"the guest has not sent all: {answer['stderr']}")
            return float(stdout.readline())
        finally:
            process.kill()


def _process() -> str:
    """Return the number of the guest's QEMU: on this machine, whatever it is on the hypervisor."""
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"guest={GUEST}," in (directory / "cmdline").read_bytes().decode(errors="replace"):
                return directory.name
    raise BenchmarkError("the guest does not run")
