# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host with links in its boot configuration, and its files once a plan is done."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from unit.persistence import earlier

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

ETC = "/etc/systemd/network"
KEYFILES = "/etc/NetworkManager/system-connections"
UDEV = "/etc/udev/rules.d/90-macvtap.rules"
MAC = "52:54:00:00:00:01"
# One parent for each manager, and one for none.
LINKS = {
    link.name: link
    for link in (
        Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, pci="0000:03:00.0", altnames=frozenset({"lan-a"})),
        Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500),
        Link("eth2", 4, mac="02:00:00:00:00:04", mtu=1500),
        Link("eth3", 5, mac="02:00:00:00:00:05", mtu=1500, altnames=frozenset({"lan-d"}), pci="0000:04:00.0"),
    )
}
HOST = Host(
    LINKS,
    networkd={
        2: f"{ETC}/20-eth0.network",
        3: None,
        4: None,
        5: None,
    },
    networkmanager={3: "theirs"},
    enabled=("networkd", "networkmanager"),
    interfaces_sourced=True,
    systemd=True,
)


def link(name: str = "mt0", parent: str | None = "eth0", backend: str = "auto", **fields: t.Any) -> Declared:
    given: dict[str, t.Any] = {"mode": "bridge", "mac": MAC, "path": f"links[{name[-1:]}]", **fields}
    return Declared(DesiredLink(name, parent=parent, **given), backend)


def vlan(parent: str = "eth0", id: int = 20, backend: str = "auto", **fields: t.Any) -> Declared:  # noqa: A002
    return Declared(DesiredVlan(parent, id, path="vlans[0]", **fields), backend)


def after(host: Host, *declared: Declared, purge: bool = False) -> Host:
    """Return the host once the plan is done."""
    return replace(host, files=predicted(planner.plan(declared, host, purge=purge), host.files))


def backends(host: Host, *declared: Declared) -> dict[str, str | None]:
    return {name: one.backend for name, one in planner.resolved_of(declared, host).decisions.items()}


def warnings(host: Host, *declared: Declared) -> tuple[str, ...]:
    return planner.plan(declared, host).warnings


def refused(path: str, why: str, host: Host, *declared: Declared) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        planner.plan(declared, host)
    assert caught.value.path == path


def block(host: Host, name: str, file: str = "eth0") -> str:
    """Return what the unit is told of one link."""
    text = host.files[f"{LINKS_DIR}/{file}"].text
    (found,) = (one for one in text.split("\n\n") if one.startswith("# ") and one.split("\n")[0].endswith(f" {name}"))
    return found.partition("\n")[2].rstrip("\n") + "\n"


def before(manager: str, **more: t.Any) -> Host:
    """Return the host with the files that an earlier version had this manager make the links by."""
    return replace(HOST, files={file.path: file for file in earlier.FILES[manager]}, **more)


WITHOUT_SYSTEMD = replace(HOST, systemd=False, networkd={}, networkmanager={}, enabled=())
# Who runs the program, and where.
STARTERS = [("auto", HOST), ("ifupdown", WITHOUT_SYSTEMD)]
