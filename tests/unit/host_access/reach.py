# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links and addresses by which a host is reached, and what a link would cut off."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Address, Connection, Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS

KERNEL, RA = 2, 9
ETH0 = Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True)
VLAN = Link(
    "eth0.20", 3, "vlan", "eth0", 2, None, "02:00:00:00:00:02", 1500, up=True, alias=OWNER_ALIAS,
    vlan_id=20, vlan_protocol="802.1Q",
)  # fmt: skip
ON_IT = Link("host0", 4, "macvlan", "eth0.20", 3, "bridge", "02:00:00:00:00:04", 1500, up=True)
TAP = Link(
    "mt0", 5, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:05", 1500, up=True, arp=True, accept_ra=True,
    addrgenmode="eui64",
)  # fmt: skip
BR0 = Link("br0", 6, "bridge", mtu=1500, up=True)
OTHER = Link("eth1", 7, mtu=1500, up=True)
ALL = {link.name: link for link in (ETH0, VLAN, ON_IT, TAP, BR0, OTHER)}
PEER = Connection("192.0.2.1", "192.0.2.9")
# What takes all of a link's frames, or the link itself.
WHOLE = [loss for loss in Loss if loss not in (Loss.SOURCE, Loss.VLAN, Loss.RA)]


def refused(disruption: Disruption, reach: Reach, *changed: Link) -> str:
    links = {**ALL, **{link.name: link for link in changed}}
    with pytest.raises(MacvtapError) as caught:
        reachability.check([disruption], reach, links)
    assert str(caught.value).endswith(", or set allow_host_disconnect: true")
    # And told, when it is done all the same.
    (warning,) = reachability.check([disruption], reach, links, allowed=True)
    assert str(caught.value).partition(". ")[0].rpartition(": ")[2] in warning
    return str(caught.value)


def passes(disruption: Disruption, reach: Reach, *changed: Link) -> None:
    assert reachability.check([disruption], reach, {**ALL, **{link.name: link for link in changed}}) == ()


def with_address(index: int, address: str = "192.0.2.1", **how: t.Any) -> Reach:
    return Reach((Address(address, 64 if ":" in address else 24, index=index, **how),))


def cut_off(wanted: DesiredLink, reach: Reach, **links: Link) -> str:
    present = {**{link.name: link for link in (ETH0, OTHER)}, **links}
    try:
        reachability.checked(planner.plan([wanted], present), reach, present, allowed=False)
    except MacvtapError as exc:
        return str(exc)
    return ""
