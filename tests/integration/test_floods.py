# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests and LANs that send frames faster than they are read: whatever listens to them ends in its time all the same.

In a child process with a network namespace of its own, where other processes send.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
import typing as t

import pytest
from support import ROOT_ONLY

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import frames, probe
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.listener import Listener
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import MOST_ADDRESSES, Nic, Questions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import arp
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

pytestmark = ROOT_ONLY

SENDERS, LATE = 2, 20
PREFIX = struct.Struct("!BBBBIII16s")


def mac_of(number: int) -> bytes:
    return bytes.fromhex("525400000000")[:5] + bytes([number])


def claim(mac: bytes, address: int) -> bytes:
    """Return an ARP request by which this machine says that it has an address of 10.0.0.0/8."""
    arp_of = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, struct.pack("!I", address), bytes(6), bytes(4))
    return b"\xff" * 6 + mac + b"\x08\x06" + arp_of.ljust(46, b"\0")


def advertisement(mac: bytes, number: int) -> bytes:
    """Return what a router sends that advertises another network each time."""
    prefix = PREFIX.pack(3, 4, 64, 0xC0, 600, 600, 0, struct.pack("!QQ", 0x20010DB800000000 + number, 0))
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0) + prefix
    source, all_nodes = bytes.fromhex("fe80" + "00" * 13 + "01"), bytes.fromhex("ff02" + "00" * 13 + "01")
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    return b"\x33\x33\0\0\0\1" + mac + b"\x86\xdd" + head + source + all_nodes + body


def claims(number: int, base: int = 0x0A000000) -> list[bytes]:
    return [claim(mac_of(number), base + n) for n in range(4096)]


@contextlib.contextmanager
def flooding(link: str, sent: t.Sequence[bytes]) -> t.Iterator[None]:
    """Send frames over and over on a link, from several processes."""
    senders = []
    for _number in range(SENDERS):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                sock.bind((link, 0))
                # Not for ever, if the test is killed.
                end = time.monotonic() + 2 * LATE
                while time.monotonic() < end:
                    for frame in sent:
                        with contextlib.suppress(OSError):
                            sock.send(frame)
            os._exit(0)
        senders.append(pid)
    # So that its queue is full when it begins.
    time.sleep(0.3)
    try:
        yield
    finally:
        for pid in senders:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def in_namespace(work: t.Callable[[], dict[str, t.Any]], links: int) -> dict[str, t.Any]:
    """Return what ``work`` does in a namespace with so many links ``v0``, and the ends ``w0`` behind them."""

    def done() -> dict[str, t.Any]:
        _child.unshare(_child.CLONE_NEWNET)
        for number in range(links):
            ends = [f"v{number}", "type", "veth", "peer", "name", f"w{number}"]
            for words in (["add", *ends], ["set", f"v{number}", "up"], ["set", f"w{number}", "up"]):
                subprocess.run(["ip", "link", *words], check=True)
        return work()

    result = _child.run(done)
    assert result is not None
    return t.cast("dict[str, t.Any]", result)


def timed(work: t.Callable[[], dict[str, t.Any] | None]) -> dict[str, t.Any]:
    """Return what ``work`` does and how many seconds that took. After LATE seconds it is ended."""

    class LateError(Exception):
        pass

    def raise_late(*_signal: t.Any) -> None:
        raise LateError

    signal.signal(signal.SIGALRM, raise_late)
    signal.alarm(LATE)
    began = time.monotonic()
    try:
        return {**(work() or {}), "took": time.monotonic() - began}
    except LateError:
        return {"took": LATE}
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def slow(module: t.Any, function: str) -> t.Iterator[None]:
    """Let the processing of a frame take as long as on a busy host, so that there is always another one."""
    real = getattr(module, function)

    def slowly(*args: t.Any) -> t.Any:
        time.sleep(0.001)
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, slowly)
        yield


def nics(count: int) -> list[Nic]:
    return [
        Nic(mac, frozenset({mac}), link=f"v{number}", link_index=socket.if_nametoindex(f"v{number}"), uplink="eth0")
        for number, mac in ((number, mac_of(number).hex(":")) for number in range(count))
    ]


def listened(count: int) -> dict[str, t.Any]:
    listener = Listener()
    listener.add(nics(count))
    with contextlib.ExitStack() as stack:
        # All but the last one flood, the first ones as fast as they can.
        for number in range(count - 1):
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                sock.bind((f"v{number}", 0))
                for frame in claims(number)[:MOST_ADDRESSES]:
                    sock.send(frame)
                    listener.listen(0)
        stack.enter_context(flooding("v0", claims(0)))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((f"v{count - 1}", 0))
            sock.send(claim(mac_of(count - 1), 0xC0000207))
        stack.enter_context(slow(frames, "read"))
        result = timed(lambda: listener.listen(1))
    found: dict[str, list[str]] = {}
    for one in listener.sightings():
        found.setdefault(one.mac, []).append(one.address)
    listener.close()
    return {**result, "most": max(map(len, found.values())), "last": found.get(mac_of(count - 1).hex(":"))}


@pytest.mark.parametrize("count", [2, 32])
def test_a_guest_that_claims_addresses_without_end_does_not_hold_up_listening(count: int) -> None:
    result = in_namespace(lambda: listened(count), count)
    assert result["took"] < 3
    assert result["most"] == MOST_ADDRESSES
    # The others have their turn.
    assert result["last"] == ["192.0.2.7"]


@pytest.mark.parametrize("kind", ["claims", "networks"])
def test_a_lan_without_silence_does_not_hold_up_questions(kind: str) -> None:
    mac = mac_of(0)
    sent = claims(0) if kind == "claims" else [advertisement(mac, n) for n in range(4096)]

    def asked() -> dict[str, t.Any]:
        uplink = Link(name="v0", index=socket.if_nametoindex("v0"), up=True, carrier=True)
        with flooding("w0", sent):
            listener = Listener()
            asking = {"v0": Questions(("10.0.0.7",))}

            def ask() -> dict[str, t.Any]:
                (answers,) = probe.ask([uplink], asking, {"v0": {mac.hex(":")}}, rate=1000, listener=listener).values()
                return {"seen": [one.address for one in answers.sightings], "failure": answers.failure}

            return timed(ask)

    result = in_namespace(asked, 1)
    assert result["took"] < 4
    assert result["failure"] == ""
    assert len(result["seen"]) <= MOST_ADDRESSES + 1
    assert kind == "networks" or "10.0.0.7" in result["seen"]


def test_a_lan_without_silence_does_not_hold_up_the_check_of_an_address() -> None:
    def checked() -> dict[str, t.Any]:
        with flooding("w0", claims(0)), slow(arp, "claim"):
            return timed(lambda: {"holder": arp.holder("v0", "02:00:00:00:00:01", ["192.0.2.9"])})

    result = in_namespace(checked, 1)
    assert result["took"] < 3
    assert result["holder"] is None
