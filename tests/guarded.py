# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest's link with a guard, in a namespace where what it sends is seen."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t

import guest_checksums
import guest_frames
import namespaces
from guest_frames import IP4, IP6, MAC, NEIGHBOUR

ADDRESSES = [IP4, IP6]


class Guarded:
    """A namespace with a guest's link, macvtap0, and a neighbour's on the same uplink."""

    def __init__(self, netns: namespaces.Namespace) -> None:
        self.netns = netns

    def run(self, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        given = {
            "persistent": False,
            **({} if {"guards", "mac", "link"} & {*params} else {"link": "macvtap0"}),
            **params,
        }
        result = self.netns.run(given, module="macvtap_guard", check=check, diff=True)
        assert not result.get("failed"), result
        return result

    def info(self) -> dict[str, t.Any]:
        (found,) = self.infos(MAC)
        return found

    def infos(self, *macs: str) -> list[dict[str, t.Any]]:
        found = self.netns.run({"macs": [*macs]}, module="macvtap_guard_info")["guards"]
        return t.cast("list[dict[str, t.Any]]", found)

    def counted(self) -> dict[str, int]:
        return {kind: one["packets"] for kind, one in self.info()["counters"].items() if one["packets"]}

    def passes(self, *names: str) -> list[str]:
        """Let the guest send these frames, or all, and return the names of those that arrive elsewhere."""
        command = [*self.netns.prefix, sys.executable, guest_frames.__file__, "macvtap0", "macvtap1", "far0", *names]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return t.cast("list[str]", json.loads(done.stdout))

    def arrived(self, *names: str) -> dict[str, list[bytes]]:
        """Let the guest send these frames of guest_checksums.py, and return what arrives elsewhere."""
        neighbour = "macvtap1" if "macvtap1" in self.netns.names() else ""
        program = [sys.executable, guest_checksums.__file__]
        command = [*self.netns.prefix, *program, "send", "macvtap0", neighbour, "far0", *names]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return {name: [bytes.fromhex(one) for one in found] for name, found in json.loads(done.stdout).items()}


def add_link(netns: namespaces.Namespace, name: str, mac: str, mode: str = "bridge") -> None:
    netns.ip("link", "add", name, "link", "eth0", "address", mac, "type", "macvtap", "mode", mode)
    # In the mode passthru it has the uplink's first.
    netns.ip("link", "set", name, "address", mac)
    set_up(netns, name)


def set_up(netns: namespaces.Namespace, name: str) -> None:
    """Set a link up on which the host itself sends nothing: it has no address from the moment when it is up."""
    netns.ip("link", "set", name, "addrgenmode", "none")
    netns.ip("link", "set", name, "up")


@contextlib.contextmanager
def made() -> t.Iterator[namespaces.Namespace]:
    """Make a namespace whose uplink eth0 is the end of a cable, with far0 at the other end, and nobody else on it."""
    with namespaces.made(f"macvtap-guard-{os.getpid()}") as netns:
        for end in ("eth0", "far0"):
            netns.ip("link", "set", end, "down")
            set_up(netns, end)
        yield netns


@contextlib.contextmanager
def links(netns: namespaces.Namespace, mode: str = "bridge") -> t.Iterator[Guarded]:
    """Make the links, and remove them and their guards afterwards. Only in the mode bridge there is a neighbour."""
    for name, mac in (("macvtap0", MAC), ("macvtap1", NEIGHBOUR))[: 2 if mode == "bridge" else 1]:
        add_link(netns, name, mac, mode)
    guarded = Guarded(netns)
    try:
        yield guarded
    finally:
        guarded.run(guards=[{"mac": one, "state": "absent"} for one in (MAC, NEIGHBOUR)])
        netns.clear()
