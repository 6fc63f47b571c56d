# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running NICs that get by a migration what is stored for them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from guest_between import LAN, MAC, MOVE, NIC, RUNNING, both

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    Guest,
    NicThere,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan


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
        # It had a portgroup, and is to have none.
        (
            replace(NIC, values={**NIC.values, "network": "lan", "portgroup": "trusted"}),
            replace(NIC, values={"network": "lan"}),
            {"network": "lan", "portgroup": None},
        ),
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
