# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest and two hosts, for the tests of what moves it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Both, Desired, Side
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network

MAC = "52:54:00:00:01:01"
NIC = Iface(MAC, values={"source": "eth0", "mode": "bridge", "trust_guest_rx_filters": "no"}, xml="<interface/>")
GIB = 1 << 30
LAN = Network("bridge", ("eth0",), name="lan", active=True, live=Definition("bridge", ("eth0",)))
WEB1 = Domain("web1", "uuid-1", stored=(NIC,))
RUNNING = replace(WEB1, running=True, live=(NIC,), instance="7")
MOVE = Desired("web1", uplinks={"eth0": "lan0"})


def both(
    here: Domain | None, there: Domain | None = None, *, to: dict[str, t.Any] | None = None, **more: t.Any
) -> Both:
    known = tuple(one.name for one in (here, there) if one is not None)
    nics = (NIC,) if here is not None else ()
    return Both(
        Side("qemu:///system", "hv1", "host-1", 9_000_000, 7_002_000, here, known=known),
        Side(
            **{
                "uri": "qemu+ssh://hv2/system",
                "name": "hv2",
                "uuid": "host-2",
                "version": 9_000_000,
                "emulator": 7_002_000,
                "domain": there,
                "macs": {},
                "networks": {},
                "free": 4 * GIB,
                **(to or {}),
            }
        ),
        **{"live": nics if here is not None and here.running else (), "stored": nics, "memory": GIB, **more},
    )
