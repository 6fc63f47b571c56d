# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_network with odd names and contents, networks of others, and links that come and go."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Result, domain, impacts, ok
from direct_network import Networks, nic_on
from support import meanwhile, run_module, running_module

pytestmark = direct_iface.MARKS

ODD = ["län ☃", 'it\'s "quoted"', "a&b <c>", "n" * 200, "..lan", "-lan", "%s{}"]


def test_odd_names_work_as_others_do(networks: Networks) -> None:
    declared: Result = {"networks": [{"name": name, "interfaces": ["eth0"]} for name in ODD]}
    predicted = ok(networks(check=True, **declared))
    made = ok(networks(**declared))
    assert made["changes"] == predicted["changes"]
    assert not ok(networks(**declared))["changed"]
    assert {one["name"] for one in networks.info()} == set(ODD)
    changed: Result = {"networks": [{"name": name, "mode": "vepa"} for name in ODD]}
    assert len(ok(networks(**changed))["changes"]) == len(ODD)
    gone: Result = {"networks": [{"name": name, "state": "absent"} for name in ODD]}
    assert ok(networks(**gone))["changed"]
    assert not ok(networks(**gone))["changed"]
    assert networks.info() == []


@pytest.mark.parametrize(
    "name", ["", " ", "..", ".", "a/b", "/", " lan", "lan ", "n" * 252, "☃" * 84, "a\0b", "a\nb", "a\tb"]
)
def test_impossible_names_are_refused(networks: Networks, name: str) -> None:
    # Ansible logs what a module is given, by a function that takes no NUL in Debian 13.
    networks.refused("name|embedded null character", name=name, interfaces=["eth0"])


def test_check_mode_predicts_what_happens(networks: Networks) -> None:
    """Each of these in a row, on a network that a guest is on."""
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0"], portgroups=[{"name": "web", "default": True}]))
    hv.define(domain("web1", nic_on(A)))
    hv.virsh("start", "web1")
    steps: list[Result] = [
        {"portgroups": [{"name": "db", "default": True, "trust_guest_rx_filters": True}]},
        {"interfaces": ["up1", "eth0"]},
        {"interfaces": ["up1"], "mode": "private"},
        {"mode": "vepa", "force": True},
        {"portgroups": [{"name": "web", "state": "absent"}]},
        {"state": "inactive", "force": True},
        {"autostart": False},
        {"state": "inactive", "autostart": False, "mode": "bridge", "force": True},
        {"state": "absent", "force": True},
    ]
    for options in steps:
        predicted = ok(networks(check=True, name="lan", **options))
        done = ok(networks(name="lan", **options))
        assert (done["changed"], done["changes"], done["diff"]) == (
            predicted["changed"],
            predicted["changes"],
            predicted["diff"],
        ), options
        assert done["restart_required"] == predicted["restart_required"], options
        assert not ok(networks(name="lan", **options))["changed"], options
    assert "web1" in hv.virsh("list", "--name")


def test_what_a_guest_keeps_when_its_network_is_restarted_by_force(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0"]))
    hv.define(domain("web1", nic_on(A)))
    hv.virsh("start", "web1")
    links = hv.macvtaps()
    assert links
    done = ok(networks(name="lan", mode="private", force=True))
    assert impacts(done) == {"mode": "recreate"}
    assert hv.macvtaps() == links
    assert done["restart_required"] == [{"network": "lan", "domain": "web1", "mac": A, "fields": ["mode"]}]
    # It still counts as a user, although its port is gone.
    networks.refused("is used by web1", name="lan", state="inactive")
    hv.virsh("destroy", "web1")
    hv.virsh("start", "web1")
    assert ok(networks(name="lan"))["restart_required"] == []


UNKNOWN = """
<network xmlns:o='urn:o' connections='7' ipv6='yes'>
  <!-- kept by the one who wrote it -->
  <name>lan</name>
  <metadata><o:x><o:y>a &amp; b</o:y></o:x></metadata>
  <forward dev='eth0' mode='bridge'><!-- here --><interface dev='eth0'/></forward>
  <portgroup name='one' default='yes'><virtualport/></portgroup>
</network>"""


def test_what_the_module_does_not_know_stays(networks: Networks) -> None:
    networks.define(UNKNOWN)
    before = networks.xml("lan")
    ok(networks(name="lan", interfaces=["eth0", "up1"], portgroups=[{"name": "two"}], state="inactive"))
    after = networks.xml("lan")
    # libvirt itself drops comments, and what it does not know.
    new = [line.strip() for line in after.splitlines() if line not in before.splitlines()]
    assert new == ["<interface dev='up1'/>", "<portgroup name='two'>"]
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    assert "a &amp; b" in after
    assert not ok(networks(name="lan", interfaces=["eth0", "up1"], state="inactive"))["changed"]


@pytest.mark.parametrize(
    "inner",
    [
        "<forward mode='route'/><bridge name='virbr9'/><ip address='10.9.9.1'/>",
        "<forward mode='hostdev'><pf dev='eth0'/></forward>",
        "<bridge name='virbr9'/>",
    ],
)
def test_networks_of_other_forward_modes_stay(networks: Networks, inner: str) -> None:
    networks.define(f"<network><name>lan</name>{inner}</network>")
    for options in ({"interfaces": ["eth0"]}, {"state": "absent", "force": True}, {"state": "inactive"}):
        networks.refused("exists and is not a direct network", name="lan", **options)


def test_an_uplink_that_vanishes_or_is_renamed_is_no_obstacle_for_the_rest(networks: Networks) -> None:
    hv = networks.hv
    hv.run("ip", "link", "add", "up2", "type", "veth", "peer", "name", "far2")
    ok(networks(name="lan", interfaces=["eth0", "up2"]))
    hv.run("ip", "link", "del", "up2")
    # What is not declared is not validated.
    done = ok(networks(name="lan", portgroups=[{"name": "web"}]))
    assert done["changed"]
    assert "there is no link up2 on this host" in str(done["warnings"])
    networks.refused(r"interfaces\[1\]: there is no link up3", name="lan", interfaces=["eth0", "up3"])
    assert ok(networks(name="lan", interfaces=["eth0"]))["changed"]
    assert not ok(networks(name="lan", interfaces=["eth0"]))["changed"]


def test_a_link_that_goes_during_the_run(networks: Networks) -> None:
    hv = networks.hv
    hv.run("ip", "link", "add", "up2", "type", "veth", "peer", "name", "far2")
    gone = meanwhile("after", "_networks.planner.plan_of", ["sh", "-c", "ip link del up2; true"])
    params: Result = {"name": "lan", "interfaces": ["up2"]}
    done = run_module("libvirt_direct_network", params, prefix=hv.prefix, patch=gone)
    # libvirt does not look at links. Either is true: it was made, or it was taken back.
    names = networks.names()
    assert ("lan" in names) == (not done.get("failed")), done
    if done.get("failed"):
        assert "there is no link up2" in done["msg"]
        assert done["msg"].endswith("The host is as it was before")


def test_two_runs_at_once_both_succeed(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    portgroups = [[{"name": name}] for name in ("one", "two")]
    params = [{"name": "lan", "portgroups": groups} for groups in portgroups]
    with running_module("libvirt_direct_network", params[0], prefix=networks.hv.prefix) as process:
        ok(run_module("libvirt_direct_network", params[1], prefix=networks.hv.prefix))
        assert process.wait(120) == 0
    assert set(re.findall("portgroup name='(.*?)'", networks.xml("lan"))) == {"one", "two"}


def test_pools_of_links_that_have_no_virtual_functions_are_refused(networks: Networks) -> None:
    networks.refused("^pf: eth0 is a veth link, which has no virtual functions", name="lan", pf="eth0")
    made = ok(networks(name="lan", pf="eth0", state="inactive"))
    assert (made["networks"][0]["pf"], made["networks"][0]["mode"]) == ("eth0", "passthrough")
    networks.refused("^pf: eth0 is a veth link", name="lan")
    # libvirt's own words, if it is started by other means.
    assert "Vf" in direct_iface.attempt(networks.hv, "net-start", "lan")


def test_a_second_default_portgroup_takes_over(networks: Networks) -> None:
    first: Result = {"name": "lan", "interfaces": ["eth0"], "portgroups": [{"name": "one", "default": True}]}
    ok(networks(**first))
    second: Result = {"name": "lan", "portgroups": [{"name": "two", "default": True}]}
    predicted = ok(networks(check=True, **second))
    done = ok(networks(**second))
    assert done["changes"] == predicted["changes"]
    assert [one["name"] for one in done["networks"][0]["portgroups"] if one["default"]] == ["two"]
    (live,) = [one["live"] for one in networks.info()]
    assert [one["name"] for one in live["portgroups"] if one["default"]] == ["two"]


def test_a_transient_network_in_use(networks: Networks) -> None:
    hv = networks.hv
    transient: t.Final = "<network><name>lan</name><forward mode='bridge' dev='eth0'/></network>"
    hv.virsh("net-create", "/dev/stdin", stdin=transient)
    hv.define(domain("web1", nic_on(A)))
    hv.define(domain("web2", nic_on(B)))
    hv.virsh("start", "web1")
    for state in ("absent", "inactive"):
        networks.refused("is used by web1 .*running.*, web2", name="lan", state=state)
    assert impacts(ok(networks(name="lan", mode="vepa")))["mode"] == "restart"
    hv.virsh("start", "web2")
    assert "mode='bridge'" in hv.dump("web2", live=True)
