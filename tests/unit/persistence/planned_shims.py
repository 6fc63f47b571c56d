# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host with shims in its boot configuration, and its files once a plan is done."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    Address,
    Connection,
    DesiredShim,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Host as AccessHost
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

ETC = "/etc/systemd/network"
KEYFILE = "/etc/NetworkManager/system-connections/macvtap-host0.nmconnection"
INTERFACES = "/etc/network/interfaces.d/macvtap"
UDEV = "/etc/udev/rules.d/90-macvtap.rules"
SYSCTL = "/etc/sysctl.d/90-macvtap.conf"
MAC = "52:54:00:00:00:07"
NM = "networkmanager"
# One parent for each manager, and one for none.
LINKS = {
    link.name: link
    for link in (
        Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500),
        Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500),
        Link("eth2", 4, mac="02:00:00:00:00:04", mtu=1500),
        Link("eth3", 5, mac="02:00:00:00:00:05", mtu=1500, pci="0000:04:00.0"),
    )
}
HOST = Host(
    LINKS,
    networkd={2: f"{ETC}/20-eth0.network", 5: None},
    networkmanager={3: "theirs"},
    enabled=("networkd", "networkmanager"),
    interfaces_sourced=True,
    systemd=True,
)


def shim(parent: str | None = "eth0", name: str = "host0", backend: str = "auto", **fields: t.Any) -> Declared:
    given: dict[str, t.Any] = {
        "path": "shims[0]",
        "mac": MAC,
        "addresses": ("192.0.2.250", "2001:db8::250"),
        "guests": ("192.0.2.16/28", "192.0.2.77/32", "2001:db8::77/128"),
        **fields,
    }
    return Declared(DesiredShim(name, parent=parent, **given), backend)


def link(name: str = "mt0", parent: str = "eth0", **fields: t.Any) -> Declared:
    return Declared(DesiredLink(name, path="links[0]", parent=parent, mode="bridge", **fields), "auto")


def vlan(parent: str = "eth0", **fields: t.Any) -> Declared:
    return Declared(DesiredVlan(parent, 20, path="vlans[0]", **fields), "auto")


def after(host: Host, *declared: Declared, purge: bool = False) -> Host:
    """Return the host once the plan is done."""
    return replace(host, files=predicted(planner.plan(declared, host, purge=purge), host.files))


def text(host: Host, path: str) -> str:
    return host.files[path].text


def refused(path: str, why: str, host: Host, *declared: Declared) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        planner.plan(declared, host)
    assert caught.value.path == path


def block(host: Host, file: str = "eth0") -> str:
    """Return what the unit is told of the shim."""
    (found,) = (one for one in text(host, f"{LINKS_DIR}/{file}").split("\n\n") if one.startswith("# macvlan "))
    return found.partition("\n")[2].rstrip("\n") + "\n"


REACHED = AccessHost(
    LINKS,
    addresses=(Address("192.0.2.1", 24, index=2), Address("2001:db8::1", 64, index=2)),
    routes=(Route("0.0.0.0/0", 2, "192.0.2.254"), Route("192.0.2.0/24", 2, protocol=2), Route("10.0.0.0/8", 3)),
    connections=(Connection("192.0.2.1", "192.0.2.99"),),
)
