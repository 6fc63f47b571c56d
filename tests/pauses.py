# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the tests of pauses share: a guest that answers over its network, and how long it is silent."""

from __future__ import annotations

import contextlib
import subprocess
import time
import typing as t

from direct_iface import A, B, guest_has, nic

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

FILES = "/var/lib/libvirt/qemu/save /run/linuxvirt.macvtap -name '*.save' -o -name '*.json'"
# Sends numbers to the guest's echo service over one connection until its input ends, and writes what came back.
ECHO = """
import select, socket, sys
link = socket.create_connection(("10.77.0.2", 7), timeout=30)
lines = link.makefile("rw")
number = 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    number += 1
    lines.write(f"{number}\\n")
    lines.flush()
    assert lines.readline() == f"{number}\\n"
print(number)
"""

# Sends echo requests to the guest until its input ends, and writes for how long at most no reply came.
PING = """
import select, socket, struct, sys, time
link = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
request = struct.pack("!BBHHH", 8, 0, 0xffff - 0x0800 - 7, 7, 0)
last, longest, input = None, 0.0, sys.stdin
while True:
    link.sendto(request, ("10.77.0.2", 0))
    ready = select.select([link, input], [], [], 0.02)[0]
    now = time.monotonic()
    if link in ready and link.recv(100)[20] == 0:
        if last is None:
            print(flush=True)
        longest, last = max(longest, now - (last or now)), now
        time.sleep(0.01)
    if input in ready:
        break
print(longest)
"""


def uptime(hv: Hypervisor) -> float:
    return float(hv.in_guest("web1", "cat", "/proc/uptime").split()[0])


def check_nothing_left(hv: Hypervisor) -> None:
    """Check that no image and no record is left, and no mark in the guest."""
    deadline = time.monotonic() + 20
    while hv.run("sh", "-c", f"find {FILES} 2>/dev/null; true").strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "linuxvirt.macvtap:pause" not in hv.dump("web1", live=True)


@contextlib.contextmanager
def uplinks(hv: Hypervisor) -> t.Iterator[None]:
    """A bridge lan7, on which up1 and up2 end; the host is 10.77.0.1 there."""
    script = """
ip link add up2 type veth peer name far2
ip link add lan7 type bridge
for link in far1 far2; do ip link set $link master lan7; done
for link in up2 far2 lan7; do ip link set $link up; done
ip address add 10.77.0.1/24 dev lan7
"""
    hv.run("sh", "-c", script)
    try:
        yield
    finally:
        hv.clear()
        hv.run("sh", "-c", "ip link del lan7; ip link del up2")


def start(hv: Hypervisor, *nics: str) -> None:
    """Start the guest web1, which is 10.77.0.2 on its NIC A, and echoes there."""
    hv.define_guest("web1", *nics)
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    interface = hv.in_guest("web1", "sh", "-c", f"grep -l {A} /sys/class/net/*/address").split("/")[4]
    hv.in_guest("web1", "ip", "address", "add", "10.77.0.2/24", "dev", interface)
    hv.in_guest("web1", "sh", "-c", "nc -l -p 7 -e cat </dev/null >/dev/null 2>&1 &")


BRIDGED = nic(A).replace("type='direct'", "type='bridge'").replace("dev='eth0' mode='bridge'", "bridge='lan7'")


@contextlib.contextmanager
def pinging(hv: Hypervisor) -> t.Iterator[list[float]]:
    """Ping the guest meanwhile; the list then has the longest silence in seconds."""
    found: list[float] = []
    command = [*hv.prefix, "/usr/bin/python3", "-c", PING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        try:
            yield found
        finally:
            found.append(float(process.communicate("end", timeout=30)[0]))
