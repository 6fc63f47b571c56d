# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt and QEMU make of a guest's interfaces by themselves, and how libvirt_direct_iface shows it."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, attempt, domain, element, impacts, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def test_a_new_address_at_each_define_never_comes_through_the_module(hv: Hypervisor, module: Module) -> None:
    nameless = nic(A).replace(f"<mac address='{A}'/>", "")
    found = set()
    for _again in range(2):
        hv.define(domain("web1", nameless))
        found |= set(re.findall("<mac address='(.*?)'", hv.dump("web1")))
        hv.virsh("undefine", "web1")
    assert len(found) == 2

    hv.define(domain("web1"))
    hv.define(domain("web2"))
    declared: Result = {"interfaces": [{"domain": "web1"}, {"domain": "web2"}], "source": "up1", "mode": "bridge"}
    predicted = ok(module(check=True, **declared))
    done = ok(module(**declared))
    macs = [interface["mac"] for interface in done["interfaces"]]
    assert macs == [interface["mac"] for interface in predicted["interfaces"]]
    assert len(set(macs)) == 2
    assert all(mac.startswith("52:54:00:") for mac in macs)
    again = ok(module(**declared))
    assert (again["changed"], again["interfaces"]) == (False, done["interfaces"])
    ok(module(**declared, state="absent"))
    assert "<interface " not in hv.dump("web1")
    assert [interface["mac"] for interface in ok(module(**declared))["interfaces"]] == macs


def test_an_address_in_any_spelling_is_the_same_interface(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A.upper())))
    before = hv.dump("web1")
    for mac in (A.upper(), A.replace(":", "-"), "5254.0000.000A"):
        assert not ok(module(domain="web1", mac=mac, source="eth0", mode="bridge"))["changed"]
    assert hv.dump("web1") == before


def test_a_new_nic_is_virtio_where_libvirts_default_has_100_megabits(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A).replace("<model type='virtio'/>", "")))
    assert "rtl8139" in element(hv.dump("web1"), A)
    ok(module(domain="web1", mac=B, source="eth0", mode="bridge"))
    assert "virtio" in element(hv.dump("web1"), B)
    # One that exists keeps its card, and what only virtio has is not claimed for it.
    assert not ok(module(domain="web1", mac=A))["changed"]
    assert "for NIC model rtl8139" in module(domain="web1", mac=A, driver={"queues": 2})["msg"]


def test_a_nic_that_is_no_longer_virtio_is_shown_without_its_driver(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, more="<driver name='vhost' queues='4'/>")))
    done = ok(module(domain="web1", mac=A, model="e1000e"))
    assert [(c["field"], c["after"]) for c in done["changes"]] == [
        ("model", "e1000e"),
        ("driver.name", None),
        ("driver.queues", None),
    ]
    assert "driver" not in done["diff"][0]["after"]
    assert "driver" not in element(hv.dump("web1"), A)
    assert not ok(module(domain="web1", mac=A, model="e1000e"))["changed"]


def test_comments_in_the_metadata_stay(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)).replace("<interface/></x:y>", "<!-- kept <interface> --><interface/></x:y>"))
    ok(module(domain="web1", mac=A, mode="private"))
    assert "<!-- kept <interface> -->" in hv.dump("web1")


EVERYTHING: Result = {
    "source": "up1",
    "target": "web0",
    "model": "virtio-non-transitional",
    "driver": {"name": "qemu", "queues": 2},
    "boot_order": 1,
    "alias": "ua-lan",
    "rom": {"bar": False},
    "acpi_index": 7,
    "pci_address": "0000:05:00.0",
}
FIELDS = {
    "source",
    "target",
    "model",
    "driver.name",
    "driver.queues",
    "boot_order",
    "alias",
    "rom.bar",
    "acpi_index",
    "pci_address",
}


def test_what_libvirt_refuses_to_change_live_is_due_at_the_restart(hv: Hypervisor, module: Module) -> None:
    # No boot order beside <boot dev='hd'/>, which libvirt adds where no device has one.
    hv.define(domain("web1", nic(A, more="<boot order='3'/>")))
    hv.virsh("start", "web1")
    live = element(hv.dump("web1", live=True), A)
    declared: Result = {"domain": "web1", "mac": A, **EVERYTHING}
    predicted = ok(module(check=True, live="replug", **declared))
    assert impacts(predicted) == dict.fromkeys(FIELDS, "replug")
    done = ok(module(**declared))
    assert impacts(done) == dict.fromkeys(FIELDS, "restart")
    assert set(done["restart_required"][0]["fields"]) == FIELDS
    assert element(hv.dump("web1", live=True), A) == live
    hv.virsh("destroy", "web1")
    hv.virsh("start", "web1")
    again = ok(module(**declared))
    assert (again["changed"], again["restart_required"]) == (False, [])

    # That is how it is because libvirt refuses each.
    live = element(hv.dump("web1", live=True), A)
    for was, wanted in (
        ("dev='up1'", "dev='eth0'"),
        ("mode='bridge'", "mode='vepa'"),
        ("web0", "web1"),
        ("virtio-non-transitional", "virtio"),
        ("queues='2'", "queues='1'"),
        ("boot order='1'", "boot order='2'"),
        ("ua-lan", "ua-wan"),
        ("bar='off'", "bar='on'"),
        ("index='7'", "index='8'"),
        ("bus='0x05'", "bus='0x06'"),
    ):
        assert was in live
        assert attempt(hv, "update-device", "web1", "/dev/stdin", "--live", stdin=live.replace(was, wanted)), wanted
    assert element(hv.dump("web1", live=True), A) == live


def test_libvirt_9_reports_a_change_of_trust_that_it_does_not_make(hv: Hypervisor) -> None:
    if not hv.run("virsh", "--version").startswith("9."):
        pytest.skip("libvirt 10.0 changes it")
    hv.define(domain("web1", nic(A)))
    hv.virsh("start", "web1")
    live = element(hv.dump("web1", live=True), A)
    trusting = live.replace("type='direct'", "type='direct' trustGuestRxFilters='yes'")
    assert attempt(hv, "update-device", "web1", "/dev/stdin", "--live", stdin=trusting) == ""
    assert element(hv.dump("web1", live=True), A) == live


def test_a_boot_order_beside_another_kind_of_it_is_explained(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    before = hv.dump("web1")
    assert "<boot dev='hd'/>" in before
    failed = module(domain="web1", mac=A, boot_order=1)
    assert failed["msg"].startswith("libvirt refuses the configuration of domain 'web1': ")
    assert "Remove <boot dev=…/> from the domain's <os> first" in failed["msg"]
    assert hv.dump("web1") == before


def test_names_that_libvirt_generates_are_no_difference(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A), nic(B, more="<target dev='web0'/>")))
    entries = [{"domain": "web1", "mac": A}, {"domain": "web1", "mac": B, "target": "web0"}]
    seen = []
    for _again in range(2):
        hv.virsh("start", "web1")
        result = ok(module(interfaces=entries))
        assert (result["changed"], result["restart_required"]) == (False, [])
        seen.append([interface["live"]["target"] for interface in result["interfaces"]])
        hv.virsh("destroy", "web1")
    (one, own), (other, own_again) = seen
    assert one != other
    assert own == own_again == "web0"
    assert "target" not in result["interfaces"][0]["stored"]
    # Leaving it to libvirt again takes the name away, and that stays so.
    assert [c["after"] for c in ok(module(domain="web1", mac=B, target=""))["changes"]] == [None]
    assert not ok(module(domain="web1", mac=B, target=""))["changed"]


def test_the_mtu_of_a_running_guests_link_is_the_kernels_matter(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, more="<target dev='web0'/>")))
    hv.virsh("start", "web1")
    before = hv.dump("web1", live=True)
    hv.run("ip", "link", "set", "web0", "mtu", "1400")
    assert " mtu 1400 " in hv.run("ip", "link", "show", "web0")
    assert hv.dump("web1", live=True) == before
    again = ok(module(domain="web1", mac=A, source="eth0", mode="bridge"))
    assert (again["changed"], again["restart_required"]) == (False, [])
    assert "mtu" not in str(again["interfaces"])


def test_libvirt_reports_a_nic_as_gone_that_is_not(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A), nic(B)))
    hv.virsh("start", "web1")
    live = element(hv.dump("web1", live=True), B)
    # 9.0 says so after 5 s.
    attempt(hv, "detach-device", "web1", "/dev/stdin", "--live", stdin=live)
    assert B in hv.dump("web1", live=True)
    done = ok(module(domain="web1", mac=B, state="absent", timeout=1))
    assert [p["mac"] for p in done["pending"]] == [B]
    assert done["interfaces"][0]["live"] is not None
