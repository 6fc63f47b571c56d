# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of outstanding requests look at: the keeper, its files, and the guests' NICs."""

from __future__ import annotations

import re
import typing as t

from direct_iface import Result, ok
from support import run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor


STATE = "/run/linuxvirt.macvtap"


def files(hv: Hypervisor) -> str:
    return hv.run("sh", "-c", f"ls {STATE}/*.json 2>/dev/null || true").strip()


def keepers(hv: Hypervisor) -> list[int]:
    """Return the processes of the keeper, in the hypervisor's own numbers."""
    found = hv.run("sh", "-c", f"grep -lz ^{STATE}/keeper.pyz /proc/[0-9]*/cmdline || true")
    return [int(path.split("/")[2]) for path in found.split()]


def settled(hv: Hypervisor) -> bool:
    return until(lambda: not files(hv) and not keepers(hv))


def macs(hv: Hypervisor, *, live: bool) -> set[str]:
    return set(re.findall(r"<mac address='(.*?)'/>", hv.dump("web1", live=live)))


def on(hv: Hypervisor, mac: str, source: str) -> bool:
    """Whether the running guest has this NIC on ``source``; it may have it not at all at that moment."""
    interfaces = re.findall(r"<interface type.*?</interface>", hv.dump("web1", live=True), re.S)
    return any(mac in one and f"dev='{source}'" in one for one in interfaces)


def pending(hv: Hypervisor) -> list[Result]:
    found: list[Result] = ok(run_module("libvirt_direct_iface_info", {}, prefix=hv.prefix))["pending"]
    return found
