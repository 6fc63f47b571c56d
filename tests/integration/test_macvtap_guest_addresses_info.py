# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Real guests on a LAN with DHCP and router advertisements, and where their addresses are known from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import typing as t

import direct_iface
import lan
import libvirtd_fixture
import pytest
from direct_iface import Result, nic, ok
from labkit import model, switch
from support import run_module, running_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

BRIDGE, PRIVATE, ALONE, SHIM = (f"52:54:00:00:0f:0{digit}" for digit in range(4))
NETWORK, STATIC = "192.0.2.0/24", "192.0.2.40"
AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


class Lab(t.NamedTuple):
    """Two hosts; ``first`` is what a run on the one with the guests found that began before they were started."""

    hv: Hypervisor
    other: Hypervisor
    first: Result

    def leased(self, mac: str) -> str:
        leases = switch.leases(model.require(self.hv.cell.lab))
        (address,) = [lease.address for lease in leases if lease.mac == mac]
        return address


def ask(hv: Hypervisor, **params: t.Any) -> Result:
    result = ok(run_module("macvtap_guest_addresses_info", params, prefix=hv.prefix))
    assert not result["changed"]
    return result


def addresses(result: Result, mac: str) -> dict[str, Result]:
    """The addresses of a NIC, by address."""
    (found,) = [i for guest in result["guests"] for i in guest["interfaces"] if i["mac"] == mac]
    return {one["address"]: one for one in found["addresses"]}


def in_guest(hv: Hypervisor, name: str) -> set[str]:
    """The addresses that the guest itself has, its own link-local ones included."""
    lines = hv.in_guest(name, "ip", "address", "show", "dev", "eth0").split("\n")
    return {line.split()[1].split("/")[0] for line in lines if line.split()[:1] in (["inet"], ["inet6"])}


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """web1 in mode bridge with an agent's channel, web2 in mode private, web3 in passthrough without DHCP."""
    with libvirtd_fixture.hypervisors(f"finds{os.getpid()}", ("hv1", "hv2")) as (hv, other):
        hv.define_guest("web1", nic(BRIDGE), AGENT)
        hv.define_guest("web2", nic(PRIVATE, mode="private"))
        hv.define_guest("web3", nic(ALONE, "up1", "passthrough"))
        waits = {"macs": [BRIDGE, PRIVATE], "wait_for": {"count": 2, "timeout": 120}}
        with running_module("macvtap_guest_addresses_info", waits, prefix=hv.prefix, stdout=-1) as process:
            for name in ("web1", "web2", "web3"):
                hv.virsh("start", name)
            first = json.loads(process.communicate(timeout=180)[0])
        hv.in_guest("web3", "ip", "address", "add", f"{STATIC}/24", "dev", "eth0")
        yield Lab(hv, other, first)


def test_new_guests_are_found_as_soon_as_they_have_their_addresses(lab: Lab) -> None:
    assert not lab.first.get("failed"), lab.first
    for name, mac in (("web1", BRIDGE), ("web2", PRIVATE)):
        found = addresses(lab.first, mac)
        assert set(found) == in_guest(lab.hv, name)
        assert found[lab.leased(mac)]["source"] == "learned"
        assert {one["state"] for one in found.values()} == {"claimed"}
        assert len([one for one in found.values() if one["scope"] == "global" and one["family"] == "ipv6"]) == 1


def test_answers_on_the_lan_confirm_addresses(lab: Lab) -> None:
    found = addresses(ask(lab.hv, probe=True, probe_networks=[NETWORK], probe_rate=1000), BRIDGE)
    assert set(found) == in_guest(lab.hv, "web1")
    assert {(one["state"], one["source"]) for one in found.values()} == {("confirmed", "probe")}
    assert max(one["age"] for one in found.values()) < 60


def test_the_reason_why_a_guest_is_not_asked(lab: Lab) -> None:
    result = ask(lab.hv, probe=True)
    reasons = {i["mac"]: i["not_asked"] for guest in result["guests"] for i in guest["interfaces"]}
    assert reasons[BRIDGE] is None
    assert reasons[PRIVATE].startswith("in mode private")
    assert "beside a link in mode passthru" in reasons[ALONE]
    assert "on up1" in json.dumps(result["warnings"])


def test_another_host_of_the_lan_finds_a_guest_in_mode_private(lab: Lab) -> None:
    asked = {"probe": True, "probe_networks": [NETWORK], "probe_rate": 1000, "probe_uplinks": ["eth0"]}
    result = ask(lab.other, macs=[PRIVATE, ALONE], **asked)
    assert result["guests"] == []
    found = {one["mac"]: {a["address"]: a["state"] for a in one["addresses"]} for one in result["others"]}
    assert found[PRIVATE] == dict.fromkeys(in_guest(lab.hv, "web2"), "confirmed")
    assert found[ALONE] == {}


def test_a_static_address_in_mode_passthrough_is_learned_from_what_the_guest_sends(lab: Lab) -> None:
    listens = {"domains": ["web3"], "listen": 5}
    with running_module("macvtap_guest_addresses_info", listens, prefix=lab.hv.prefix, stdout=-1) as process:
        # Whenever the module has begun to listen, there is another one.
        ask_forever = "for try in $(seq 80); do arping -c 1 -w 1 -I eth0 192.0.2.1; done; true"
        lab.hv.in_guest("web3", "sh", "-c", f"({ask_forever}) >/dev/null 2>&1 &")
        result = json.loads(process.communicate(timeout=60)[0])
    assert addresses(result, ALONE)[STATIC]["state"] == "claimed"


def test_an_address_that_is_gone_is_stale(lab: Lab) -> None:
    lab.hv.in_guest("web1", "ip", "address", "add", "192.0.2.41/24", "dev", "eth0")
    lab.hv.run("ip", "link", "add", "host0", "link", "eth0", "address", SHIM, "type", "macvlan", "mode", "bridge")
    lab.hv.run("ip", "link", "set", "host0", "up")
    lab.hv.run("ip", "address", "add", "192.0.2.42/24", "dev", "host0")
    try:
        assert until(lambda: answers(lab.hv, "192.0.2.41"))
        found = addresses(ask(lab.hv), BRIDGE)["192.0.2.41"]
        assert (found["state"], found["source"]) == ("confirmed", "neighbour")
        lab.hv.in_guest("web1", "ip", "address", "del", "192.0.2.41/24", "dev", "eth0")
        found = addresses(ask(lab.hv, probe=True), BRIDGE)["192.0.2.41"]
        assert (found["state"], found["sources"]) == ("stale", ["neighbour"])
    finally:
        lab.hv.run("ip", "link", "del", "host0")


def answers(hv: Hypervisor, address: str) -> bool:
    done = subprocess.run([*hv.prefix, sys.executable, lan.TOOL, "ping", address], check=False, timeout=30)
    return done.returncode == 0


def test_a_guest_agent(lab: Lab) -> None:
    listed = [
        {
            "name": "eth0",
            "hardware-address": BRIDGE,
            "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "192.0.2.43", "prefix": 24}],
        }
    ]
    serves = f"python3 -I -S /lab/qga.py '{json.dumps(listed)}'"
    lab.hv.in_guest("web1", "sh", "-c", f"{serves} >/dev/null 2>&1 & echo $! >/run/qga")
    try:
        assert until(lambda: "192.0.2.43" in addresses(ask(lab.hv), BRIDGE), 20)
        found = addresses(ask(lab.hv), BRIDGE)["192.0.2.43"]
        assert (found["state"], found["source"], found["prefix"]) == ("confirmed", "agent", 24)
        assert "192.0.2.43" not in addresses(ask(lab.hv, agent=False), BRIDGE)
        # It is not on the guest's interface.
        assert addresses(ask(lab.hv, probe=True), BRIDGE)["192.0.2.43"]["state"] == "claimed"
    finally:
        lab.hv.in_guest("web1", "sh", "-c", "kill $(cat /run/qga)")


def test_an_agent_that_does_not_answer_costs_its_time_and_a_warning(lab: Lab) -> None:
    lab.hv.in_guest("web1", "sh", "-c", "python3 -I -S /lab/qga.py >/dev/null 2>&1 & echo $! >/run/qga")
    try:
        connected = "state='connected'"
        assert until(lambda: connected in lab.hv.dump("web1", live=True), 20)
        result = ask(lab.hv, agent_timeout=1)
        assert "these guests did not answer in time: web1" in json.dumps(result["warnings"])
        assert len(result["guests"]) == 3
    finally:
        lab.hv.in_guest("web1", "sh", "-c", "kill $(cat /run/qga)")


def test_nothing_is_left_of_a_probe_that_is_killed(lab: Lab) -> None:
    before = links(lab)
    # Slow enough to be there when it is killed.
    params = {"probe": True, "probe_networks": [NETWORK], "probe_rate": 1, "agent": False}
    with running_module("macvtap_guest_addresses_info", params, prefix=lab.hv.prefix) as process:
        # The switch has learned the address of a link that is not there otherwise.
        assert until(lambda: bool(temporary(lab)), 30)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert links(lab) == before
    # Its namespace goes a moment after its last process.
    lower = "/sys/class/net/eth0/upper_*"
    assert until(lambda: len(lab.hv.run("sh", "-c", f"ls -d {lower}").split()) == 2)


def links(lab: Lab) -> set[str]:
    return {link["ifname"] for link in json.loads(lab.hv.run("ip", "-j", "link"))}


def temporary(lab: Lab) -> set[str]:
    """The locally administered MAC addresses that the LAN has seen on the host's port, less those of its own links."""
    shown = json.loads(lab.hv.run("ip", "-j", "link"))
    port = lab.hv.cell.ports[model.UPLINK]
    netns = model.require(lab.hv.cell.lab).switch.netns
    seen = _fdb(netns, port)
    return {mac for mac in seen if mac.startswith("02:")} - {link.get("address") for link in shown}


def _fdb(netns: str, port: str) -> set[str]:
    listed = subprocess.run(
        ["bridge", "-n", netns, "-j", "fdb", "show", "brport", port], check=True, capture_output=True, text=True
    ).stdout
    return {one["mac"] for one in json.loads(listed) if "permanent" not in one.get("state", "")}


def test_the_time_of_wait_for_is_over(lab: Lab) -> None:
    result = run_module(
        "macvtap_guest_addresses_info",
        {"domains": ["web3"], "wait_for": {"family": "ipv6", "count": 2, "timeout": 1}},
        prefix=lab.hv.prefix,
    )
    assert result["failed"]
    lacks = f"these NICs do not have 2 IPv6 addresses that are claimed: web3 {ALONE} (has"
    assert result["msg"].startswith(f"wait_for: after 1 seconds {lacks}")
    assert [guest["name"] for guest in result["guests"]] == ["web3"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"domains": ["web1", "web9"]}, "domains[1]: "),
        ({"macs": ["52:54"]}, "macs[0]: '52:54' is not a MAC address"),
        ({"probe": True, "probe_uplinks": ["eth9"]}, "probe_uplinks[0]: "),
        ({"probe_rate": 0}, "probe_rate: 0 is not between 1 and 10000"),
        ({"uri": "test:///default", "probe": True}, "probe: uri test:///default may lead to another host"),
    ],
)
def test_options_that_do_not_fit(lab: Lab, params: Result, message: str) -> None:
    result = run_module("macvtap_guest_addresses_info", params, prefix=lab.hv.prefix)
    assert result["failed"]
    assert result["msg"].startswith(message)
