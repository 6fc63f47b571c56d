# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest that was paused: what its link receives, and its clock, by a guest agent that answers or does not."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import guest_agent
from direct_iface import A, Module, Result, guest_has, nic, ok
from interrupted import move
from support import until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def receives(hv: Hypervisor) -> tuple[set[str], bool]:
    """Return the groups of the guest's link, and whether it receives everything."""
    name = hv.dump("web1", live=True).partition("<target dev='")[2].partition("'")[0]
    groups = re.findall(r"link +(\S+)", hv.run("ip", "maddr", "show", "dev", name))
    return set(groups), "PROMISC" in hv.run("ip", "link", "show", name)


def test_a_trusted_guest_has_its_filters_and_its_clock_after_a_pause(hv: Hypervisor, module: Module) -> None:
    trusted = nic(A).replace("type='direct'", "type='direct' trustGuestRxFilters='yes'", 1)
    hv.define_guest("web1", trusted, guest_agent.CHANNEL)
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A})
    hv.in_guest("web1", "sh", "-c", "ip -6 address add fd00::7:5/64 dev eth0; ip link set eth0 promisc on")
    group = "33:33:ff:07:00:05"
    assert until(lambda: group in receives(hv)[0] and receives(hv)[1])

    def paused(source: str) -> Result:
        before = receives(hv)
        (pause,) = ok(module(**move(source)))["pauses"]
        assert until(lambda: receives(hv) == before)
        return t.cast("Result", pause)

    assert paused("up1")["clock_set"] is False
    hv.in_guest("web1", "ip", "link", "set", "eth0", "promisc", "off")
    # libvirt 11.3 lets the link receive everything from then on, without a pause too.
    assert until(lambda: hv.release >= 11 or not receives(hv)[1])
    guest_agent.run(hv, "web1", {"guest-set-time": {}})
    assert paused("eth0")["clock_set"] is True
    # Nothing waits for one that never answers.
    guest_agent.end(hv, "web1")
    guest_agent.run(hv, "web1", {})
    assert paused("up1")["clock_set"] is False
