# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running guests that libvirt_direct_iface pauses to change their NICs: saved, changed in the image, and restored."""

from __future__ import annotations

import re
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, guest_has, nic, ok
from guest_traffic import streaming, watched

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

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


@pytest.fixture
def lan(hv: Hypervisor) -> t.Iterator[Hypervisor]:
    """A bridge lan7, on which up1 and up2 end, and web1 on the bridge itself; the host is 10.77.0.1 there."""
    script = """
ip link add up2 type veth peer name far2
ip link add lan7 type bridge
for link in far1 far2; do ip link set $link master lan7; done
for link in up2 far2 lan7; do ip link set $link up; done
ip address add 10.77.0.1/24 dev lan7
"""
    hv.run("sh", "-c", script)
    bridged = nic(A).replace("type='direct'", "type='bridge'").replace("dev='eth0' mode='bridge'", "bridge='lan7'")
    hv.define_guest("web1", bridged, nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    interface = hv.in_guest("web1", "sh", "-c", f"grep -l {A} /sys/class/net/*/address").split("/")[4]
    hv.in_guest("web1", "ip", "address", "add", "10.77.0.2/24", "dev", interface)
    hv.in_guest("web1", "sh", "-c", "nc -l -p 7 -e cat </dev/null >/dev/null 2>&1 &")
    yield hv
    hv.clear()
    hv.run("sh", "-c", "ip link del lan7; ip link del up2")


def test_a_guest_keeps_its_nics_its_uptime_and_its_connections(lan: Hypervisor, module: Module) -> None:
    before = uptime(lan)
    conversion: Result = {"domain": "web1", "mac": A, "source": "up1", "mode": "bridge", "convert": True}
    steps: list[list[Result]] = [
        [conversion, {"domain": "web1", "mac": B, "source": "up1"}],
        [{"domain": "web1", "mac": A, "source": "up2"}],
    ]
    with streaming(lan.prefix, "10.77.0.2", 7):
        for entries in steps:
            predicted = ok(module(check=True, interfaces=entries, live="pause"))
            with watched(lan.prefix, "10.77.0.2") as noticed:
                done = ok(module(interfaces=entries, live="pause"))
            assert predicted["changes"] == done["changes"]
            assert {change["impact"] for change in done["changes"]} == {"pause"}
            assert (done["restart_required"], done["pending"]) == ([], [])
            # Several NICs are one pause. Other guests and the tests share the machine, which the forecast cannot know.
            (paused,), (forecast,) = done["pauses"], predicted["pauses"]
            assert paused["measured_seconds"] < 2 * forecast["forecast_seconds"] + 1
            assert noticed[0].silence < paused["measured_seconds"] + 1.5
            assert not ok(module(interfaces=entries, live="pause"))["changed"]
    links = lan.run("ip", "-br", "link")
    assert re.search(r"macvtap\d+@up2", links)
    assert re.search(r"macvtap\d+@up1", links)
    assert guest_has(lan, "web1", {A, B})
    assert uptime(lan) >= before
    check_nothing_left(lan)
