# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of direct networks share: networks, NICs on them, and the module on a hypervisor."""

from __future__ import annotations

import re
import typing as t

from direct_iface import A, Result, element, ok
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor


def network(name: str, mode: str, *uplinks: str, more: str = "") -> str:
    inside = "".join(f"<interface dev='{uplink}'/>" for uplink in uplinks)
    return f"<network><name>{name}</name><forward mode='{mode}'>{inside}</forward>{more}</network>"


def nic_on(mac: str, name: str = "lan", *, portgroup: str = "") -> str:
    group = f" portgroup='{portgroup}'" if portgroup else ""
    return (
        f"<interface type='network'><mac address='{mac}'/><source network='{name}'{group}/>"
        "<model type='virtio'/></interface>"
    )


TRUSTED = "<portgroup name='trusted' trustGuestRxFilters='yes'/>"
NETWORKS = {
    "lan": network("lan", "bridge", "eth0", more="<portgroup name='web'/><portgroup name='db'/>" + TRUSTED),
    "lan1": network("lan1", "bridge", "up1"),
    "vepa": network("vepa", "vepa", "eth0"),
    "pass": network("pass", "passthrough", "up1"),
    "off": network("off", "bridge", "eth0"),
    "nat": "<network><name>nat</name><bridge name='virbr7'/><ip address='10.78.7.1' prefix='24'/></network>",
}


def define_networks(hv: Hypervisor) -> None:
    """Define ``NETWORKS``, and start all but the network off."""
    for name, document in NETWORKS.items():
        hv.virsh("net-define", "/dev/stdin", stdin=document)
        if name != "off":
            hv.virsh("net-start", name)


def info(hv: Hypervisor) -> Result:
    """Return the interfaces of the only domain, and the requests that are outstanding."""
    found = ok(run_module("libvirt_direct_iface_info", {}, prefix=hv.prefix))
    return {"interfaces": found["domains"][0]["interfaces"], "pending": found["pending"]}


def source(hv: Hypervisor, mac: str = A, *, live: bool = False) -> str:
    """Return the type and the source of an interface, without the number of its port."""
    text = element(hv.dump("web1", live=live), mac)
    kind, place = re.search("type='(.*?)'", text), re.search("<source (.*?)/>", text)
    assert kind
    assert place
    return f"{kind[1]} {re.sub(' portid=.[-0-9a-f]*.', '', place[1])}".replace("'", "")


class Networks:
    """libvirt_direct_network and its info module on a hypervisor."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def __call__(self, *, check: bool = False, **params: t.Any) -> Result:
        return run_module("libvirt_direct_network", params, check=check, diff=True, prefix=self.hv.prefix)

    def refused(self, message: str, **params: t.Any) -> None:
        """Run with ``params``, which is to fail with ``message`` (a pattern) and to leave every network as it was."""
        before = self.all()
        for check in (True, False):
            failed = self(check=check, **params)
            assert failed.get("failed"), failed
            assert re.search(message, failed["msg"]), failed["msg"]
        assert self.all() == before

    def info(self, **params: t.Any) -> list[Result]:
        done = ok(run_module("libvirt_direct_network_info", params, prefix=self.hv.prefix))
        return t.cast("list[Result]", done["networks"])

    def names(self) -> list[str]:
        return self.hv.virsh("net-list", "--all", "--name").split()

    def xml(self, name: str, *, live: bool = False) -> str:
        return self.hv.virsh("net-dumpxml", *(() if live else ("--inactive",)), name)

    def all(self) -> list[str]:
        return [text for name in self.names() for text in (self.xml(name), self.xml(name, live=True), self.state(name))]

    def state(self, name: str) -> str:
        return self.hv.virsh("net-info", name)

    def define(self, xml: str) -> None:
        self.hv.virsh("net-define", "/dev/stdin", stdin=xml)
