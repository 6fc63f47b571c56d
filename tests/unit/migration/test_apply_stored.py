# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running NICs that get by a migration what is stored for them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    Both,
    Desired,
    Guest,
    NicThere,
    Side,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

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


def moved(plan: Plan[Guest]) -> Guest:
    return t.cast("Guest", plan.steps[0].after)


ON_BRIDGE = Iface(MAC, "bridge", values={"model": "virtio"}, origin="br0", xml="<interface/>")


@pytest.mark.parametrize(
    ("live", "stored", "there"),
    [
        (ON_BRIDGE, NIC, {"type": "direct", "source": "lan0", "mode": "bridge"}),
        # On another uplink, which the destination has by the same name.
        (NIC, replace(NIC, values={**NIC.values, "source": "eth9"}), {"source": "eth9"}),
        (replace(NIC, values={**NIC.values, "mode": "vepa"}), NIC, {"source": "lan0", "mode": "bridge"}),
        (NIC, replace(NIC, values={"network": "lan"}), {"network": "lan", "source": None}),
        # Nothing else than a macvtap link is made.
        (NIC, ON_BRIDGE, {"source": "lan0"}),
    ],
)
def test_a_running_nic_gets_what_is_stored_for_it(live: Iface, stored: Iface, there: dict[str, t.Any]) -> None:
    found = both(
        replace(RUNNING, live=(live,), stored=(stored,)), to={"networks": {"lan": LAN}}, live=(live,), stored=(stored,)
    )
    plan = planner.plan(replace(MOVE, apply_stored=True), found)
    guest = moved(plan)
    shown = [{"type": after.type, **after.values} for _before, after in guest.live]
    assert [{name: one.get(name) for name in there} for one in shown] == [there]


def test_a_nic_that_runs_on_its_network_is_not_changed() -> None:
    # libvirt adds the network's uplink to one that runs.
    live, stored = replace(NIC, values={**NIC.values, "network": "lan"}), replace(NIC, values={"network": "lan"})
    found = both(replace(RUNNING, live=(live,)), to={"networks": {"lan": LAN}}, live=(live,), stored=(stored,))
    plan = planner.plan(replace(MOVE, apply_stored=True), found)
    assert moved(plan).live == ()


def test_a_running_nic_stays_as_it_runs_unless_told_otherwise() -> None:
    declared = NicThere("interfaces[0]", MAC, {"source": "lan7", "mode": "private"})
    running = replace(RUNNING, live=(ON_BRIDGE,))
    found = both(running, live=(ON_BRIDGE,))
    assert [change.field for change in planner.plan(MOVE, found).changes] == ["host"]
    plan = planner.plan(replace(MOVE, apply_stored=True, nics=(declared,)), found)
    assert "lan7" in [change.after for change in plan.changes]
