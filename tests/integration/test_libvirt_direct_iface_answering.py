# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running guests that answer gain and lose interfaces by libvirt_direct_iface, also where the run fails."""

from __future__ import annotations

import typing as t

import direct_iface
from direct_iface import A, B, C, Module, guest_has, impacts, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def test_a_guest_that_answers_gains_and_loses_interfaces(hv: Hypervisor, module: Module) -> None:
    hv.define_guest("web1", nic(A), nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    entries = [
        {"domain": "web1", "mac": B, "state": "absent"},
        {"domain": "web1", "mac": C, "source": "up1", "mode": "private"},
    ]
    done = ok(module(interfaces=entries))
    assert (done["pending"], done["restart_required"]) == ([], [])
    assert set(impacts(done).values()) == {"live"}
    assert guest_has(hv, "web1", {A, C})
    link = done["interfaces"][1]["live"]["target"]
    assert "macvtap mode private" in hv.run("ip", "-d", "link", "show", link)
    assert not ok(module(interfaces=entries))["changed"]


def test_a_nic_moves_from_one_running_guest_to_another(hv: Hypervisor, module: Module) -> None:
    for name, nics in (("web1", [nic(A), nic(B)]), ("web2", [])):
        hv.define_guest(name, *nics)
        hv.virsh("start", name)
    assert guest_has(hv, "web1", {A, B})
    assert guest_has(hv, "web2", set())
    entries = [{"domain": "web2", "mac": B}, {"domain": "web1", "mac": B, "state": "absent"}]
    ok(module(interfaces=entries, source="eth0", mode="bridge"))
    assert guest_has(hv, "web1", {A})
    assert guest_has(hv, "web2", {B})


def test_a_failed_run_detaches_what_it_attached(hv: Hypervisor, module: Module) -> None:
    hv.define_guest("web1", nic(A), nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    hv.define(hv.dump("web1"))
    before = hv.dump("web1")
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": B, "state": "absent"},
            {"domain": "web1", "mac": C, "source": "up1"},
            {"domain": "web1", "mac": "52:54:00:00:00:0d", "source": "up1", "model": "nonsense"},
        ],
        mode="bridge",
    )
    assert failed["msg"].startswith("interfaces[2]: cannot add 52:54:00:00:00:0d to the running domain 'web1': ")
    assert "nonsense" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    assert guest_has(hv, "web1", {A, B})
    assert hv.dump("web1") == before
