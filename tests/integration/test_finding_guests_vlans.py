# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests in VLANs that have the same addresses, which move and get others."""

from __future__ import annotations

import os
import typing as t

import direct_iface
import found_vlans
import libvirtd_fixture
import pytest
from direct_iface import ok
from found_vlans import Placed
from support import run_module

if t.TYPE_CHECKING:
    from found_vlans import Vlan
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

Setting = t.Tuple["list[Hypervisor]", "dict[int, Vlan]"]


@pytest.fixture(scope="module")
def setting() -> t.Iterator[Setting]:
    with (
        libvirtd_fixture.hypervisors(f"vlans{os.getpid()}", ("hv1", "hv2")) as hypervisors,
        found_vlans.vlans(hypervisors) as made,
    ):
        yield hypervisors, made


def addresses(hv: Hypervisor, **params: t.Any) -> dict[str, dict[str, str]]:
    """Return the state of each IPv4 address, by guest."""
    result = ok(run_module("macvtap_guest_addresses_info", {"agent": False, **params}, prefix=hv.prefix))
    return {
        guest["name"]: {
            one["address"]: one["state"]
            for nic in guest["interfaces"]
            for one in nic["addresses"]
            if one["family"] == "ipv4"
        }
        for guest in result["guests"]
    }


def test_two_guests_of_one_address_in_two_vlans_one_of_which_moves_and_is_renumbered(setting: Setting) -> None:
    (hv1, hv2), made = setting
    first, second = Placed(1, hv1, 10), Placed(2, hv1, 20)
    for one in (first, second):
        made[one.vlan].reserve({one.mac: "192.0.2.77"})
    found_vlans.define((first, second))
    for one in (first, second):
        hv1.virsh("start", one.name)
    waits = {"wait_for": {"family": "ipv4", "timeout": 180}}
    both = {"vm1": {"192.0.2.77": "claimed"}, "vm2": {"192.0.2.77": "claimed"}}
    assert addresses(hv1, **waits) == both

    second = found_vlans.move(second, hv2)
    asks = {"probe": True, "probe_networks": ["192.0.2.70/31", "192.0.2.76/30"]}
    confirmed = {"192.0.2.77": "confirmed"}
    assert addresses(hv1, **asks) == {"vm1": confirmed}
    assert addresses(hv2, **asks) == {"vm2": confirmed}

    hv2.in_guest(second.name, "ip", "address", "flush", "dev", "eth0")
    hv2.in_guest(second.name, "ip", "address", "add", "192.0.2.71/24", "dev", "eth0")
    assert addresses(hv2, **asks) == {"vm2": {"192.0.2.71": "confirmed"}}
