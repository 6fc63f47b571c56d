# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which interface is meant, which ones go, and what stays of one that is converted."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, impacts, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

NAMED = "<target dev='web0'/>", "<alias name='ua-lan'/>"
BRIDGED = f"<interface type='user'><mac address='{C}'/><model type='virtio'/></interface>"


def macs(document: str) -> list[str]:
    return re.findall(r"<mac address='(.*?)'", document)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    ("by", "mac"),
    [
        ({"alias": "ua-lan"}, B),
        ({"target": "web0"}, A),
        ({"source": "up1"}, B),
        # Of what it is found by, the first counts: the others are what it is to have.
        ({"alias": "ua-lan", "source": "eth0"}, B),
    ],
)
def test_an_interface_is_found_by_what_it_has(
    hv: Hypervisor, module: Module, by: Result, mac: str, running: bool
) -> None:
    hv.define(domain("web1", nic(A, more=NAMED[0]), nic(B, "up1", more=NAMED[1]), BRIDGED))
    if running:
        hv.virsh("start", "web1")
    before = hv.dump("web1")
    done = ok(module(domain="web1", **by, mode="private"))
    assert [i["mac"] for i in done["interfaces"]] == [mac]
    assert impacts(done)["mode"] == ("live" if running else "config")
    (other,) = {A, B} - {mac}
    after = hv.dump("web1")
    assert "mode='private'" in element(after, mac)
    assert [element(after, m) for m in (other, C)] == [element(before, m) for m in (other, C)]
    assert macs(after) == [A, B, C]
    assert not ok(module(domain="web1", **by, mode="private"))["changed"]


def test_removal_by_what_it_has(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, more=NAMED[0]), nic(B, "up1", more=NAMED[1]), BRIDGED))
    entries: list[Result] = [{"domain": "web1", "alias": "ua-lan"}, {"domain": "web1", "target": "web0"}]
    assert ok(module(interfaces=entries, state="absent"))["changed"]
    assert macs(hv.dump("web1")) == [C]
    assert not ok(module(interfaces=entries, state="absent"))["changed"]


def test_what_fits_several_or_one_of_another_type_is_refused(hv: Hypervisor, module: Module) -> None:
    aliased = BRIDGED.replace("</interface>", "<alias name='ua-user'/></interface>")
    hv.define(domain("web1", nic(A), nic(B), aliased))
    before = hv.dump("web1")
    several = module(domain="web1", source="eth0", mode="private")["msg"]
    assert re.match(rf"source: .* 2 direct interfaces with the source eth0: {A}.*; {B}.* by its MAC address", several)
    assert re.match("alias: .* of type 'user'; .* convert", module(domain="web1", alias="ua-user", mode="vepa")["msg"])
    twice = module(interfaces=[{"domain": "web1", "mac": A}, {"domain": "web1", "mac": A.upper()}])["msg"]
    assert re.match(r"interfaces\[1\]\.mac: .* declared twice", twice)
    assert hv.dump("web1") == before


def test_interfaces_selected_by_alias_get_different_addresses(hv: Hypervisor, module: Module) -> None:
    for name in ("web1", "web2"):
        hv.define(domain(name))
    entries = [{"domain": name, "alias": f"ua-{which}"} for name in ("web1", "web2") for which in ("lan", "san")]
    declared: Result = {"interfaces": entries, "source": "eth0", "mode": "bridge", "mac_prefix": "02:aa"}
    done = ok(module(**declared))
    made = [interface["mac"] for interface in done["interfaces"]]
    assert len(set(made)) == 4
    assert all(mac.startswith("02:aa:") for mac in made)
    assert [*macs(hv.dump("web1")), *macs(hv.dump("web2"))] == made
    for name in ("web1", "web2"):
        hv.virsh("start", name)
    again = ok(module(**declared))
    assert (again["changed"], [interface["mac"] for interface in again["interfaces"]]) == (False, made)


def test_purge_takes_what_is_direct_and_not_declared_of_the_named_domains(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A), nic(B, "up1"), BRIDGED))
    hv.define(domain("web2", nic("52:54:00:00:00:0d")))
    before = hv.dump("web1"), hv.dump("web2")
    declared: Result = {"interfaces": [{"domain": "web1", "mac": A}], "purge": True}
    predicted = ok(module(check=True, **declared))
    assert (hv.dump("web1"), hv.dump("web2")) == before
    done = ok(module(**declared))
    assert predicted["changes"] == done["changes"]
    assert {change["target"] for change in done["changes"]} == {f"web1 {B}"}
    assert macs(hv.dump("web1")) == [A, C]
    assert hv.dump("web2") == before[1]
    assert not ok(module(**declared))["changed"]


def test_what_was_done_is_kept_if_asked_for(hv: Hypervisor, module: Module) -> None:
    for name, mac in (("web1", A), ("web2", B), ("web3", C)):
        hv.define(domain(name, nic(mac)))
    before = hv.dump("web3")
    entries: list[Result] = [
        {"domain": "web1", "mac": A, "mode": "private"},
        # libvirt refuses it when it is defined.
        {"domain": "web2", "mac": B, "boot_order": 1},
        {"domain": "web3", "mac": C, "mode": "private"},
    ]
    failed = module(interfaces=entries, on_error="keep")
    assert failed["rc"] == 1
    assert failed["msg"].startswith("interfaces[1]: libvirt refuses the configuration of domain 'web2'")
    assert failed["msg"].endswith("The changes made so far were kept, as requested")
    assert "mode='private'" in element(hv.dump("web1"), A)
    assert "boot order" not in element(hv.dump("web2"), B)
    assert hv.dump("web3") == before
    ok(module(interfaces=[entries[0], entries[2]]))
    assert "mode='private'" in element(hv.dump("web3"), C)


KEPT = "<model type='e1000e'/><boot order='1'/><alias name='ua-lan'/><address type='pci' bus='0x03' slot='0x00'/>"


@pytest.mark.parametrize(
    ("kind", "inside", "lost"),
    [
        ("bridge", "<source bridge='br0'/><filterref filter='clean-traffic'/><mtu size='1400'/>", "filterref, mtu"),
        ("bridge", "<source bridge='br0'/><virtualport type='openvswitch'/><vlan><tag id='7'/></vlan>", "vlan"),
        ("network", "<source network='default'/><bandwidth><inbound average='1000' floor='200'/></bandwidth>", ""),
        ("ethernet", "<target dev='mt0' managed='no'/><script path='/bin/true'/>", "script"),
    ],
)
def test_a_converted_interface_keeps_what_the_guest_knows_it_by(
    hv: Hypervisor, module: Module, kind: str, inside: str, lost: str
) -> None:
    was = f"<interface type='{kind}'><mac address='{A}'/>{inside}{KEPT}</interface>"
    hv.define(domain("web1", was, nic(B)))
    before = hv.dump("web1")
    declared: Result = {"domain": "web1", "mac": A, "source": "up1", "mode": "bridge", "convert": True}
    predicted = ok(module(check=True, **declared))
    assert hv.dump("web1") == before
    done = ok(module(**declared))
    assert predicted["changes"] == done["changes"]
    assert (done["changes"][0]["field"], done["changes"][0]["before"]) == ("type", kind)
    now = element(hv.dump("web1"), A)
    assert "<interface type='direct'" in now
    assert "<source dev='up1' mode='bridge'/>" in now
    for kept in ("model type='e1000e'", "boot order='1'", "alias name='ua-lan'", "bus='0x03'"):
        assert kept in now
    for gone in ("filterref", "mtu", "virtualport", "vlan", "floor", "script", "managed", "mt0"):
        assert gone not in now
    for element_name in lost.split(", "):
        assert element_name in str(done.get("warnings", []))
    # Nothing else in the domain.
    assert hv.dump("web1").replace(now, "") == before.replace(element(before, A), "")
    assert not ok(module(**declared))["changed"]
    # Not every kernel has what libvirt limits bandwidth with.
    if "bandwidth" not in now:
        hv.virsh("start", "web1")
        assert A in hv.run("ip", "link")


@pytest.mark.parametrize("running", [False, True])
def test_a_nic_that_was_moved_is_not_found_where_it_was(hv: Hypervisor, module: Module, running: bool) -> None:
    hv.define(domain("web1", nic(A)))
    if running:
        hv.virsh("start", "web1")
    ok(module(domain="web1", mac=A, source="up1"))
    assert not ok(module(domain="web1", source="eth0", state="absent"))["changed"]
    assert "<source dev='up1' mode='bridge'/>" in element(hv.dump("web1"), A)
    added = ok(module(domain="web1", source="eth0", mode="bridge"))
    assert added["interfaces"][0]["mac"] != A
    assert "<source dev='up1' mode='bridge'/>" in element(hv.dump("web1"), A)
    twice = [{"domain": "web1", "source": "eth0"}, {"domain": "web1", "mac": C, "source": "eth0", "mode": "bridge"}]
    for check in (True, False):
        assert "would have 2 direct interfaces" in module(interfaces=twice, check=check)["msg"]
    assert C not in hv.dump("web1")


def test_an_attached_interface_of_another_type_is_left_alone(started: Hypervisor, module: Module) -> None:
    started.run("ip", "link", "add", "br7", "type", "bridge")
    try:
        theirs = (
            f"<interface type='bridge'><mac address='{B}'/><source bridge='br7'/><model type='virtio'/></interface>"
        )
        started.virsh("attach-device", "web1", "/dev/stdin", "--live", stdin=theirs)
        for convert in (False, True):
            done = ok(module(domain="web1", mac=B, timeout=1, state="absent", convert=convert))
            assert (done["changed"], done["pending"]) == (False, [])
            assert "as an interface of type 'bridge', which is left alone" in str(done["warnings"])
        givens: list[Result] = [{"mode": "private"}, {"source": "eth0", "mode": "bridge"}]
        for given in givens:
            assert "of type 'bridge'; this module" in module(domain="web1", mac=B, **given)["msg"]
        assert B not in started.dump("web1")
        assert B in started.dump("web1", live=True)
    finally:
        started.virsh("destroy", "web1")
        started.run("ip", "link", "del", "br7")


def test_a_stopped_domain_that_shares_a_source_with_passthrough_is_warned_of(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, "up1")))
    hv.define(domain("web2", nic(B, "up1")))
    for check in (True, False):
        done = ok(module(check=check, domain="web1", mac=A, mode="passthrough"))
        assert f"also web2 {B}. The second of these guests or links does not start" in str(done["warnings"])
    assert not ok(module(domain="web1", mac=A, mode="passthrough")).get("warnings")
    assert "in that mode" in str(ok(module(domain="web2", mac=B, mode="vepa"))["warnings"])


def test_a_domain_that_is_on_another_host_can_be_left_out(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    entries: list[Result] = [{"domain": "web2", "mac": B}, {"domain": "web1", "mac": A}]
    before = hv.dump("web1")
    refused = module(interfaces=entries, mode="private")
    assert refused["failed"]
    assert "interfaces[0].domain: no domain 'web2'" in refused["msg"]
    assert hv.dump("web1") == before
    predicted = ok(module(interfaces=entries, mode="private", on_missing="skip", purge=True, check=True))
    done = ok(module(interfaces=entries, mode="private", on_missing="skip", purge=True))
    assert predicted["changes"] == done["changes"] != []
    assert (done["missing"], [i["domain"] for i in done["interfaces"]]) == (["web2"], ["web1"])
    assert "warnings" not in done
    again = ok(module(interfaces=entries, mode="private", on_missing="skip", purge=True))
    assert (again["changed"], again["missing"]) == (False, ["web2"])
    only_missing = ok(module(interfaces=entries[:1], on_missing="skip", purge=True))
    assert not only_missing["changed"]
    assert "warnings" not in only_missing
    hv.define(domain("web2"))
    assert ok(module(interfaces=entries, source="eth0", mode="private", on_missing="skip"))["missing"] == []
    assert B in hv.dump("web2")
    refused = module(xml_file="/tmp/web2.xml", on_missing="skip")
    assert refused["msg"].startswith("on_missing: cannot be used with xml_file")
