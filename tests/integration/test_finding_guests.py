# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Real guests on a LAN with DHCP and router advertisements, and where their addresses are known from."""

from __future__ import annotations

import json
import pathlib
import shlex
import signal
import subprocess
import typing as t

import direct_iface
import found_guests
import guest_inside
import pytest
from direct_iface import Result, ok
from found_guests import (
    ALONE,
    BRIDGE,
    NETWORK,
    PRIVATE,
    STATIC,
    Lab,
    addresses,
    agent,
    answers,
    ask,
    in_guest,
    inventory,
    shim,
)
from labkit import model
from support import run_module, running_module, until

pytestmark = direct_iface.MARKS


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    with found_guests.made() as lab:
        yield lab


def test_new_guests_are_found_as_soon_as_they_have_their_addresses(lab: Lab) -> None:
    assert not lab.first.get("failed"), lab.first
    for name, mac in (("web1", BRIDGE), ("web2", PRIVATE)):
        found = addresses(lab.first, mac)
        assert set(found) == in_guest(lab.hv, name)
        assert found[lab.leased(mac)]["source"] == "learned"
        assert {one["state"] for one in found.values()} == {"claimed"}
        assert len([one for one in found.values() if one["scope"] == "global" and one["family"] == "ipv6"]) == 1


def test_answers_on_the_lan_confirm_addresses_and_why_a_guest_is_not_asked(lab: Lab) -> None:
    result = ask(lab.hv, probe=True, probe_networks=[NETWORK], probe_rate=1000)
    found = addresses(result, BRIDGE)
    assert set(found) == in_guest(lab.hv, "web1")
    assert {(one["state"], one["source"]) for one in found.values()} == {("confirmed", "probe")}
    assert max(one["age"] for one in found.values()) < 60
    reasons = {i["mac"]: i["not_asked"] for guest in result["guests"] for i in guest["interfaces"]}
    assert reasons[BRIDGE] is None
    assert reasons[PRIVATE].startswith("in mode private")
    assert "beside a link in mode passthru" in reasons[ALONE]
    assert "on up1" in json.dumps(result["warnings"])


def test_a_look_at_the_host_finds_the_same(lab: Lab) -> None:
    asked = {"guests": True, "probe_networks": [lab.leased(BRIDGE)]}
    result = ok(run_module("macvtap_host_info", asked, prefix=lab.hv.prefix))
    found = addresses(result["addresses"], BRIDGE)
    assert (found[lab.leased(BRIDGE)]["state"], found[lab.leased(BRIDGE)]["source"]) == ("confirmed", "probe")
    assert "on up1" in json.dumps(result["warnings"])


def test_another_host_of_the_lan_finds_a_guest_in_mode_private(lab: Lab) -> None:
    asked = {"probe": True, "probe_networks": [NETWORK], "probe_rate": 1000, "probe_uplinks": ["eth0"]}
    result = ask(lab.other, macs=[PRIVATE, ALONE], **asked)
    assert result["guests"] == []
    found = {one["mac"]: {a["address"]: a["state"] for a in one["addresses"]} for one in result["others"]}
    assert found[PRIVATE] == dict.fromkeys(in_guest(lab.hv, "web2"), "confirmed")
    assert found[ALONE] == {}


def test_a_static_address_in_mode_passthrough_is_learned_from_what_the_guest_sends(lab: Lab) -> None:
    listens = {"domains": ["web3"], "listen": 3}
    with running_module("macvtap_guest_addresses_info", listens, prefix=lab.hv.prefix, stdout=-1) as process:
        # Whenever the module has begun to listen, there is another one.
        ask_forever = "for try in $(seq 80); do arping -c 1 -w 1 -I eth0 192.0.2.1; done; true"
        lab.hv.in_guest("web3", "sh", "-c", f"({ask_forever}) >/dev/null 2>&1 &")
        result = json.loads(process.communicate(timeout=60)[0])
    assert addresses(result, ALONE)[STATIC]["state"] == "claimed"


def test_what_a_guard_has_learned_is_known_without_a_question(lab: Lab) -> None:
    guard = {"mac": PRIVATE, "addresses": ["learned"], "policy": "count", "persistent": False}
    ok(run_module("macvtap_guard", guard, prefix=lab.hv.prefix))
    try:
        lab.hv.in_guest("web2", "arping", "-c", "1", "-w", "5", "-I", "eth0", "192.0.2.1")
        lab.hv.in_guest("web2", "ping", "-c", "1", "-w", "5", "2001:db8:1::1")
        found = addresses(ask(lab.hv), PRIVATE)
        assert {(one["state"], one["source"]) for one in found.values()} == {("claimed", "learned")}
        assert lab.leased(PRIVATE) in found
        assert found.keys() <= in_guest(lab.hv, "web2")
        assert {one["family"] for one in found.values()} == {"ipv4", "ipv6"}
        # Since its start it has said nothing. Where it was saved, it need not boot.
        lab.hv.virsh("managedsave", "web2")
        lab.hv.virsh("start", "web2")
        again = addresses(ask(lab.hv), PRIVATE)
        assert {one["state"] for one in again.values()} == {"stale"}
    finally:
        ok(run_module("macvtap_guard", {"mac": PRIVATE, "state": "absent"}, prefix=lab.hv.prefix))


def test_an_address_that_is_gone_is_stale(lab: Lab) -> None:
    lab.hv.in_guest("web1", "ip", "address", "add", "192.0.2.41/24", "dev", "eth0")
    with shim(lab.hv, "192.0.2.42"):
        assert until(lambda: answers(lab.hv, "192.0.2.41"))
        found = addresses(ask(lab.hv), BRIDGE)["192.0.2.41"]
        assert (found["state"], found["source"]) == ("confirmed", "neighbour")
        lab.hv.in_guest("web1", "ip", "address", "del", "192.0.2.41/24", "dev", "eth0")
        found = addresses(ask(lab.hv, probe=True), BRIDGE)["192.0.2.41"]
        assert (found["state"], found["sources"]) == ("stale", ["neighbour"])


def test_a_guest_agent(lab: Lab) -> None:
    with agent(lab.hv, "web1", BRIDGE, "192.0.2.43"):
        found = addresses(ask(lab.hv), BRIDGE)["192.0.2.43"]
        assert (found["state"], found["source"], found["prefix"]) == ("confirmed", "agent", 24)
        assert "192.0.2.43" not in addresses(ask(lab.hv, agent=False), BRIDGE)
        # It is not on the guest's interface.
        assert addresses(ask(lab.hv, probe=True), BRIDGE)["192.0.2.43"]["state"] == "claimed"


def test_an_agent_that_does_not_answer_costs_its_time_and_a_warning(lab: Lab) -> None:
    with agent(lab.hv, "web1", BRIDGE), agent(lab.hv, "web2", PRIVATE, "192.0.2.45"):
        result = ask(lab.hv, agent_timeout=1)
        # libvirt may be the first to give up.
        silent, reports = "did not answer in time: web1", "web1: the guest agent was asked and reports"
        assert any(text in json.dumps(result["warnings"]) for text in (silent, reports))
        # It keeps no other agent from answering.
        assert addresses(result, PRIVATE)["192.0.2.45"]["source"] == "agent"


def test_a_guest_in_mode_vepa_is_asked_where_its_switch_port_reflects(lab: Lab) -> None:
    asked = {"probe": True, "probe_networks": [lab.leased(BRIDGE)], "domains": ["web1"]}
    with found_guests.in_mode(lab.hv, "web1", BRIDGE, "vepa"):
        result = ask(lab.hv, **asked)
        assert result["guests"][0]["interfaces"][0]["not_asked"].startswith("in mode vepa")
        # Silence means nothing there.
        assert not any(
            "probe" in one["sources"] or one["state"] == "stale" for one in addresses(result, BRIDGE).values()
        )
        lab.hv.hairpin(True)
        result = ask(lab.hv, **asked)
        assert result["guests"][0]["interfaces"][0]["not_asked"] is None
        found = addresses(result, BRIDGE)
        assert {address: one["state"] for address, one in found.items()} == dict.fromkeys(
            in_guest(lab.hv, "web1"), "confirmed"
        )


def test_all_of_two_hundred_addresses_are_found_and_no_other(lab: Lab) -> None:
    own = in_guest(lab.hv, "web1")
    many = [text for n in range(1, 101) for text in (f"198.51.100.{n}", f"2001:db8:1::{n:x}00")]
    networks = ["198.51.100.0/24", lab.leased(BRIDGE)]
    asked = {"probe": True, "probe_networks": networks, "probe_rate": 1000, "domains": ["web1"]}
    with found_guests.having(lab.hv, "web1", BRIDGE, many) as link, agent(lab.hv, "web1", BRIDGE, *many):
        found = addresses(ask(lab.hv, **asked), BRIDGE)
        assert found.keys() == own | {*many}
        assert {one["state"] for one in found.values()} == {"confirmed"}
        assert all({"agent", "probe"} <= {*found[one]["sources"]} for one in many)
        # What nobody knows of is found where there is a question to all.
        lab.hv.run("ip", "link", "set", link, "allmulticast", "off")
        alone = addresses(ask(lab.hv, **asked, agent=False), BRIDGE)
        assert {one for one in many if "." in one} <= alone.keys() <= own | {*many}
    gone = addresses(ask(lab.hv, **asked), BRIDGE)
    assert [one for one in gone.values() if one["address"] in many and one["state"] != "stale"] == []


def test_a_temporary_address_comes_after_that_which_follows_from_the_mac_address(lab: Lab) -> None:
    with found_guests.temporary_addresses(lab.hv, "web1") as own:
        found = addresses(ask(lab.hv, probe=True, domains=["web1"]), BRIDGE)
        wide = [one["address"] for one in found.values() if (one["family"], one["scope"]) == ("ipv6", "global")]
        assert {*wide} == {one for one in own if one.startswith("2001:")}
        assert [one.endswith(":5054:ff:fe00:f00") for one in wide] == [True, False]
        assert {found[one]["state"] for one in wide} == {"confirmed"}


def test_nothing_is_left_of_a_probe_that_is_killed(lab: Lab) -> None:
    before = found_guests.links(lab)
    # Slow enough to be there when it is killed.
    params = {"probe": True, "probe_networks": [NETWORK], "probe_rate": 1, "agent": False}
    with running_module("macvtap_guest_addresses_info", params, prefix=lab.hv.prefix) as process:
        # The switch has learned the address of a link that is not there otherwise.
        assert until(lambda: bool(found_guests.temporary(lab)), 30)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert found_guests.links(lab) == before
    # Its namespace goes a moment after its last process.
    lower = "/sys/class/net/eth0/upper_*"
    assert until(lambda: len(lab.hv.run("sh", "-c", f"ls -d {lower}").split()) == 2)


def test_the_time_of_wait_for_is_over(lab: Lab) -> None:
    awaited = {"domains": ["web3"], "wait_for": {"family": "ipv6", "count": 2, "timeout": 1}}
    result = run_module("macvtap_guest_addresses_info", awaited, prefix=lab.hv.prefix)
    assert result["failed"]
    lacks = f"these NICs do not have 2 IPv6 addresses that are claimed: web3 {ALONE} (has"
    assert result["msg"].startswith(f"wait_for: after 1 seconds {lacks}")
    assert [guest["name"] for guest in result["guests"]] == ["web3"]


@pytest.fixture
def files(lab: Lab, tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory with the lab's inventory."""
    hosts = model.require(lab.hv.cell.lab).inventory
    (tmp_path / "hosts.yml").write_text(hosts.read_text())
    return tmp_path


def probes(lab: Lab) -> Result:
    leased = [lab.leased(mac) for mac in (BRIDGE, PRIVATE)]
    return {"hypervisors": "hypervisors", "probe": True, "probe_networks": leased}


def test_an_inventory_of_guests_whose_other_hypervisor_is_down(lab: Lab, files: pathlib.Path) -> None:
    down = {"hosts": {"hv3": {"ansible_host": "192.0.2.99", "ansible_ssh_common_args": "-o ProxyCommand='sleep 60'"}}}
    (files / "down.yml").write_text(json.dumps({"hypervisors": {**down, "vars": {"ansible_connection": "ssh"}}}))
    shown = inventory(files, "--list", timeout=2, prefer=["192.0.2.0/24"], **probes(lab))
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.count("WARNING") == 1, shown.stderr
    assert "hv3: its guests are missing: " in shown.stderr
    listed = json.loads(shown.stdout, object_hook=found_guests.without_marks)
    hosts = listed["_meta"]["hostvars"]
    assert hosts["web1"]["ansible_host"] == lab.leased(BRIDGE)
    # Its own host cannot ask it.
    assert hosts["web2"].get("ansible_host") == lab.leased(PRIVATE)
    asked_by = {one.get("asked_by") for one in hosts["web2"]["macvtap_guest"]["interfaces"][0]["addresses"]}
    assert "hv2" in asked_by
    assert hosts["web1"]["macvtap_guest"]["interfaces"][0]["mac"] == BRIDGE
    assert sorted(listed["guests"]["hosts"]) == ["idle1", "web1", "web2", "web3"]
    assert listed["mode_private"]["hosts"] == ["web2"]
    assert listed["uplink_up1"]["hosts"] == ["web3"]
    assert sorted(listed["hypervisor_hv1"]["hosts"]) == ["web1", "web2", "web3"]
    assert listed["hypervisor_hv2"]["hosts"] == ["idle1"]


def test_the_way_to_a_guest_through_its_hypervisor(lab: Lab, files: pathlib.Path) -> None:
    lab.hv.in_guest("web1", "sh", "-c", "nc -ll -p 2222 -e echo this is web1 >/dev/null 2>&1 & echo $! >/run/nc")
    try:
        with shim(lab.hv, "192.0.2.44"):
            asks = {**probes(lab), "hypervisors": "hv1", "ask_others": False}
            shown = inventory(files, "--host", "web1", jump="shim", prefer=["ipv4"], **asks)
            host = json.loads(shown.stdout, object_hook=found_guests.without_marks)
            option, command = shlex.split(host["ansible_ssh_common_args"])
            assert option == "-o"
            # What ssh does with it.
            command = command.partition("ProxyCommand=")[2].replace("%h", host["ansible_host"]).replace("%p", "2222")
            # ssh would make the input that it shares with the tests non-blocking, which Ansible refuses.
            done = subprocess.run(
                ["sh", "-c", command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.stdout == "this is web1\n", done.stderr
    finally:
        lab.hv.in_guest("web1", "sh", "-c", "kill $(cat /run/nc)")


def test_a_playbook_makes_a_guest_and_goes_on_inside_it(lab: Lab, tmp_path: pathlib.Path) -> None:
    guest_inside.install(lab.other)
    try:
        done = guest_inside.controller(lab.other, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        inside = done.stdout.partition("PLAY [Go on inside web9]")[2]
        assert "ok: [web9]" in inside, done.stdout
        assert all(word in inside for word in (guest_inside.MAC, f"inet {lab.leased(guest_inside.MAC)}/24"))
        # ssh connected to that address.
        assert (tmp_path / "known").read_text().startswith(f"{lab.leased(guest_inside.MAC)} ")
    finally:
        guest_inside.remove(lab.other)


def test_the_cache_is_used_until_it_is_refreshed(files: pathlib.Path) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(files / "cache")}
    asked = {"hypervisors": "hv2", "agent": False, **cache}
    first = inventory(files, "--graph", **asked)
    assert "WARNING" not in first.stderr, first.stderr
    (files / "hosts.yml").write_text(
        json.dumps({"hypervisors": {"hosts": {"hv2": {"ansible_host": "nowhere.invalid"}}}})
    )
    again = inventory(files, "--graph", **asked)
    assert "WARNING" not in again.stderr
    assert "hv2: its guests are missing" in inventory(files, "--graph", "--flush-cache", **asked).stderr
