# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running NICs that get by a migration what is stored for them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from guest_between import LAN, MAC, MOVE, RUNNING, both

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    Both,
    Guest,
    NicThere,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Portgroup
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan


def moved(plan: Plan[Guest]) -> Guest:
    return t.cast("Guest", plan.steps[0].after)


def read(kind: str, source: str) -> Iface:
    """Return a NIC as it is in libvirt's XML."""
    element = f"""<interface type='{kind}'>
      <mac address='{MAC}'/>
      <source {source}/>
      <model type='virtio'/>
    </interface>"""
    (iface,) = xml.interfaces(f"<domain><name>web1</name><devices>\n    {element}\n  </devices></domain>")
    return iface


ON_BRIDGE = read("bridge", "bridge='br0'")
ON_UPLINK = read("direct", "dev='eth0' mode='bridge'")
ON_NETWORK = read("network", "network='lan'")


def found(live: Iface, stored: Iface, *, here: Network = LAN, there: Network = LAN) -> Both:
    both_hosts = both(
        replace(RUNNING, live=(live,), stored=(stored,)),
        to={"networks": {"lan": there}},
        live=(live,),
        stored=(stored,),
    )
    return replace(both_hosts, source=replace(both_hosts.source, networks={"lan": here}))


@pytest.mark.parametrize(
    ("live", "stored", "there"),
    [
        (ON_BRIDGE, ON_UPLINK, {"type": "direct", "source": "lan0", "mode": "bridge"}),
        # On another uplink, which the destination has by the same name.
        (ON_UPLINK, read("direct", "dev='eth9' mode='bridge'"), {"source": "eth9"}),
        (read("direct", "dev='eth0' mode='vepa'"), ON_UPLINK, {"source": "lan0", "mode": "bridge"}),
        (ON_UPLINK, ON_NETWORK, {"network": "lan", "source": None}),
        (ON_BRIDGE, ON_NETWORK, {"type": "direct", "network": "lan"}),
        (read("network", "network='nat'"), ON_NETWORK, {"type": "direct", "network": "lan"}),
        (ON_UPLINK, read("network", "network='lan' portgroup='web'"), {"network": "lan", "portgroup": "web"}),
        # It had a portgroup, and is to have none.
        (
            read("direct", "network='lan' portgroup='trusted' dev='eth0' mode='bridge'"),
            ON_NETWORK,
            {"network": "lan", "portgroup": None},
        ),
        # Nothing else than a macvtap link is made.
        (ON_UPLINK, ON_BRIDGE, {"source": "lan0"}),
    ],
)
def test_a_running_nic_gets_what_is_stored_for_it(live: Iface, stored: Iface, there: dict[str, t.Any]) -> None:
    lan = replace(LAN, live=None, portgroups=(Portgroup("web"),))
    guest = moved(planner.plan(replace(MOVE, apply_stored=True), found(live, stored, there=lan)))
    shown = [{"type": after.type, **after.values} for _before, after in guest.live]
    assert [{name: one.get(name) for name in there} for one in shown] == [there]


@pytest.mark.parametrize("runs_as", ["network='lan'", "network='lan' dev='eth0' mode='bridge'"])
def test_a_nic_that_runs_on_its_network_is_not_changed(runs_as: str) -> None:
    # libvirt adds the network's uplink to one that runs.
    live = read("direct", runs_as)
    assert moved(planner.plan(replace(MOVE, apply_stored=True), found(live, ON_NETWORK))).live == ()


NAT = Network(name="lan", forward="nat", active=True)


def test_a_network_that_is_not_a_direct_one_there_is_told_of() -> None:
    with pytest.raises(MacvtapError) as raised:
        planner.plan(replace(MOVE, apply_stored=True), found(ON_UPLINK, ON_NETWORK, there=NAT))
    assert str(raised.value) == (
        f"apply_stored: {MAC} is stored on the network 'lan', which is a direct one on hv1 and not on hv2. Set "
        "interfaces for it, or leave this out"
    )
    declared = (NicThere("interfaces[0]", MAC, {"source": "lan0"}),)
    given = replace(MOVE, apply_stored=True, nics=declared)
    (after,) = [one for _before, one in moved(planner.plan(given, found(ON_UPLINK, ON_NETWORK, there=NAT))).live]
    assert after.get("source") == "lan0"
    # It is to be on that network, and none of macvtap's.
    plan = planner.plan(replace(MOVE, apply_stored=True), found(ON_UPLINK, ON_NETWORK, here=NAT, there=NAT))
    assert [after.get("network") for _before, after in moved(plan).live] == [None]


def test_a_running_nic_stays_as_it_runs_unless_told_otherwise() -> None:
    declared = NicThere("interfaces[0]", MAC, {"source": "lan7", "mode": "private"})
    running = replace(RUNNING, live=(ON_BRIDGE,))
    on_bridge = both(running, live=(ON_BRIDGE,))
    assert [change.field for change in planner.plan(MOVE, on_bridge).changes] == ["host"]
    plan = planner.plan(replace(MOVE, apply_stored=True, nics=(declared,)), on_bridge)
    assert "lan7" in [change.after for change in plan.changes]
