# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt refuses, drops, or only fails with when a guest starts, and what libvirt_direct_iface makes of it."""

from __future__ import annotations

import pathlib
import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, attempt, domain, element, nic, ok
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

MULTICAST, BROADCAST, ZERO = "53:54:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"
LONG = "a-name-of-17-byte"
QBG = {
    "type": "802.1Qbg",
    "managerid": 1,
    "typeid": 2,
    "typeidversion": 3,
    "instanceid": "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f",
}


@pytest.fixture(scope="module")
def _hv(_hv: Hypervisor) -> Hypervisor:
    # up1 has another name, and one that is longer than a link's own name can be.
    for name in ("wire1", "wire-with-a-long-name"):
        _hv.run("ip", "link", "property", "add", "dev", "up1", "altname", name)
    _hv.run("ip", "link", "add", "br8", "type", "bridge")
    _hv.run("ip", "link", "add", "port8", "type", "veth", "peer", "name", "far8")
    _hv.run("ip", "link", "set", "port8", "master", "br8")
    # A macvtap link that somebody else has made.
    _hv.run("ip", "link", "add", "link", "up1", "name", "mt8", "address", C, "type", "macvtap", "mode", "bridge")
    _hv.run("ip", "link", "set", "mt8", "up")
    return _hv


def links(hv: Hypervisor) -> list[tuple[str, str, str]]:
    """Name, MAC address and mode of each link, without what changes by itself."""
    shown = hv.run("ip", "-d", "-o", "link")
    return re.findall(r"(?m)^\d+: (\S+):.*?link/\S+ (\S+).*?(macvtap mode \w+|$)", shown)


@pytest.mark.parametrize(
    ("interface", "fate", "message"),
    [
        (nic(A, more="<mtu size='1400'/>"), "define", "setting MTU on interface type direct is not supported"),
        (nic(A, mode="source"), "define", "Invalid value for attribute 'mode'"),
        (nic(A, mode="passthru"), "define", "Invalid value for attribute 'mode'"),
        (nic(A).replace("<source dev='eth0' mode='bridge'/>", ""), "define", "requires a 'source' element"),
        (nic(MULTICAST), "define", "expected unicast mac address"),
        (nic(BROADCAST), "define", "expected unicast mac address"),
        (nic(A, more="<driver rx_queue_size='500'/>"), "define", "power of two"),
        (nic(A, more="<vlan><tag id='5'/></vlan>"), "start", "vlan tag not supported"),
        (nic(ZERO), "start", "Cannot assign requested address"),
        (nic(A, more=f"<target dev='{LONG}'/>"), "start", "out of range"),
        (nic(A, "none0"), "start", "No such device"),
        (nic(A, "wire-with-a-long-name"), "start", "invalid interface name"),
        # The address of mt8.
        (nic(C, "up1"), "start", "Address already in use"),
        (nic(A, "lo"), "start", "Invalid argument"),
        (nic(A, "port8"), "start", "Device or resource busy"),
        (nic(A, more="<target dev='macvtap7'/>"), "dropped", "macvtap7"),
        (nic(A, more="<target dev='vnet7'/>"), "dropped", "vnet7"),
        (nic(A, more="<alias name='lan'/>"), "dropped", "<alias"),
        (nic(A, more="<driver queues='4'/>").replace("virtio", "e1000e"), "dropped", "queues"),
    ],
)
def test_libvirt_behaves_as_the_validation_assumes(hv: Hypervisor, interface: str, fate: str, message: str) -> None:
    if interface == nic(ZERO) and hv.release >= 11:
        pytest.skip("libvirt 11.3 takes an address that is all zero for none, and makes one up")
    refused = attempt(hv, "define", "/dev/stdin", stdin=domain("web1", interface))
    # Since 12.8 at the latest, libvirt does not even store a VLAN that it cannot have.
    if fate == "define" or (message == "vlan tag not supported" and hv.release >= 12):
        assert message in refused
        return
    assert refused == ""
    if fate == "start":
        assert message in attempt(hv, "start", "web1")
    else:
        assert message in interface
        assert message not in element(hv.dump("web1"), A)


WHAT_TO_DO = [
    ({"mtu": 1400}, "mtu", "Set it on the source, and inside the guest"),
    ({"target": "macvtap7"}, "target", "Use another one, such as web0"),
    ({"target": "vnet7"}, "target", "Use another one, such as web0"),
    ({"target": LONG}, "target", "has 17 bytes and the kernel allows 15"),
    ({"target": "mt8"}, "target", "a macvtap link on up1. libvirt would .* remove the existing one. Use another name"),
    ({"target": "wire1"}, "target", "wire1 is already a link of this host, a veth link"),
    ({"alias": "lan"}, "alias", "begin with ua-"),
    ({"driver": {"queues": 4}, "model": "e1000e"}, r"driver\.queues", "Set model: virtio, or leave it out"),
    ({"driver": {"rx_queue_size": 500}}, r"driver\.rx_queue_size", "256, 512 or 1024"),
    ({"vlan": 5}, "vlan", "ip link add link eth0 name eth0.5 type vlan id 5"),
    ({"vlan": 5, "mode": "passthrough"}, "vlan", "eth0 is not an SR-IOV virtual function"),
    ({"source": "none0"}, "source", "there is no link none0"),
    ({"source": "wire-without-such-a-name"}, "source", "there is no link wire-without-such-a-name on this host"),
    ({"source": "02:00:00:00:00:99"}, "source", "no link with the MAC address 02:00:00:00:00:99 on this host"),
    ({"source": "0000:99:00.0"}, "source", r"no link with the PCI address 0000:99:00\.0 on this host"),
    ({"source": "lo"}, "source", "the loopback link; macvtap requires an Ethernet link"),
    ({"source": "port8"}, "source", "a port of the bridge br8, .* Use br8 instead"),
    ({"source": "mt8"}, "source", r"is a macvtap link.* Use up1 instead"),
    # libvirtd 9.0 never returns from starting such a guest: it must not get that far.
    ({"virtualport": QBG}, r"virtualport\.type", "eth0 is a veth link, .* Use a physical NIC"),
]


@pytest.mark.parametrize(("given", "option", "message"), WHAT_TO_DO)
def test_what_would_fail_or_get_lost_is_refused_first(
    hv: Hypervisor, module: Module, given: Result, option: str, message: str
) -> None:
    hv.define(domain("web1", nic(A)))
    before = hv.dump("web1"), links(hv)
    # Of what is there, and of what is new.
    entries: list[Result] = [{"mac": B, "source": "eth0", "mode": "bridge", **given}, {"mac": A, **given}]
    for entry, check in zip(entries, (True, False)):
        failed = module(check=check, interfaces=[{"domain": "web1", **entry}])
        assert failed["rc"] == 1
        assert re.match(rf"interfaces\[0\]\.{option}: .*{message}", failed["msg"]), failed["msg"]
        assert "exception" not in failed
    assert (hv.dump("web1"), links(hv)) == before


@pytest.mark.parametrize(
    ("mac", "message"),
    [
        (MULTICAST, "multicast"),
        (BROADCAST, "broadcast|multicast"),
        (ZERO, "zero"),
        (B, f"{B} is already the address of an interface of domain web2.* leave mac out"),
        (C, f"{C} is the address of mt8, another link on up1"),
    ],
)
def test_an_address_that_cannot_be_is_refused(hv: Hypervisor, module: Module, mac: str, message: str) -> None:
    hv.define(domain("web1", nic(A)))
    hv.define(domain("web2", nic(B)))
    before = hv.dump("web1")
    failed = module(domain="web1", mac=mac, source="up1", mode="bridge")
    assert re.match(f"mac: .*({message})", failed["msg"]), failed["msg"]
    assert hv.dump("web1") == before


def test_a_mode_that_only_the_kernel_knows_is_refused_with_those_there_are(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    assert re.search(
        "mode must be one of: bridge, vepa, .* got: source", module(domain="web1", mac=A, mode="source")["msg"]
    )


def test_a_link_that_has_the_targets_name_survives(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, more="<target dev='web0'/>")))
    hv.define(domain("web2", nic(B)))
    for name in ("web1", "web2"):
        hv.virsh("start", name)
    before = links(hv)
    failed = module(domain="web2", mac=B, target="web0", live="replug", timeout=1)
    assert "target: web0 is already a link of this host, a macvtap link on eth0" in failed["msg"]
    assert links(hv) == before
    hv.virsh("destroy", "web1")
    # The same where the one that has it does not run, if it is in the task.
    failed = module(interfaces=[{"domain": "web1", "mac": A}, {"domain": "web2", "mac": B, "target": "web0"}])
    assert f"interfaces[1].target: web0 is also the target of interface {A} of domain web1" in failed["msg"]
    # Or if the host's other domains are looked at anyway, for the address of a new one.
    failed = module(domain="web2", mac=C, source="eth0", mode="bridge", target="web0")
    assert "target: web0 is already the target of an interface of domain web1" in failed["msg"]
    # It is libvirt that may take it away.
    hv.virsh("start", "web1")
    hv.define(domain("web3", nic(C, more="<target dev='web0'/>")))
    assert "File exists" in attempt(hv, "start", "web3")
    # 9.0 does, 11.3 does not.
    assert ("web0@" in str(links(hv))) == (hv.release >= 10)


def test_a_source_is_its_alternative_name_too(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, "wire1")))
    hv.virsh("start", "web1")
    # libvirt finds the link by it, and it is the same link.
    assert "@up1" in next(name for name, mac, _mode in links(hv) if mac == A)
    renamed = ok(module(domain="web1", source="up1"))
    assert [(c["field"], c["before"], c["after"], c["impact"]) for c in renamed["changes"]] == [
        ("source", "wire1", "up1", "config")
    ]
    assert renamed["restart_required"] == []
    again = ok(module(domain="web1", source="up1"))
    assert (again["changed"], again["restart_required"], len(again["interfaces"])) == (False, [], 1)


@pytest.mark.parametrize("spelling", ["colons", "dashes", "long name"])
def test_a_source_by_its_address_is_stored_by_name(hv: Hypervisor, module: Module, spelling: str) -> None:
    mac = next(mac for name, mac, _mode in links(hv) if name.partition("@")[0] == "up1")
    source = {"colons": mac, "dashes": mac.upper().replace(":", "-"), "long name": "wire-with-a-long-name"}[spelling]
    hv.define(domain("web1", nic(A)))
    predicted = ok(module(check=True, domain="web1", mac=B, source=source, mode="bridge"))
    done = ok(module(domain="web1", mac=B, source=source, mode="bridge"))
    assert predicted["changes"] == done["changes"]
    assert "<source dev='up1' mode='bridge'/>" in element(hv.dump("web1"), B)
    assert "dev='up1'" in done["diff"][0]["after"]
    hv.virsh("start", "web1")
    # It selects the interface, too, and stays if the interface is on this link by another name.
    again = ok(module(domain="web1", source=source))
    assert (again["changed"], again["restart_required"], again["interfaces"][0]["mac"]) == (False, [], B)
    hv.define(hv.dump("web1").replace("dev='up1'", "dev='wire1'"))
    assert not ok(module(domain="web1", mac=B, source=source))["changed"]
    # The guest has no operating system, and never releases it.
    gone = ok(module(domain="web1", source=source, state="absent", timeout=1))
    assert gone["changes"][0]["after"] == "absent"
    assert B not in hv.dump("web1")


def test_links_of_another_host_are_not_looked_up(module: Module, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "web1.xml"
    file.write_text(domain("web1", nic(A)))
    options: Result = {"mac": B, "source": "02:00:00:00:00:99", "mode": "bridge"}
    results = {
        "xml_file": run_module("libvirt_direct_iface", {"xml_file": str(file), **options}),
        "uri": module(uri="test:///default", domain="test", **options),
    }
    for option, failed in results.items():
        assert (failed["rc"], "exception" in failed) == (1, False)
        assert failed["msg"].startswith("source: '02:00:00:00:00:99' is not a name that libvirt can use, and ")
        assert option in failed["msg"]
        assert failed["msg"].endswith("Set the name that the link has there")


@pytest.mark.parametrize("what", ["address", "route"])
def test_a_guest_takes_no_source_that_the_host_is_reached_by(hv: Hypervisor, module: Module, what: str) -> None:
    hv.define(domain("web1", nic(A)))
    hv.run("ip", "link", "add", "own9", "type", "veth", "peer", "name", "far9")
    try:
        hv.run("ip", "link", "set", "own9", "up")
        if what == "address":
            hv.run("ip", "address", "add", "192.0.2.1/24", "dev", "own9")
            message = "own9 has addresses of the host (192.0.2.1/24), and a link in mode passthru on it"
        else:
            hv.run("ip", "route", "add", "203.0.113.0/24", "dev", "own9")
            message = "own9 has routes to 203.0.113.0/24, and a link in mode passthru on it"
        wanted: Result = {"domain": "web1", "mac": A, "source": "own9", "mode": "passthrough"}
        before = hv.dump("web1")
        for check in (True, False):
            refused = module(check=check, **wanted)
            assert str(refused.get("msg")).startswith(message), refused
            assert "or set allow_host_disconnect: true" in refused["msg"]
        assert hv.dump("web1") == before
        returned = ok(module(allow_host_disconnect=True, **wanted))
        assert message in str(returned["warnings"])
        # What is so already takes nothing more.
        assert not ok(module(**wanted))["changed"]
    finally:
        hv.run("ip", "link", "del", "own9")
