# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Values that libvirt writes otherwise than they are declared, and what it makes of interfaces of other types."""

from __future__ import annotations

import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, domain, element, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

UUID = "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f"
# What is declared, and what libvirt has of it.
SPELLINGS: list[tuple[Result, str]] = [
    ({"model": "VirtIO"}, "<model type='virtio'/>"),
    ({"model": "E1000E"}, "<model type='e1000e'/>"),
    ({"model": "am79c970a"}, "<model type='Am79C970A'/>"),
    ({"model": "82540em"}, "<model type='82540EM'/>"),
    ({"model": "Virtio-Transitional", "driver": {"queues": 2}}, "<driver queues='2'/>"),
    ({"model": "Foo-Bar"}, "<model type='Foo-Bar'/>"),
    ({"driver": {"queues": 1}}, "<model type='virtio'/>"),
    ({"driver": {"queues": 1, "name": "vhost"}}, "<driver name='vhost'/>"),
    ({"driver": {"rss": False, "packed": False, "iommu": False, "ats": False, "page_per_vq": False}}, "packed='off'"),
    ({"driver": {"name": "qemu", "txmode": "timer", "event_idx": False}}, "name='qemu' txmode='timer'"),
    ({"rom": {"enabled": False}}, "<rom enabled='no'/>"),
    ({"rom": {"enabled": True, "bar": True, "file": ""}}, "<rom enabled='yes' bar='on' file=''/>"),
    ({"bandwidth": {"inbound": {"average": 4294967295}}}, "<inbound average='4294967295'/>"),
    ({"bandwidth": {"inbound": {"average": 0, "peak": 5}}}, "<model type='virtio'/>"),
    ({"acpi_index": 16383}, "<acpi index='16383'/>"),
    ({"alias": "ua-X_y-1"}, "<alias name='ua-X_y-1'/>"),
    ({"target": "wéb-0.x"}, "<target dev='wéb-0.x'/>"),
    ({"pci_address": ""}, "<address type='pci'"),
    ({"pci_address": "7:0.0"}, "bus='0x07' slot='0x00' function='0x0'"),
    ({"mode": "passthru", "source": "up1"}, "mode='passthrough'"),
    ({"trust_guest_rx_filters": True}, "trustGuestRxFilters='yes'"),
    ({"link_state": "up"}, "<model type='virtio'/>"),
]


def test_whatever_the_spelling_a_second_run_changes_nothing(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1"))
    entries = [
        {"domain": "web1", "mac": f"52:54:00:00:01:{at:02x}", "source": "eth0", "mode": "bridge", **message}
        for at, (message, _written) in enumerate(SPELLINGS)
    ]
    planned = ok(module(interfaces=entries, check=True))["changes"]
    assert ok(module(interfaces=entries))["changes"] == planned
    document = hv.dump("web1")
    for entry, (_said, written) in zip(entries, SPELLINGS):
        assert written in element(document, entry["mac"])
    assert not ok(module(interfaces=entries))["changed"]


OF_HOSTDEV = (
    f"<interface type='hostdev' managed='yes'><mac address='{A}'/><driver name='vfio'/>"
    "<source><address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x1'/></source>"
    "<vlan><tag id='42'/></vlan></interface>"
)


@pytest.mark.parametrize(
    "other",
    [
        "<interface type='ethernet'><mac address='{A}'/><target dev='mt0' managed='no'/><model type='virtio'/>"
        "</interface>",
        "<interface type='network'><mac address='{A}'/><source network='lan'/><model type='virtio'/>"
        "<bandwidth><inbound floor='200'/></bandwidth></interface>",
        "<interface type='vdpa'><mac address='{A}'/><source dev='/dev/vhost-vdpa-0'/></interface>",
        "<interface type='mcast'><mac address='{A}'/><source address='239.0.0.1' port='5558'/></interface>",
        OF_HOSTDEV,
    ],
)
def test_libvirt_takes_what_an_interface_of_another_type_becomes(hv: Hypervisor, module: Module, other: str) -> None:
    hv.define(domain("web1", other.replace("{A}", A)))
    entry: Result = {"domain": "web1", "mac": A, "source": "eth0", "mode": "bridge", "target": "web0", "convert": True}
    # Not converted yet, it is not there to be removed.
    assert not ok(module(**entry, state="absent"))["changed"]
    assert ok(module(**entry))["changed"]
    made = element(hv.dump("web1"), A)
    assert "<source dev='eth0' mode='bridge'/>" in made
    assert "<target dev='web0'/>" in made
    assert other is not OF_HOSTDEV or "<model type='virtio'/>" in made
    assert not ok(module(**entry))["changed"]


def test_two_nics_with_one_address_can_be_distinguished(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A), nic(A, "up1", more="<alias name='ua-b'/>")))
    both = [{"domain": "web1", "mac": A, "source": "eth0"}, {"domain": "web1", "alias": "ua-b"}]
    assert not ok(module(interfaces=both))["changed"]
    assert "which only one of them has" in module(domain="web1", mac=A, mode="private")["msg"].replace("ever", "")
    assert ok(module(domain="web1", mac=A, source="up1", mode="private"))["changed"]
    assert "<source dev='eth0' mode='bridge'/>" in hv.dump("web1")
    assert "<source dev='up1' mode='private'/>" in hv.dump("web1")
    assert ok(module(domain="web1", alias="ua-b", state="absent"))["changed"]
    assert hv.dump("web1").count(A) == 1
    assert "<source dev='eth0' mode='bridge'/>" in hv.dump("web1")


def test_what_libvirt_refuses_is_reported_for_the_entry_at_fault(hv: Hypervisor, module: Module) -> None:
    disk = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><boot order='7'/></disk>"
    booting = domain("web1", nic(A), nic(B), disk)
    hv.define(booting)
    before = hv.dump("web1")
    entries = [{"domain": "web1", "mac": A, "mode": "private"}, {"domain": "web1", "mac": B, "boot_order": 7}]
    failed = module(interfaces=entries)
    assert failed["msg"].startswith("interfaces[1]: libvirt refuses the configuration of domain 'web1'"), failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    assert hv.dump("web1") == before
