# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_host_info against the real kernel and a real libvirtd."""

from __future__ import annotations

import json
import os
import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, domain, nic, ok
from support import PYTHON, PYTHONS, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def look(hv: Hypervisor, python: str = PYTHON, **params: t.Any) -> dict[str, t.Any]:
    result = run_module("macvtap_host_info", params, prefix=hv.prefix, python=python)
    assert result["rc"] == 0, result
    assert not result["changed"]
    return result


@pytest.mark.parametrize("python", PYTHONS)
def test_all_that_there_is_in_one_run(hv: Hypervisor, python: str) -> None:
    bridged = f"<interface type='bridge'><mac address='{B}'/><source bridge='br9'/></interface>"
    hv.define(domain("web1", nic(A), bridged))
    returned = look(hv, python)
    assert returned["kernel"]["supported"]
    assert returned["kernel"]["kernel"] == os.uname().release
    assert returned["libvirt"]["available"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", returned["libvirt"]["version"])
    links = {link["name"]: link for link in returned["links"]}
    assert links["lo"]["unfit"] == "lo is the loopback link; macvtap requires an Ethernet link"
    assert links["eth0"]["unfit"] is None
    assert links["eth0"]["mac"] == hv.run("cat", "/sys/class/net/eth0/address").strip()
    assert links["eth0"]["mtu"] == int(hv.run("cat", "/sys/class/net/eth0/mtu"))
    assert links["eth0"]["speed"] == int(hv.run("cat", "/sys/class/net/eth0/speed"))
    # The loopback link has no speed.
    assert links["lo"]["speed"] is None
    assert returned["pending"] == []
    (web1,) = returned["domains"]
    assert (web1["name"], web1["uuid"]) == ("web1", hv.virsh("domuuid", "web1").strip())
    direct, bridge = web1["interfaces"]
    assert (direct["mac"], direct["stored"]["type"], direct["live"]) == (A, "direct", None)
    assert (direct["stored"]["source"], direct["stored"]["mode"]) == ("eth0", "bridge")
    assert (bridge["mac"], bridge["stored"]["type"], bridge["stored"]["origin"]) == (B, "bridge", "br9")


def test_a_running_guest_and_its_link(started: Hypervisor) -> None:
    returned = look(started)
    (interface,) = returned["domains"][0]["interfaces"]
    assert returned["domains"][0]["running"]
    target = interface["live"]["target"]
    link = next(link for link in returned["links"] if link["name"] == target)
    assert (link["kind"], link["parent"], link["mode"], link["mac"]) == ("macvtap", "eth0", "bridge", A)
    assert link["unfit"].startswith(f"{target} is a macvtap link")


def test_what_a_saved_guest_comes_back_with(started: Hypervisor) -> None:
    assert look(started)["domains"][0]["saved_interfaces"] == []
    started.virsh("managedsave", "web1")
    started.define(started.virsh("dumpxml", "--inactive", "web1").replace(A, B))
    (web1,) = look(started)["domains"]
    assert ([one["mac"] for one in web1["interfaces"]], web1["saved"]) == ([B], True)
    (saved,) = web1["saved_interfaces"]
    assert (saved["mac"], saved["type"], saved["source"], saved["mode"]) == (A, "direct", "eth0", "bridge")


def test_links_by_what_makes_them_unfit_as_parents(hv: Hypervisor) -> None:
    hv.run("ip", "link", "add", "br7", "type", "bridge")
    hv.run("ip", "link", "add", "port7", "type", "veth", "peer", "name", "far7")
    try:
        hv.run("ip", "link", "set", "port7", "master", "br7")
        hv.run("ip", "link", "property", "add", "dev", "br7", "altname", "lan7")
        links = {link["name"]: link for link in look(hv)["links"]}
    finally:
        hv.run("ip", "link", "del", "port7")
        hv.run("ip", "link", "del", "br7")
    assert links["port7"]["unfit"].startswith("port7 is a port of the bridge br7")
    assert (links["port7"]["master"], links["br7"]["kind"], links["br7"]["altnames"]) == ("br7", "bridge", ["lan7"])
    assert links["br7"]["unfit"] is None


def test_where_vlan_links_can_be(started: Hypervisor) -> None:
    returned = look(started)
    target = returned["domains"][0]["interfaces"][0]["live"]["target"]
    links = {link["name"]: link for link in returned["links"]}
    names = ("parent", "parent_ifindex", "vlan_id", "vlan_protocol")
    assert [links[target][name] for name in names] == ["eth0", links["eth0"]["ifindex"], None, None]
    assert [links["lo"][name] for name in names] == [None] * 4
    assert links["eth0"]["unfit_vlan"] is None
    assert links["lo"]["unfit_vlan"] == "lo is the loopback link; a VLAN requires an Ethernet link"
    assert links[target]["unfit_vlan"].startswith(f"{target} is a macvtap link, whose frames go to the process")


def test_a_link_to_ask_behind_that_is_ambiguous_is_left_out(hv: Hypervisor) -> None:
    for name in ("twin7", "twin8"):
        hv.run("ip", "link", "add", name, "address", "02:00:00:00:77:77", "type", "bridge")
    try:
        returned = look(hv, relay=["02:00:00:00:77:77", "nowhere"])
    finally:
        for name in ("twin7", "twin8"):
            hv.run("ip", "link", "del", name)
    assert {link["reflective_relay"] for link in returned["links"]} == {None}


@pytest.mark.parametrize("what", ["link", "stored"])
def test_the_switch_behind_what_is_in_mode_vepa_is_asked_for(hv: Hypervisor, what: str) -> None:
    if what == "link":
        hv.run("ip", "link", "add", "link", "eth0", "name", "v7", "type", "macvtap", "mode", "vepa")
    else:
        hv.define(domain("web1", nic(A, mode="vepa")))
    try:
        known = [
            {link["name"]: link["reflective_relay"] for link in look(hv, relay_vepa=on)["links"]}
            for on in (False, True)
        ]
    finally:
        if what == "link":
            hv.run("ip", "link", "del", "v7")
    assert [links["eth0"] for links in known] == [None, False]
    assert {answer for links in known for name, answer in links.items() if name != "eth0"} == {None}


LAN = """<network><name>lan</name><forward mode='bridge'><interface dev='eth0'/></forward>
<portgroup name='trusted' trustGuestRxFilters='yes'/></network>"""
# It has the same forward mode, but an existing bridge.
BRIDGED = "<network><name>bridged</name><forward mode='bridge'/><bridge name='br9'/></network>"


def test_networks_and_who_is_on_them(hv: Hypervisor) -> None:
    for xml in (BRIDGED, LAN):
        hv.virsh("net-define", "/dev/stdin", stdin=xml)
    hv.virsh("net-start", "lan")
    on_lan = f"<interface type='network'><mac address='{A}'/><source network='lan' portgroup='trusted'/></interface>"
    hv.define(domain("web1", on_lan))
    hv.virsh("start", "web1")
    returned = look(hv)
    bridged, lan = returned["networks"]
    assert (bridged["name"], bridged["mode"], bridged["interfaces"], bridged["active"]) == ("bridged", None, [], False)
    assert (lan["name"], lan["mode"], lan["interfaces"], lan["active"]) == ("lan", "bridge", ["eth0"], True)
    assert lan["portgroups"] == [{"name": "trusted", "default": False, "trust_guest_rx_filters": True}]
    (interface,) = returned["domains"][0]["interfaces"]
    stored, live = interface["stored"], interface["live"]
    assert (stored["network"], stored["portgroup"]) == (live["network"], live["portgroup"]) == ("lan", "trusted")
    assert (live["source"], live["mode"], stored.get("source")) == ("eth0", "bridge", None)


def test_guests_and_guards_as_their_own_modules_return_them(started: Hypervisor) -> None:
    def of(module: str) -> dict[str, t.Any]:
        return ok(run_module(module, {}, prefix=started.prefix))

    ok(run_module("macvtap_guard", {"mac": A, "persistent": False}, prefix=started.prefix))
    try:
        returned = look(started, guests=True)
        guards = of("macvtap_guard_info")["guards"]
    finally:
        ok(run_module("macvtap_guard", {"mac": A, "state": "absent"}, prefix=started.prefix))
    assert [one["counters"].keys() for one in returned["guards"]] == [one["counters"].keys() for one in guards]
    assert guards[0]["counters"]
    assert returned["addresses"]["reason"] is None
    (web1,) = returned["addresses"]["guests"]
    assert web1["interfaces"][0]["link"].startswith("macvtap")
    assert web1 == of("macvtap_guest_addresses_info")["guests"][0]


def test_guests_are_not_known_without_a_daemon_or_with_bad_networks(hv: Hypervisor) -> None:
    returned = look(hv, guests=True, uri="qemu+unix:///system?socket=/nowhere")
    assert returned["addresses"]["guests"] is None
    assert returned["addresses"]["reason"].startswith("cannot connect to")
    returned = look(hv, guests=True, probe_networks=["192.0.2.0/24"], probe_rate=0)
    assert returned["addresses"]["reason"].startswith("probe_rate: 0 is not between 1 and 10000")
    returned = look(hv, guests=True, probe_networks=["x"])
    assert returned["addresses"]["guests"] is None
    assert returned["addresses"]["reason"].startswith("probe_networks[0]: 'x' is neither an IP address nor a network")
    # All else of the host is known.
    assert returned["libvirt"]["available"] is True
    assert returned["links"]
    result = run_module("macvtap_host_info", {"probe_networks": ["192.0.2.0/24"]}, prefix=hv.prefix)
    assert result["failed"]
    assert result["msg"].startswith("probe_networks: is only used with guests: true")


def test_no_daemon_is_no_failure(hv: Hypervisor) -> None:
    returned = look(hv, uri="qemu+unix:///system?socket=/nowhere")
    assert "addresses" not in returned
    assert (returned["domains"], returned["networks"]) == ([], None)
    assert returned["libvirt"]["available"] is False
    assert returned["libvirt"]["version"] is None
    assert returned["libvirt"]["reason"].startswith("cannot connect to 'qemu+unix:///system?socket=/nowhere'")
    assert returned["links"]


def test_it_changes_nothing(started: Hypervisor) -> None:
    def state() -> tuple[t.Any, ...]:
        # The carrier comes a moment after the guest.
        links = [{**link, "operstate": "", "flags": []} for link in json.loads(started.run("ip", "-d", "-j", "link"))]
        return links, started.dump("web1"), started.dump("web1", live=True)

    before = state()
    look(started)
    assert state() == before
