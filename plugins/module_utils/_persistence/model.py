# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to exist after a reboot, and what a host has configured for it. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File

SYSTEMD, NETWORKD, NETWORKMANAGER, IFUPDOWN = "systemd", "networkd", "networkmanager", "ifupdown"
BACKENDS = ("auto", SYSTEMD, NETWORKD, NETWORKMANAGER, IFUPDOWN, "none")
# The kind of link that a shim is.
SHIM = "macvlan"

# One file for each uplink, named by what identifies it.
LINKS_DIR = "/etc/linuxvirt-macvtap/links"
PROGRAM = "/etc/linuxvirt-macvtap/make-links"
UNIT_DIR = "/etc/systemd/system"
TEMPLATE = f"{UNIT_DIR}/macvtap-links@.service"
# libvirt waits for this unit, and so for all uplinks.
UNIT = f"{UNIT_DIR}/macvtap-links.service"
UNIT_LINK = f"{UNIT_DIR}/multi-user.target.wants/macvtap-links.service"
UPLINKS_FILE = "/etc/udev/rules.d/90-macvtap-uplinks.rules"
UDEV_FILE = "/etc/udev/rules.d/90-macvtap.rules"
SYSCTL_FILE = "/etc/sysctl.d/90-macvtap.conf"
INTERFACES_FILE = "/etc/network/interfaces.d/macvtap"
NETWORKD_DIR = "/etc/systemd/network"
PROFILES_DIR = "/etc/NetworkManager/system-connections"
UNMANAGED_FILE = "/etc/NetworkManager/conf.d/90-macvtap.conf"
# All paths that this version and earlier ones write to. Only files with the header are managed.
PATTERNS = (
    f"{LINKS_DIR}/*",
    *(PROGRAM, TEMPLATE, UNIT, UNIT_LINK, UPLINKS_FILE, UDEV_FILE, SYSCTL_FILE, INTERFACES_FILE, UNMANAGED_FILE),
    f"{NETWORKD_DIR}/*-macvtap-*.network",
    f"{PROFILES_DIR}/macvtap-*.nmconnection",
    # Earlier versions only.
    f"{NETWORKD_DIR}/*-macvtap-*.netdev",
    f"{NETWORKD_DIR}/*.network.d/50-macvtap.conf",
    f"{UNIT_DIR}/*.wants/macvtap-links@*.service",
    "/etc/dhcp/dhclient-enter-hooks.d/macvtap",
)

Entry = t.Union[DesiredLink, DesiredVlan, access_model.DesiredShim]


def is_kind(kind: str, entry: Entry) -> bool:
    """Whether what is written with this kind can be what ``entry`` declares.

    Earlier versions did not write the kind of all links, but of shims they did.
    """
    if isinstance(entry, access_model.DesiredShim):
        return kind == SHIM
    return kind in ("", "vlan" if isinstance(entry, DesiredVlan) else "macvtap")


@dataclass(frozen=True)
class Declared:
    """A link as the user declared it, and the backend that is to create it at boot."""

    entry: Entry
    backend: str


@dataclass(frozen=True)
class Desired:
    """A link as it is to be after a reboot.

    ``link`` has the declared options, and what the kernel would choose otherwise; its kind is macvtap, vlan or (a shim)
    macvlan. ``key`` identifies the parent at boot: its name, MAC address or PCI address, or ``altname:NAME``. ``vlan``
    is protocol and VLAN ID. ``shim`` has addresses and routes, and ``manager`` gets it a lease, None without one.
    """

    link: DesiredLink
    parent: Link
    key: str
    vlan: tuple[str, int] | None = None
    shim: access_model.Shim | None = None
    manager: str | None = None


@dataclass(frozen=True)
class Decision:
    """The result for a declared link: ``desired`` is created at boot by ``backend``; None if nothing creates it.

    ``unchanged``: what an earlier run wrote for it stays. ``other``: what is written under its name is another link.
    ``parent``: the name of the link that it is to be on, whatever creates it; None if that does not change.
    """

    entry: Entry
    backend: str | None = None
    desired: Desired | None = None
    unchanged: bool = False
    other: bool = False
    parent: str | None = None

    @property
    def absent(self) -> bool:
        return self.entry.state == "absent"

    def replaces(self, kind: str) -> bool:
        """Whether it decides on what is written under its name, of this kind ("" if an earlier version has no kind)."""
        return self.desired is not None or (not self.other and is_kind(kind, self.entry))


@dataclass(frozen=True)
class Host:
    """The links of a host, the files at the paths of ``PATTERNS``, and the links of each network manager."""

    links: Links = field(repr=False)
    files: t.Mapping[str, File] = field(default_factory=dict, repr=False)
    # Files of uplinks that a user has copied, not among ``files``, each with the path of the original, or "".
    copies: t.Mapping[str, str] = field(default_factory=dict)
    # By the index of each link that networkd knows: the file by which it manages it, None if it does not.
    networkd: t.Mapping[int, str | None] = field(default_factory=dict)
    # By the index of each link that NetworkManager manages: the UUID of the active profile.
    networkmanager: t.Mapping[int, str] = field(default_factory=dict)
    # By the index of each link with alternative names that udev has in its database: those that it has made itself.
    udev_names: t.Mapping[int, frozenset[str]] = field(default_factory=dict)
    # Of networkd and NetworkManager, those that start at boot.
    enabled: tuple[str, ...] = ()
    # Links for whose networkd file of ours a user has a drop-in.
    extended: frozenset[str] = frozenset()
    # Links that no manager has, so that none would set them up, and those of which that is not known.
    unmanaged: frozenset[str] = frozenset()
    unclear: frozenset[str] = frozenset()
    # Whether ifupdown2 reads interfaces(5), and whether that includes our file.
    ifupdown2: bool = False
    interfaces_sourced: bool = False
    systemd: bool = False
    # Which one, None if that is not known.
    systemd_version: int | None = None
    # What ip prints of the keywords that it knows for macvtap links; only if a link has one that it may not know.
    keywords: str = ""
    # Addresses, routes and connections; only if shims are declared.
    access: access_model.Host | None = None
