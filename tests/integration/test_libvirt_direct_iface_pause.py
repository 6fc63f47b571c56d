# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running guests that libvirt_direct_iface pauses to change their NICs: saved, changed in the image, and restored."""

from __future__ import annotations

import re
import time
import typing as t

import direct_iface
from direct_iface import A, B, Module, Result, guest_has, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

FILES = "/var/lib/libvirt/qemu/save /run/linuxvirt.macvtap -name '*.save' -o -name '*.json'"
MOVED: Result = {"domain": "web1", "mac": A, "source": "up1", "live": "pause"}


def uptime(hv: Hypervisor) -> float:
    return float(hv.in_guest("web1", "cat", "/proc/uptime").split()[0])


def check_nothing_left(hv: Hypervisor) -> None:
    """Check that no image and no record is left, and no mark in the guest."""
    deadline = time.monotonic() + 20
    while hv.run("sh", "-c", f"find {FILES} 2>/dev/null; true").strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "linuxvirt.macvtap:pause" not in hv.dump("web1", live=True)


def test_a_guest_keeps_its_nic_and_its_uptime(hv: Hypervisor, module: Module) -> None:
    hv.run("ip", "link", "add", "br7", "type", "bridge")
    bridged = nic(A).replace("type='direct'", "type='bridge'").replace("dev='eth0' mode='bridge'", "bridge='br7'")
    hv.define_guest("web1", bridged, nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    before = uptime(hv)
    entries: list[Result] = [
        {"domain": "web1", "mac": A, "source": "eth0", "mode": "bridge", "convert": True},
        {"domain": "web1", "mac": B, "source": "up1"},
    ]
    predicted = ok(module(check=True, interfaces=entries, live="pause"))
    (forecast,) = predicted["pauses"]
    assert forecast["forecast_seconds"] > 0
    done = ok(module(interfaces=entries, live="pause"))
    (paused,) = done["pauses"]
    print(predicted["pauses"], paused)
    assert {change["impact"] for change in done["changes"]} == {"pause"}
    assert predicted["changes"] == done["changes"]
    assert done["restart_required"] == []
    links = hv.run("ip", "-br", "link")
    assert re.search(r"macvtap\d+@eth0", links)
    assert re.search(r"macvtap\d+@up1", links)
    assert guest_has(hv, "web1", {A, B})
    assert uptime(hv) >= before
    assert not ok(module(interfaces=entries, live="pause"))["changed"]
    check_nothing_left(hv)
    hv.run("ip", "link", "del", "br7")
