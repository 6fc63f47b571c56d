# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NICs on direct networks when something fails: the guest, the run, its process, or another link is in the way."""

from __future__ import annotations

import os
import re
import signal
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, domain, guest_has, ok, run_beside
from direct_network import info, nic_on, source
from support import running_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


@pytest.fixture
def guest(nets: Hypervisor) -> Hypervisor:
    """The guest web1 runs on the network lan, and answers hot-plug."""
    nets.define_guest("web1", nic_on(A, "lan"))
    nets.virsh("start", "web1")
    nets.in_guest("web1", "true")
    return nets


def test_a_failed_run_puts_back_a_nic_on_a_network(guest: Hypervisor, module: Module) -> None:
    before = guest.dump("web1")
    other: Result = {"domain": "web1", "mac": B, "source": "up1", "model": "nonsense"}
    failed = module(interfaces=[{"domain": "web1", "mac": A, "network": "lan1"}, other], live="replug", timeout=120)
    assert "as it was before" in failed["msg"], failed
    assert guest.dump("web1") == before
    assert source(guest, live=True) == "direct network=lan dev=eth0 mode=bridge"
    assert guest_has(guest, "web1", {A})
    # Without its network, if that has gone meanwhile.
    code = """
attach = Hypervisor.apply
def applied(self, steps, journal=None):
    import threading, time
    for name in ("lan", "lan1"):
        libvirt.open("qemu:///system").networkLookupByName(name).destroy()
    return attach(self, steps, journal)
Hypervisor.apply = applied
"""
    failed = run_beside(guest, code, {"domain": "web1", "mac": A, "network": "lan1", "live": "replug", "timeout": 120})
    # The process that outlives the run may be faster to attach it, and then does so without its network.
    assert re.search("network 'lan1' is not active|still differs: .* network: none → lan1", failed["msg"]), failed
    assert source(guest) == "network network=lan"
    assert source(guest, live=True) == "direct dev=eth0 mode=bridge"
    assert guest_has(guest, "web1", {A})


@pytest.mark.parametrize("how", ["kill", "inactive"])
def test_a_guest_that_answers_late_has_its_nic_on_a_network_again(guest: Hypervisor, module: Module, how: str) -> None:
    """By the process that outlives the run; on the uplink alone if there is no network any more."""
    guest.virsh("suspend", "web1")
    declared: Result = {
        "domain": "web1",
        "mac": A,
        "network": "lan1",
        "live": "replug",
        "timeout": 0 if how != "kill" else 30,
    }
    if how == "kill":
        with running_module("libvirt_direct_iface", declared, prefix=guest.prefix, start_new_session=True) as process:
            assert until(lambda: bool(info(guest)["pending"]))
            # It is written down a moment before it is asked for, which nothing shows.
            time.sleep(2)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)
    else:
        assert [one["mac"] for one in ok(module(**declared))["pending"]] == [A]
    (shown,) = info(guest)["pending"]
    assert shown["returns"]["network"] == "lan1"
    if how == "inactive":
        for name in ("lan", "lan1"):
            guest.virsh("net-destroy", name)
    guest.virsh("resume", "web1")
    expected = "direct dev=eth0 mode=bridge" if how == "inactive" else "direct network=lan1 dev=up1 mode=bridge"
    assert until(lambda: not info(guest)["pending"])
    assert source(guest, live=True) == expected
    assert guest_has(guest, "web1", {A})


def test_an_uplink_keeps_its_address_if_it_cannot_be_passed_through(nets: Hypervisor) -> None:
    nets.define(domain("web1"))
    nets.virsh("start", "web1")
    address = nets.run("cat", "/sys/class/net/up1/address")
    # Another link takes it between the plan and the attempt.
    code = """
import subprocess
apply = Hypervisor.apply
def applied(self, *arguments):
    subprocess.run("ip link add mt9 link up1 type macvtap mode bridge".split(), check=True)
    return apply(self, *arguments)
Hypervisor.apply = applied
"""
    failed = run_beside(nets, code, {"domain": "web1", "mac": B, "network": "pass"})
    nets.run("ip", "link", "del", "mt9")
    assert failed["msg"].startswith(f"cannot add {B} to the running domain 'web1'")
    assert failed["msg"].endswith("The host is as it was before")
    assert nets.run("cat", "/sys/class/net/up1/address") == address
