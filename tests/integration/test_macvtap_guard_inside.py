# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hostile guest with an operating system: what it sends by raw sockets, and what of it arrives."""

from __future__ import annotations

import collections
import json
import pathlib
import re
import subprocess
import typing as t

import direct_iface
import guest_sender
import guest_spoofs
from direct_iface import nic, ok
from guest_frames import IP4, IP6, MAC
from guest_spoofs import ALL
from support import PYTHON, ROOT, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
_SOURCE = pathlib.Path(guest_sender.__file__).read_text(encoding="utf-8")
# From here on it sends nothing of its own.
_QUIET = """
for one in /run/nic/*; do kill $(cat $one); done
echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
ip address flush dev eth0
ip link set eth0 mtu 9000
"""
_SEND = 'python3 -I -S -c "$0" eth0 </run/frames'


class Guest:
    def __init__(self, hv: Hypervisor) -> None:
        self._hv = hv
        hv.in_guest("web1", "sh", "-c", _QUIET)
        # Not at once: a line for the guest has its limits.
        text = guest_spoofs.lines().splitlines(keepends=True)
        for start in range(0, len(text), 50):
            hv.in_guest("web1", "sh", "-c", 'printf %s "$0" >>/run/frames', "".join(text[start : start + 50]))

    def passes(self) -> dict[str, int]:
        """Let the guest send all frames, and return the sizes of those that arrive, by name."""
        argv = [*self._hv.prefix, PYTHON, guest_spoofs.__file__, "far1"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
            stdout = t.cast("t.IO[str]", listener.stdout)
            assert stdout.readline() == "listens\n"
            # Its own kernel refuses none.
            assert self._hv.in_guest("web1", "sh", "-c", _SEND, _SOURCE).split() == []
            sizes = json.loads(stdout.readline())
        names = list(ALL)
        return {names[int(number)]: size for number, size in sizes.items()}


def table() -> dict[str, tuple[int, int]]:
    """Return the table of the guide: how many frames of each kind arrive without a guard and with it."""
    page = (ROOT / "docs" / "guard.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| (\d+) \| (\d+) \|$", page, re.M)
    return {kind.strip("`"): (int(without), int(guarded)) for kind, without, guarded in rows}


def test_what_a_guest_sends_from_inside_and_what_arrives(hv: Hypervisor) -> None:
    for link in ("up1", "far1"):
        hv.run("sh", "-c", f"ip link set {link} down; ip link set {link} mtu 9000 addrgenmode none up")
    hv.define_guest("web1", nic(MAC, source="up1"))
    hv.virsh("start", "web1")
    guest = Guest(hv)
    without = guest.passes()
    assert [*without] == [*ALL]
    assert without["own-jumbo"] == 42 + 8900
    # Not in pieces.
    assert without["gso-source"] > 16000
    assert without["gso6-source"] > 16000
    ok(run_module("macvtap_guard", {"domain": "web1", "mac": MAC, "addresses": [IP4, IP6]}, prefix=hv.prefix))
    assert [*guest.passes()] == [name for name, one in ALL.items() if not one.kind]
    ok(run_module("macvtap_guard", {"mac": MAC, "state": "absent"}, prefix=hv.prefix))
    kinds = collections.Counter(one.kind or "none" for one in ALL.values())
    assert table() == {kind: (count, count if kind == "none" else 0) for kind, count in kinds.items()}
