# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the tests of pauses share: a guest that answers over its network, and what a pause may not leave."""

from __future__ import annotations

import contextlib
import time
import typing as t

from direct_iface import A, B, guest_has, nic

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

FILES = "/var/lib/libvirt/qemu/save /run/linuxvirt.macvtap -name '*.save' -o -name '*.json'"


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
    hv.in_guest("web1", "sh", "-c", "setsid nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &")


BRIDGED = nic(A).replace("type='direct'", "type='bridge'").replace("dev='eth0' mode='bridge'", "bridge='lan7'")
