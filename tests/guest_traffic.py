# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the LAN notices of a guest: for how long it is silent and stands still, and what becomes of a stream.

`guest_traffic.py clock ADDRESS MILLISECONDS` asks for the guest's clock so often, by ICMP timestamp requests, which its
kernel answers. `guest_traffic.py stream ADDRESS PORT` sends random bytes over one TCP connection to a service that
sends them back. Both print a line with the first answer, and end with their stdin.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time
import typing as t

# A program for machines that do not see this file.
_SOURCE = pathlib.Path(__file__).read_text(encoding="utf-8") if "__file__" in globals() else ""
_REQUEST, _REPLY = 13, 14
_IDENTIFIER = 4242
_DAY_MS = 24 * 60 * 60 * 1000
_BLOCK, _IN_FLIGHT = 4096, 256 << 10
_SECONDS = 60


class Noticed(t.NamedTuple):
    """The longest time without an answer, and how long of it the guest's clock stood still, in seconds."""

    silence: float
    still: float


def longest(answers: t.Sequence[tuple[float, int]]) -> Noticed:
    """Return what was noticed, by the times of the answers in seconds and the guest's clock in them.

    That counts milliseconds since midnight, as RFC 792 has it.
    """
    if len(answers) < 2:
        raise ValueError(f"the guest has answered {len(answers)} times")
    pairs = zip(answers, answers[1:])
    silence, by_guest = max((after[0] - before[0], (after[1] - before[1]) % _DAY_MS) for before, after in pairs)
    return Noticed(silence, silence - by_guest / 1000)


@contextlib.contextmanager
def watched(prefix: t.Sequence[str], address: str, milliseconds: int = 10) -> t.Iterator[list[Noticed]]:
    """Watch a guest meanwhile, from where the command ``prefix`` leads to; the list then has what was noticed.

    A guest that is silent at the end is waited for.
    """
    found: list[Noticed] = []
    with _running(prefix, "clock", address, str(milliseconds)) as finish:
        yield found
        lines = finish().splitlines()
    found.append(longest([(float(host), int(guest)) for host, guest in map(str.split, lines)]))


@contextlib.contextmanager
def streaming(prefix: t.Sequence[str], address: str, port: int) -> t.Iterator[None]:
    """Send bytes to a service of a guest that sends them back, and see that all of them come back as they were."""
    with _running(prefix, "stream", address, str(port)) as finish:
        yield
        message = finish()
    count, verdict = message.split(maxsplit=1)
    if int(count) == 0 or verdict.strip() != "intact":
        raise AssertionError(f"of the stream to {address}, {count} bytes came back, {verdict.strip()}")


@contextlib.contextmanager
def _running(prefix: t.Sequence[str], *words: str) -> t.Iterator[t.Callable[[], str]]:
    """Run this program, which has its first answer then; what is given ends it and returns what it prints."""
    argv = [*prefix, "/usr/bin/python3", "-c", _SOURCE, *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def finish() -> str:
            message, _errors = process.communicate(timeout=_SECONDS)
            if process.returncode:
                raise AssertionError(f"{' '.join(words)} ended with {process.returncode}")
            return message

        try:
            stdout = t.cast("t.IO[str]", process.stdout)
            if stdout.readline() != "answers\n":
                raise AssertionError(f"the guest does not answer: {' '.join(words)}")
            yield finish
        except BaseException:
            process.kill()
            raise


def clock(address: str, milliseconds: str) -> None:
    """Print the time of each answer, and the guest's clock in it."""
    interval = float(milliseconds) / 1000
    answers: list[tuple[float, int]] = []
    due = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.setblocking(False)
        is_open = ended = False
        while not ended:
            reads = [sock, sys.stdin] if is_open else [sock]
            ready = select.select(reads, [], [], max(0.0, due - time.monotonic()))[0]
            now = time.monotonic()
            if sock in ready:
                packet = sock.recv(256)
                kind, _code, _sum, identifier = struct.unpack_from("!BBHH", packet, 20)
                if (kind, identifier) == (_REPLY, _IDENTIFIER) and len(packet) >= 40:
                    # The last one is that after the end: a silence that has no end yet is waited for.
                    ended = bool(answers) and not is_open
                    answers.append((now, struct.unpack_from("!I", packet, 36)[0]))
                    if len(answers) == 1:
                        is_open = True
                        print("answers", flush=True)
            is_open = is_open and sys.stdin not in ready
            if now >= due:
                # What finds no neighbour, or a queue that nobody reads, is a question without an answer.
                with contextlib.suppress(OSError):
                    sock.sendto(_request(), (address, 0))
                due = max(due + interval, now)
    print("\n".join(f"{host:.6f} {guest}" for host, guest in answers))


def _request() -> bytes:
    total = (_REQUEST << 8) + _IDENTIFIER
    return struct.pack("!BBHHHIII", _REQUEST, 0, ~total & 0xFFFF, _IDENTIFIER, 0, 0, 0, 0)


def _connected(address: str, port: int) -> socket.socket:
    """Connect to a guest whose server may not listen yet."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return socket.create_connection((address, port), timeout=_SECONDS)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def stream(address: str, port: str) -> None:
    """Print how many bytes came back, and whether they are those that were sent."""
    sent, received = hashlib.sha256(), hashlib.sha256()
    there = back = 0
    is_open, due = True, 0.0
    with _connected(address, int(port)) as link:
        link.setblocking(False)
        while is_open or back < there:
            # Some bytes are in flight whenever the guest stops. They are few: guests are emulated.
            sends = is_open and there - back < _IN_FLIGHT and time.monotonic() >= due
            reads: list[t.Any] = [link, sys.stdin] if is_open else [link]
            readable, writable, _none = select.select(reads, [link] if sends else [], [], 0.02 if is_open else _SECONDS)
            if not readable and not is_open:
                break
            if link in readable:
                data = link.recv(65536)
                if not data:
                    break
                received.update(data)
                if not back:
                    print("answers", flush=True)
                back += len(data)
            if link in writable:
                block = os.urandom(_BLOCK)
                count = link.send(block)
                sent.update(block[:count])
                there, due = there + count, time.monotonic() + 0.02
            is_open = is_open and sys.stdin not in readable
    print(back, "intact" if sent.digest() == received.digest() else f"not the {there} that were sent")


if __name__ == "__main__":
    {"clock": clock, "stream": stream}[sys.argv[1]](*sys.argv[2:])
