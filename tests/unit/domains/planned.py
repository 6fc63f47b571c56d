# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of the planner share: interfaces, hosts that have them, declarations, and what is planned."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution, tasks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

MAC = "52:54:00:00:00:01"
OTHER = "52:54:00:00:00:02"
VALUES = {
    "trust_guest_rx_filters": "no",
    "source": "eth0",
    "mode": "bridge",
    "model": "virtio",
    "link_state": "up",
    "pci_address": "0000:01:00.0",
}
STORED = Iface(MAC, values=VALUES, xml="<interface/>", index=0)
LIVE = replace(STORED, values={**VALUES, "target": "macvtap0", "alias": "net0"})
LINKS: Links = {
    "eth0": Link("eth0", 2, mac="02:00:00:00:00:01", parent="far0", altnames=frozenset({"lan0"})),
    "far0": Link("far0", 7, kind="veth", parent="eth0"),
    "eth1": Link("eth1", 3, mac="02:00:00:00:00:02", kind="veth"),
    "br0": Link("br0", 4, kind="bridge"),
    "port0": Link("port0", 5, master="br0"),
    "macvtap0": Link("macvtap0", 6, kind="macvtap", parent="eth0", mode="bridge", mac=MAC, up=True),
}


def changed(iface: Iface, **values: str | None) -> Iface:
    merged = {**iface.values, **values}
    return replace(iface, values={name: text for name, text in merged.items() if text is not None})


def host(*domains: Domain, **more: t.Any) -> Host:
    known = ("web1", "web2", "db1")
    return Host("qemu:///system", {domain.name: domain for domain in domains}, known, **{"version": 9_000_000, **more})


def stopped(*stored: Iface, **other: t.Any) -> Domain:
    return Domain("web1", stored=stored, **other)


def running(stored: t.Sequence[Iface], live: t.Sequence[Iface], **other: t.Any) -> Domain:
    return Domain("web1", running=True, stored=tuple(stored), live=tuple(live), **other)


def want(domain: str = "web1", mac: str = MAC, *, present: bool = True, **given: t.Any) -> Desired:
    convert = bool(given.pop("convert", None))
    return Desired("interfaces[2]", domain, key=mac, mac=mac, present=present, given=given, convert=convert)


def by(selector: str, key: str, **given: str) -> Desired:
    return Desired("interfaces[2]", "web1", by=selector, key=key, given={**given, selector: key})


def changes(plan: Plan[Nic]) -> list[tuple[str, t.Any, t.Any, str]]:
    return [(c.field, c.before, c.after, c.impact.value) for c in plan.changes]


def impacts(desired: Desired, on: Host, level: str = "update") -> dict[str, str]:
    return {c.field: c.impact.value for c in planner.plan([desired], on, level=level).changes}


def restart(desired: Desired, on: Host, level: str = "update") -> tuple[str, ...]:
    return resolution.resolve([desired], on, level=level)[0].restart_fields()


TWO = (changed(STORED, alias="ua-lan"), replace(changed(STORED, source="eth1", target="web0"), mac=OTHER))
BRIDGED = Iface(
    MAC,
    "bridge",
    {"model": "e1000e", "boot_order": "1", "alias": "ua-lan", "pci_address": "0000:01:00.0", "vlan": "7"},
    "br0",
    "<interface/>",
)


# Multicast, of which libvirt's configuration knows nothing: the link has it, and udev gives it to the next one.


def heard(iface: Iface, text: str = "yes") -> Iface:
    return changed(iface, allmulticast=text)


def udev_rules(domain: Domain, *macs: str, **more: t.Any) -> Host:
    """A host with udev, and rules for these addresses."""
    message = dict.fromkeys(macs, "yes")
    stored = tuple(heard(iface, message.get(iface.mac, "no")) for iface in domain.stored)
    return host(replace(domain, stored=stored), **{"links": LINKS, "managed_rules": frozenset(macs), **more})


TRUSTS: dict[str, t.Any] = {"trust_guest_rx_filters": "yes"}


def refused(desired: Desired, on: Host, match: str) -> str:
    with pytest.raises(MacvtapError, match=match) as caught:
        planner.plan([desired], on)
    return caught.value.path.removeprefix("interfaces[2].")


def rules_after(plan: Plan[t.Any]) -> dict[str, bool]:
    return tasks.rules_of(tasks.tasks_of(plan.steps))[0]
