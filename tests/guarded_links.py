# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests' links with stored guards on a hypervisor, and the program that loads them."""

from __future__ import annotations

import json
import typing as t

import direct_iface
import guest_frames
from guest_frames import FOREIGN, MAC, NEIGHBOUR
from support import PYTHON, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

BESIDE = "52:54:00:00:0c:03"


class GuardedLinks:
    """A hypervisor with a guest's link, guest0, another's on another uplink, guest1, and a stored guard for each."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def run(self, **params: t.Any) -> dict[str, t.Any]:
        return direct_iface.ok(run_module("macvtap_guard", params, prefix=self.hv.prefix))

    def links(self) -> dict[str, list[str]]:
        found = direct_iface.ok(run_module("macvtap_guard_info", {}, prefix=self.hv.prefix))["guards"]
        return {one["mac"]: one["links"] for one in found}

    def program(self, *words: str) -> str:
        """Run what the unit (load) and udev (link NAME) run, and return what it has to say."""
        return self.hv.run("sh", "-c", f"{PYTHON} /etc/linuxvirt-macvtap/guard {' '.join(words)} 2>&1")

    def flush(self) -> None:
        self.hv.nft("flush ruleset")

    def ip(self, *words: str) -> None:
        self.hv.run("ip", "link", *words)

    def add(self, name: str, mac: str, *more: str, uplink: str = "up1") -> None:
        self.ip("add", name, *more, "link", uplink, "address", mac, "type", "macvtap", "mode", "bridge")
        self.ip("set", name, "addrgenmode", "none", "up")

    def index(self, name: str) -> str:
        return str(json.loads(self.hv.run("ip", "-j", "link", "show", name))[0]["ifindex"])

    def passes(self, link: str, *names: str, own: str = MAC) -> list[str]:
        """Let the guest on a link send these frames, and return the names of those that arrive elsewhere."""
        done = self.hv.run("env", f"GUEST_MAC={own}", PYTHON, guest_frames.__file__, link, "beside0", "far1", *names)
        return t.cast("list[str]", json.loads(done))


def made(hv: Hypervisor) -> t.Iterator[GuardedLinks]:
    for link in ("up1", "far1"):
        hv.run("sh", "-c", f"ip link set {link} down; ip link set {link} addrgenmode none; ip link set {link} up")
    guest = GuardedLinks(hv)
    guest.add("guest0", MAC)
    guest.add("guest1", NEIGHBOUR, uplink="eth0")
    guest.add("beside0", BESIDE)
    guest.run(guards=[{"mac": MAC}, {"mac": NEIGHBOUR}])
    yield guest
    guest.run(guards=[{"mac": one, "state": "absent"} for one in (MAC, NEIGHBOUR, FOREIGN)])
    names = "guest0 guest1 guest2 beside0 renamed0 renamed1"
    hv.run("sh", "-c", f"for one in {names}; do ip link del $one; done 2>/dev/null; true")
