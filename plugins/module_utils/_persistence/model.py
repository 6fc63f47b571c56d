# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be there after a reboot, and what a host has written down about it. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File

SYSTEMD, NETWORKD, NETWORKMANAGER, IFUPDOWN = "systemd", "networkd", "networkmanager", "ifupdown"
BACKENDS = ("auto", SYSTEMD, NETWORKD, NETWORKMANAGER, IFUPDOWN, "none")

UDEV_FILE = "/etc/udev/rules.d/90-macvtap.rules"
SYSCTL_FILE = "/etc/sysctl.d/90-macvtap.conf"
UNIT_DIR = "/etc/systemd/system"

# The kind of link that a shim is.
SHIM = "macvlan"
# Where no rule leads: the routing table for what else a lease would route over a shim.
LEASE_TABLE = 1836479600

_NO_SHIM = Shim(Link(""), {})


@dataclass(frozen=True)
class Block:
    """What one link adds to a file."""

    path: str
    text: str


@dataclass(frozen=True)
class Declared:
    """A link as the user declared it, and which of the backends is to make it at boot."""

    want: t.Union[DesiredLink, DesiredVlan, access_model.DesiredShim]
    backend: str


@dataclass(frozen=True)
class Desired:
    """A link as it is to be after a reboot.

    ``link`` has its options, with what the kernel would choose otherwise; its kind is macvtap, vlan or (a shim)
    macvlan. ``key`` is what the parent is found by at boot: its name, MAC address or PCI address, or ``altname:NAME``.
    ``shim`` has the addresses and routes of one, and ``lease_mtu`` is the MTU that it keeps whatever a lease says.
    ``manager`` gives it its addresses, None where the program does.
    """

    link: DesiredLink
    parent: Link
    key: str
    vlan: tuple[str, int] | None = None
    shim: Shim = _NO_SHIM
    lease_mtu: int | None = None
    manager: str | None = None

    @property
    def name(self) -> str:
        return self.link.name

    @property
    def kind(self) -> str:
        return self.link.kind

    @property
    def path(self) -> str:
        return self.link.path


@dataclass(frozen=True)
class Decision:
    """What becomes of a link: ``desired`` is to be there, made by ``backend``; None where nobody makes it.

    ``left``: it is as it is written already, and that stays.
    """

    want: t.Union[DesiredLink, DesiredVlan, access_model.DesiredShim]
    backend: str | None = None
    desired: Desired | None = None
    left: bool = False

    @property
    def shim(self) -> bool:
        return isinstance(self.want, access_model.DesiredShim)

    @property
    def absent(self) -> bool:
        return self.want.state == "absent"


@dataclass(frozen=True)
class Host:
    """The host's links, the files at the places that are ours by their names, and which manager has what."""

    links: Links = field(repr=False)
    files: t.Mapping[str, File] = field(default_factory=dict, repr=False)
    # By the index of each link that networkd knows, the file by which it manages it, None where it leaves it alone.
    networkd: t.Mapping[int, str | None] = field(default_factory=dict)
    # The UUID of the active profile, by the index of each link that NetworkManager manages.
    networkmanager: t.Mapping[int, str] = field(default_factory=dict)
    # Of networkd and NetworkManager, those that start at boot.
    enabled: tuple[str, ...] = ()
    # Links whose networkd file of ours has a drop-in that is not ours.
    extended: frozenset[str] = frozenset()
    # Links that no manager has, so that none would set them up.
    unmanaged: frozenset[str] = frozenset()
    # Whether it is ifupdown2 that reads interfaces(5), and whether that reads the directory of our file.
    ifupdown2: bool = False
    interfaces_sourced: bool = False
    systemd: bool = False
    # What shims are judged by, where any are declared.
    access: access_model.Host | None = None
