# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt_guest_migrate refuses, or fails with, while the guest stays where it is."""

from __future__ import annotations

import typing as t

import direct_iface
import moved_guests
import pytest
from direct_iface import A, B, domain, nic
from direct_network import network, nic_on
from moved_guests import Hosts, Where, move

pytestmark = direct_iface.MARKS
UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def running(hosts: Hosts) -> Hosts:
    """web1 runs on the first host, with no operating system."""
    hosts.source.define(domain("web1", nic(A)))
    hosts.source.virsh("start", "web1")
    return hosts


def refused(hosts: Hosts, message: str, **params: t.Any) -> None:
    """Move web1, which is to fail with ``message``, and to leave both hosts as they were."""
    hv1, hv2 = hosts.all
    before = state(hosts)
    for check in (True, False):
        failed = move(hv1, hv2, check=check, **params)
        assert failed["rc"], failed
        assert message in failed["msg"]
    assert state(hosts) == before


def state(hosts: Hosts) -> tuple[t.Any, ...]:
    dumps = [
        (hv.cell.name, name, hv.dump(name, live=True), hv.dump(name))
        for hv in hosts.all
        for name in hv.virsh("list", "--all", "--name").split()
    ]
    return moved_guests.where(hosts, "web1"), dumps


def test_what_the_destination_has_or_lacks(running: Hosts) -> None:
    hv1, hv2 = running.all
    network = [{"mac": A, "network": "lam"}]
    refused(running, "interfaces[0].network: hv2 has no network 'lam'", interfaces=network)
    refused(running, "interfaces[0].mac: domain 'web1' has no interface", interfaces=[{"mac": B, "source": "lan0"}])
    refused(
        running,
        "destination_uri: qemu+ssh://hv1/system leads to this host (hv1)",
        destination_uri=moved_guests.uri(hv1),
    )
    refused(
        running, "destination_uri: cannot connect to 'qemu+ssh://hv7/system'", destination_uri="qemu+ssh://hv7/system"
    )
    hv2.define(domain("db1", nic(A, "lan0")))
    refused(running, f"domain: hv2 has the address {A} already, in db1")
    hv2.virsh("undefine", "db1")
    hv2.define(domain("web1", nic(B, "lan0")))
    refused(running, "domain: hv2 has another domain of that name: its UUID is")
    hv2.virsh("undefine", "web1")
    uuid = hv1.virsh("domuuid", "web1").strip()
    hv2.define(domain("old1", nic(B, "lan0")).replace("<title>", f"<uuid>{uuid}</uuid><title>"))
    refused(running, f"domain: hv2 has a domain with its UUID ({uuid}) already, which is called 'old1'")


def test_a_nic_that_would_be_in_another_segment_or_mode(hosts: Hosts) -> None:
    for hv, mode in zip(hosts.all, ("bridge", "vepa")):
        hv.virsh("net-define", "/dev/stdin", stdin=network("lan", mode, hv.uplink))
        hv.virsh("net-start", "lan")
    hosts.source.define(domain("web1", nic(A), nic_on(B)))
    hosts.source.virsh("start", "web1")
    both = {"segment": {"eth0": "dmz"}, "destination_segment": "rack2"}
    refused(hosts, f"destination: {A} is in the segment dmz on hv1 (eth0), and would be in rack2 on hv2 (lan0)", **both)
    refused(
        hosts,
        f"interfaces: {B} is in mode bridge on hv1 (network lan), and would be in mode vepa on hv2 (network lan)",
        segment={"eth0": "dmz"},
        destination_segment={"lan0": "dmz"},
    )
    assert move(*hosts.all, check=True, interfaces=[{"mac": B, "network": "lan"}])["changed"]


def test_a_guest_that_is_saved_or_has_a_device_of_the_host(running: Hosts) -> None:
    hv1 = running.source
    refused(running, "neither hv1 nor hv2 has a domain 'web2'; did you mean web1?", domain="web2")
    hv1.virsh("managedsave", "web1")
    refused(running, "it has a managed save, which stays here")
    hv1.virsh("managedsave-remove", "web1")
    refused(running, "persistent: false is only for a running guest", persistent=False)


def test_an_uplink_that_disappears_is_found_by_libvirt_and_the_guest_stays(running: Hosts) -> None:
    hv1, hv2 = running.all
    before = state(running)
    # Nobody has looked at the destination's links.
    failed = move(hv1, hv2, uplinks={"eth0": "lan7"})
    assert "did not move to hv2: " in failed["msg"]
    assert "It is still here" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    assert state(running) == before
    assert before[0] == Where(["hv1"], [], ["hv1"])
