# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_network when libvirt refuses, others change the same network, or the run is killed."""

from __future__ import annotations

import re
import signal

import direct_iface
import pytest
from direct_iface import A, Result, domain, impacts, ok
from direct_network import Networks, nic_on
from support import meanwhile, run_module, running_module, until

pytestmark = direct_iface.MARKS


def test_a_failure_puts_all_networks_back(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    ok(networks(name="old", interfaces=["eth0"], state="inactive"))
    before = networks.all()
    # The link that starts a network at boot cannot be made there.
    obstacle = "/etc/libvirt/qemu/networks/autostart/pool.xml"
    networks.hv.run("mkdir", "-p", obstacle)
    declared = [
        {"name": "lan", "mode": "vepa", "interfaces": ["up1"], "autostart": False},
        {"name": "old", "state": "absent"},
        {"name": "new", "interfaces": ["up1"]},
        {"name": "pool", "interfaces": ["eth0"]},
    ]
    failed = networks(networks=declared)
    assert "libvirt refuses to change network 'pool': " in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    assert networks.all() == before
    kept = networks(networks=declared, on_error="keep")
    assert kept["failed"]
    assert networks.names() == ["lan", "new", "pool"]
    networks.hv.run("rmdir", obstacle)


def test_a_new_default_portgroup_goes_again_though_a_guest_without_a_choice_runs(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0"]))
    hv.define(domain("web1", nic_on(A)))
    hv.virsh("start", "web1")
    before = networks.xml("lan"), hv.dump("web1", live=True)
    group = {"name": "web", "default": True, "trust_guest_rx_filters": True}
    obstacle = "/etc/libvirt/qemu/networks/autostart/pool.xml"
    hv.run("mkdir", "-p", obstacle)
    failed = networks(networks=[{"name": "lan", "portgroups": [group]}, {"name": "pool", "interfaces": ["up1"]}])
    hv.run("rmdir", obstacle)
    assert failed["msg"].endswith("The host is as it was before")
    assert (networks.xml("lan"), hv.dump("web1", live=True)) == before
    assert "portgroup" not in hv.virsh("net-dumpxml", "lan")


def test_what_another_editor_changes_meanwhile_is_not_overwritten(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    # Once: a second time there is such a portgroup.
    update = ["sh", "-c", "virsh net-update lan add portgroup \"<portgroup name='theirs'/>\" --config; true"]
    edited = meanwhile("after", "_networks.planner.plan_of", update)
    params = {"name": "lan", "interfaces": ["up1"]}
    done = ok(run_module("libvirt_direct_network", params, prefix=networks.hv.prefix, patch=edited))
    assert done["changed"]
    assert "name='theirs'" in networks.xml("lan")
    assert "up1" in networks.xml("lan")


def test_a_guest_that_starts_meanwhile_keeps_its_network(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    networks.hv.define(domain("web1", nic_on(A)))
    started = meanwhile("after", "_networks.planner.plan_of", ["sh", "-c", "virsh start web1; true"])
    params = {"name": "lan", "mode": "vepa"}
    done = ok(run_module("libvirt_direct_network", params, prefix=networks.hv.prefix, patch=started))
    # The second attempt knows of the guest.
    assert impacts(done) == {"mode": "restart"}
    assert {one["domain"] for one in done["restart_required"]} == {None, "web1"}
    assert "mode='bridge'" in networks.xml("lan", live=True)
    assert len(networks.hv.virsh("net-port-list", "lan").split()) == 1


def test_an_update_that_is_lost_at_the_very_moment_is_reported(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    theirs = networks.xml("lan").replace("</network>", "<portgroup name='theirs'/></network>")
    # Another editor defines it right after this run has looked for the last time.
    code = f"""
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import execution
unchanged, their_xml = execution.Execution._unchanged, [{theirs!r}]
def acting(self, before):
    handle = unchanged(self, before)
    if their_xml:
        self._connection.handle.networkDefineXML(their_xml.pop())
    return handle
execution.Execution._unchanged = acting
"""
    params = {"name": "lan", "interfaces": ["up1"]}
    failed = run_module("libvirt_direct_network", params, prefix=networks.hv.prefix, patch=code)
    assert "changed by another editor at the moment when this run stored it" in failed["msg"]
    assert failed["msg"].endswith("What the other editor has stored of network 'lan' may be lost. Check it")


@pytest.mark.parametrize("moment", ["destroy", "networkDefineXML", "setAutostart"])
def test_a_run_that_is_killed_leaves_what_the_next_one_completes(networks: Networks, moment: str) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    owner = "virConnect" if moment == "networkDefineXML" else "virNetwork"
    patch = f"""
import libvirt, os, signal
real = libvirt.{owner}.{moment}
def killed(self, *arguments):
    real(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
libvirt.{owner}.{moment} = killed
"""
    params: Result = {"name": "lan", "mode": "vepa", "interfaces": ["up1"], "autostart": False}
    with running_module("libvirt_direct_network", params, prefix=networks.hv.prefix, patch=patch) as process:
        assert process.wait(120) == -signal.SIGKILL
    # The restart watch starts what the run has left stopped.
    assert until(lambda: re.search("Active: +yes", networks.state("lan")) is not None)
    ok(networks(**params))
    assert not ok(networks(**params))["changed"]
    assert "mode='vepa'" in networks.xml("lan", live=True)
