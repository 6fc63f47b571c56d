# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On what the kernel makes a macvtap link, on what not, and what becomes of it when something happens to its parent."""

from __future__ import annotations

import subprocess
import time
import typing as t

import pytest
from support import PYTHONS

if t.TYPE_CHECKING:
    from namespaces import Namespace

MAC = "52:54:00:00:00:01"
BROKEN = 4294967295


def new(parent: str, **params: t.Any) -> dict[str, t.Any]:
    return {"name": "mt0", "parent": parent, "mode": "bridge", **params}


def test_a_name_that_a_link_of_another_kind_has(netns: Namespace) -> None:
    netns.ip("link", "add", "link", "eth0", "name", "mv0", "type", "macvlan", "mode", "bridge")
    netns.refuses(new("eth0", name="mv0"), "^name: mv0 already exists and is a macvlan link, not a macvtap link")
    netns.refuses({"name": "eth1", "state": "absent"}, "^name: eth1 already exists and is a veth link, not a")


def test_a_name_that_is_another_links_alternative_name(netns: Namespace, lower: str) -> None:
    netns.ip("link", "property", "add", "dev", lower, "altname", "uplink")
    netns.refuses(new("eth0", name="uplink"), f"^name: uplink is already a name of the link {lower}")


@pytest.mark.parametrize("name", ["mt%d", "a/b", "a b", "..", "a234567890123456"])
def test_names_that_the_kernel_would_refuse_or_fill_in(netns: Namespace, name: str) -> None:
    netns.refuses(new("eth0", name=name), rf"^name: '{name}' (is not a valid link name|has 16 bytes)")


def test_passthru_is_alone_on_its_parent(netns: Namespace) -> None:
    netns.ip("link", "add", "link", "eth1", "name", "mv0", "type", "macvlan", "mode", "bridge")
    netns.refuses(new("eth1", mode="passthru"), "^mode: .* eth1 would have mt0 in that mode and also mv0")
    assert netns.run(new("eth0", name="pt0", mode="passthru"))["changed"]
    netns.refuses(new("eth0"), "^mode: .* eth0 would have pt0 in that mode and also mt0")
    # Its address is the parent's, and stays so without being a change at each run.
    again = new("eth0", name="pt0", mode="passthru")
    netns.refuses({**again, "mac": MAC}, "^mac: .* differs from the MAC address of the parent eth0")
    assert not netns.run({**again, "mac": netns.link("eth0")["address"]})["changed"]


def test_the_room_that_a_task_makes_may_be_used_in_it(netns: Namespace) -> None:
    netns.run(new("eth0", name="pt0", mode="passthru"))
    links = [{"name": "mt0", "mode": "bridge", "mac": MAC}, {"name": "pt0", "state": "absent"}]
    netns.run({"parent": "eth0", "links": links})
    links = [{"name": "mt1", "mac": MAC}, {"name": "mt0", "state": "absent"}]
    netns.run({"parent": "eth0", "mode": "bridge", "links": links})
    assert netns.names() == {"mt1"}
    assert netns.link("mt1")["address"] == MAC


def test_a_port_of_a_bridge_names_the_bridge_and_the_bridge_will_do(netns: Namespace, lower: str) -> None:
    netns.ip("link", "add", "br0", "type", "bridge")
    netns.ip("link", "set", lower, "master", "br0")
    netns.refuses(
        new(lower), f"^parent: {lower} is a port of the bridge br0, which receives all its frames. Use br0 instead"
    )
    assert netns.run(new("br0"))["links"][0]["parent"] == "br0"


@pytest.mark.parametrize(
    "make", [("tuntap", "add", "mode", "tap", "name", "odd0"), ("link", "add", "odd0", "type", "ifb")]
)
def test_other_ethernet_links_will_do_too(netns: Namespace, make: tuple[str, ...]) -> None:
    netns.ip(*make)
    try:
        assert netns.run(new("odd0"))["links"][0]["parent"] == "odd0"
    finally:
        netns.ip("link", "del", "odd0")


def test_parents_that_are_no_ethernet_links(netns: Namespace) -> None:
    netns.refuses(new("lo"), "^parent: lo is the loopback link; macvtap requires an Ethernet link")
    netns.ip("tuntap", "add", "mode", "tun", "name", "tun0")
    try:
        netns.refuses(new("tun0"), r"^parent: tun0 is not an Ethernet link \(hardware type 65534\)")
    finally:
        netns.ip("link", "del", "tun0")


@pytest.mark.parametrize("kind", ["macvtap", "macvlan"])
def test_a_parent_that_is_itself_one_of_them_names_the_link_below(netns: Namespace, kind: str) -> None:
    netns.ip("link", "add", "link", "eth0", "name", "top0", "type", kind, "mode", "bridge")
    netns.refuses(new("top0"), rf"^parent: top0 is a {kind} link; .* Use eth0 instead")


def test_a_parent_that_is_missing_names_the_near_ones(netns: Namespace) -> None:
    netns.refuses(new("eht0"), "^parent: there is no link eht0 on this host; did you mean eth0")
    netns.refuses({"name": "mt0"}, "^parent: is required, since the link mt0 does not exist yet")


@pytest.mark.parametrize("python", PYTHONS)
def test_a_parent_by_its_alternative_name_and_by_its_address(netns: Namespace, lower: str, python: str) -> None:
    netns.ip("link", "property", "add", "dev", lower, "altname", "enp1s0-the-uplink")
    address = netns.link(lower)["address"]
    # Links that have its address from it are not meant.
    netns.run(new(lower, name="pt0", mode="passthru"), python=python)
    netns.run({"name": "pt0", "state": "absent"}, python=python)
    first = netns.run(new("enp1s0-the-uplink"), python=python)
    assert first["links"][0]["parent"] == lower
    assert netns.link("mt0")["link"] == lower
    bare = address.replace(":", "")
    dotted = f"{bare[:4]}.{bare[4:8]}.{bare[8:]}"
    for message in (address, address.upper(), address.replace(":", "-"), bare, dotted, lower):
        assert not netns.run(new(message), python=python)["changed"]
    netns.refuses(new(MAC), f"^parent: no link with the MAC address {MAC} on this host", python=python)


def test_the_address_of_a_passthru_link_means_the_link_below_it(netns: Namespace, lower: str) -> None:
    wanted = new(lower, mode="passthru")
    netns.run(wanted)
    assert not netns.run({**wanted, "parent": netns.link(lower)["address"]})["changed"]


def break_lower(netns: Namespace, lower: str) -> None:
    """Drive the promiscuity of ``lower`` below zero, as a kernel bug lets one do; leaves the link pt0."""
    netns.ip("link", "add", "link", lower, "name", "pt0", "type", "macvtap", "mode", "passthru")
    netns.ip("link", "set", "pt0", "type", "macvtap", "mode", "passthru", "nopromisc")
    if netns.link(lower)["promiscuity"] != BROKEN:
        pytest.skip("this kernel does not have the bug")


def test_a_parent_whose_promiscuity_is_broken(netns: Namespace, lower: str) -> None:
    break_lower(netns, lower)
    netns.ip("link", "del", "pt0")
    for mode in ("bridge", "passthru"):
        netns.refuses(new(lower, mode=mode), rf"^parent: the promiscuity count of {lower} is {BROKEN}: a kernel bug")
    # What is there can still be removed.
    netns.ip("link", "add", "link", lower, "name", "pt0", "type", "macvtap", "mode", "passthru")
    assert netns.run({"name": "pt0", "state": "absent"})["changed"]


def test_the_module_does_not_break_a_parent(netns: Namespace, lower: str) -> None:
    netns.run(new(lower, mode="passthru", state="down"))
    changed = netns.run({"name": "mt0", "state": "down", "promiscuous": False})
    assert [(change["field"], change["impact"]) for change in changed["changes"]] == [("promiscuous", "recreate")]
    assert netns.link("mt0")["linkinfo"]["info_data"]["nopromisc"]
    assert netns.link(lower)["promiscuity"] == 0
    netns.run({"name": "mt0", "state": "up"})
    assert netns.link(lower)["promiscuity"] == 0


def test_what_happens_to_the_parent(netns: Namespace, lower: str) -> None:
    wanted = new(lower, mtu=1400)
    netns.run(wanted)
    netns.ip("link", "set", lower, "down")
    assert not netns.run(wanted)["changed"]
    netns.ip("link", "set", lower, "up")
    # The kernel clamps the link with its parent, and does not raise it again.
    netns.ip("link", "set", lower, "mtu", "1300")
    assert netns.link("mt0")["mtu"] == 1300
    netns.refuses(wanted, rf"^mtu: 1400 exceeds the MTU of the parent {lower} \(1300\)")
    netns.ip("link", "set", lower, "mtu", "1500")
    assert netns.link("mt0")["mtu"] == 1300
    assert [change["field"] for change in netns.run(wanted)["changes"]] == ["mtu"]
    # A new name is no new parent.
    netns.ip("link", "set", lower, "down")
    netns.ip("link", "set", lower, "name", "renamed0")
    netns.ip("link", "set", "renamed0", "up")
    assert not netns.run({**wanted, "parent": "renamed0"})["changed"]
    netns.refuses(wanted, f"^parent: there is no link {lower} on this host")
    netns.ip("link", "del", "renamed0")
    assert netns.names() == set()
    netns.refuses({**wanted, "parent": "renamed0"}, "^parent: there is no link renamed0 on this host")


def test_a_parent_that_is_down_is_no_hindrance(netns: Namespace, lower: str) -> None:
    netns.ip("link", "set", lower, "down")
    wanted = new(lower)
    assert netns.run(wanted)["links"][0]["state"] == "up"
    assert "LOWERLAYERDOWN" in netns.ip("link", "show", "mt0")
    netns.ip("link", "set", lower, "up")
    # The link recovers by itself.
    assert not netns.run(wanted)["changed"]
    assert "state UP" in netns.ip("link", "show", "mt0")


def test_a_link_whose_parent_is_in_another_namespace(netns: Namespace) -> None:
    other = f"{netns.name}-other"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        for words in (("add", "low9", "type", "veth", "peer", "name", "lowfar9"), ("set", "low9", "up")):
            subprocess.run(["ip", "-n", other, "link", *words], check=True)
        beyond = ["link", "low9", "name", "mt0", "netns", netns.name, "type", "macvtap", "mode", "vepa"]
        subprocess.run(["ip", "-n", other, "link", "add", *beyond], check=True)
        changed = netns.run({"name": "mt0", "mode": "bridge", "state": "present"})
        assert [(change["field"], change["impact"]) for change in changed["changes"]] == [("mode", "in_place")]
        assert changed["links"][0]["parent"] is None
        for what in ({"parent": "eth0"}, {"mode": "passthru"}, {"queues": {"tx": 4}}):
            for check in (True, False):
                netns.refuses(
                    {"name": "mt0", "state": "present", **what},
                    "mt0 has its parent in another network names",
                    check=check,
                )
        assert netns.run({"name": "mt0", "state": "absent"})["changed"]
        assert netns.names() == set()
    finally:
        subprocess.run(["ip", "netns", "del", other], check=True)
        # The kernel takes the namespace down in its own time.
        time.sleep(0.1)
