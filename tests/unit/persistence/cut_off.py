# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host with links, and why boot configuration for them is refused."""

from __future__ import annotations

from dataclasses import replace

from unit.persistence.planned import ETC, HOST, LINKS, MAC

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    Address,
    Reach,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS as VLAN_ALIAS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import disruptions, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared, Host

ETH0 = LINKS["eth0"]
VLAN = Link(
    "eth0.20",
    9,
    "vlan",
    "eth0",
    2,
    mac=ETH0.mac,
    mtu=1500,
    up=True,
    alias=VLAN_ALIAS,
    vlan_id=20,
    vlan_protocol="802.1Q",
)
TAP = Link("mt0", 10, "macvtap", "eth0", 2, "bridge", MAC, 1500, up=True, arp=False, accept_ra=False)
THEIRS, OURS = f"{ETC}/50-vlan20.network", f"{ETC}/05-macvtap-eth0.20.network"
ADDRESSED = Reach((Address("192.0.2.1", 24, index=9),))
SHIM = Link("host0", 11, "macvlan", "eth0", 2, "bridge", up=True, alias=OWNER_ALIAS)


def host(*links: Link, networkd: str | None = None, uuid: str = "", extended: str = "") -> Host:
    """Return the host with these links; ``networkd`` and ``uuid`` are by what the managers configure index 9."""
    return replace(
        HOST,
        links={**LINKS, **{one.name: one for one in links}},
        networkd={**HOST.networkd, 9: networkd},
        networkmanager={**HOST.networkmanager, **({9: uuid} if uuid else {})},
        extended=frozenset({extended} - {""}),
    )


def lost(there: Host, reach: Reach, *declared: Declared, purge: bool = False) -> str:
    """Return why this is refused, "" if it is not; if it is allowed, a warning says the same."""
    resolved, planned = planner.resolved_of(declared, there), planner.plan(declared, there, purge=purge)
    found = disruptions.of_plan(resolved, there, planned)
    warnings = reachability.check(found, reach, there.links, allowed=True)
    try:
        reachability.check(found, reach, there.links)
    except MacvtapError as exc:
        text = str(exc)
        assert text.partition(". ")[0].rpartition(": ")[2] in warnings[0]
        assert len(warnings) == 1
        assert text.endswith(", or set allow_host_disconnect: true")
        return text
    assert warnings == ()
    return ""
