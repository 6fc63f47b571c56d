# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be there after a reboot, and what a host has written down about it. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links

SYSTEMD, NETWORKD, NETWORKMANAGER, IFUPDOWN = "systemd", "networkd", "networkmanager", "ifupdown"
BACKENDS = ("auto", SYSTEMD, NETWORKD, NETWORKMANAGER, IFUPDOWN, "none")

# The first line of each file of ours, and how they are told from others'.
HEADER = "# Managed by Ansible (linuxvirt.macvtap): what is changed here is lost."

NETWORKD_DIR = "/etc/systemd/network"
NETWORKMANAGER_DIR = "/etc/NetworkManager/system-connections"
INTERFACES = "/etc/network/interfaces"
INTERFACES_FILE = "/etc/network/interfaces.d/macvtap"
UDEV_FILE = "/etc/udev/rules.d/90-macvtap.rules"
SYSCTL_FILE = "/etc/sysctl.d/90-macvtap.conf"
# Of the links that libvirt makes, which are libvirt_direct_iface's and of no concern to macvtap_persistence.
GUESTS_FILE = "/etc/udev/rules.d/90-macvtap-domains.rules"
DROP_IN = "50-macvtap.conf"

# The unit that makes links at boot: its template, its program, and a file for each uplink.
UNIT_DIR = "/etc/systemd/system"
TEMPLATE = f"{UNIT_DIR}/macvtap-links@.service"
PROGRAM = "/etc/linuxvirt-macvtap/make-links"
LINKS_DIR = "/etc/linuxvirt-macvtap/links"
UPLINKS_FILE = "/etc/udev/rules.d/90-macvtap-uplinks.rules"
# By which NetworkManager leaves its links alone.
UNMANAGED_FILE = "/etc/NetworkManager/conf.d/90-macvtap.conf"

# Of all uplinks, for libvirt to wait for. In earlier versions it had a block for each link.
UNIT = f"{UNIT_DIR}/macvtap-links.service"
UNIT_LINK = f"{UNIT_DIR}/multi-user.target.wants/macvtap-links.service"
# Of earlier versions: a hook of Debian's DHCP client.
OLD_HOOK = "/etc/dhcp/dhclient-enter-hooks.d/macvtap"

# The kind of link that a companion is.
COMPANION = "macvlan"
# Where no rule leads: the routing table for what else a lease would route over a companion.
LEASE_TABLE = 1836479600


@dataclass(frozen=True)
class File:
    """A file, or with ``target`` a symbolic link to that."""

    path: str
    text: str = ""
    mode: int = 0o644
    target: str | None = None

    @property
    def ours(self) -> bool:
        return self.target in (TEMPLATE, UNIT) or self.text.startswith(HEADER + "\n")


def content(file: File | None) -> tuple[str, str | None] | None:
    """Return what a file says, whatever its mode; None where there is none."""
    return None if file is None else (file.text, file.target)


@dataclass(frozen=True)
class Piece:
    """What one link adds to the files: one of its own, or (``shared``) its block in one that others have a part in.

    ``head`` is what a shared file begins with, whoever has a part in it.
    """

    path: str
    text: str
    mode: int = 0o644
    shared: bool = False
    head: str = ""


@dataclass(frozen=True)
class Parent:
    """The link below: its name now, and what it is to be found by at the next boot.

    ``by`` is name, altname, mac or pci, and ``said`` what the user gave. ``network_file`` is networkd's file for it.
    """

    name: str
    kind: str = ""
    by: str = "name"
    said: str = ""
    network_file: str | None = None

    @property
    def key(self) -> str:
        """What the unit finds it by."""
        if self.by == "name":
            return self.name
        return f"altname:{self.said}" if self.by == "altname" else self.said


@dataclass(frozen=True)
class Route:
    """Guests, a network with its prefix's length, that a companion leads to; ``source`` None: the kernel's choice."""

    destination: str
    source: str | None = None


@dataclass(frozen=True)
class Kept:
    """A link as it is to be after a reboot; None and empty mean what the kernel chooses.

    ``kind`` is macvtap, vlan or (a companion) macvlan, ``path`` where the user declared it. ``up`` None: nobody brings
    it up or down. A companion alone has ``addresses``, with their prefix's length, and ``routes``; ``dhcp4`` says that
    the manager is to get it an IPv4 address, and ``lease_mtu`` is the MTU that it keeps then, whatever the lease says.
    """

    name: str
    kind: str
    parent: Parent
    path: str = ""
    up: bool | None = True
    mode: str | None = None
    vlan_id: int | None = None
    protocol: str | None = None
    mac: str | None = None
    mtu: int | None = None
    txqueuelen: int | None = None
    promiscuous: bool | None = None
    nodst: bool | None = None
    bcqueuelen: int | None = None
    bclim: int | None = None
    source_macs: tuple[str, ...] = ()
    group: int | None = None
    alias: str | None = None
    altnames: tuple[str, ...] = ()
    tx_queues: int | None = None
    rx_queues: int | None = None
    gso_max_size: int | None = None
    addrgenmode: str | None = None
    allmulticast: bool | None = None
    tap_owner: str | None = None
    tap_group: str | None = None
    tap_mode: int | None = None
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    dhcp4: bool = False
    lease_mtu: int | None = None
    backend: str = ""
    # Who gives a companion its addresses, None where the backend does.
    manager: str | None = None


@dataclass(frozen=True)
class Written:
    """A link that files of ours are for: as far as they tell, its kind ("": they do not), parent, and a VLAN's protocol
    and id. ``parent`` is the link's name, or what an uplink is found by.
    """

    name: str
    kind: str = ""
    backend: str = ""
    parent: str = ""
    vlan: tuple[str, int] | None = None


@dataclass(frozen=True)
class Rendered:
    """The pieces of one link in the words of one manager, and what of it is left for udev to set (names of fields)."""

    pieces: tuple[Piece, ...]
    left: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkdLink:
    """What networkd says of a link: whether it manages it, and by which file."""

    managed: bool
    file: str | None = None


@dataclass(frozen=True)
class Host:
    """The host's links, the files at the places that are ours by their names, and who manages what."""

    links: Links = field(repr=False)
    files: t.Mapping[str, File] = field(default_factory=dict, repr=False)
    networkd: t.Mapping[int, NetworkdLink] = field(default_factory=dict)
    # The UUID of the active profile, by the index of each link that NetworkManager manages.
    networkmanager: t.Mapping[int, str] = field(default_factory=dict)
    # Of networkd and NetworkManager, those that start at boot.
    enabled: tuple[str, ...] = ()
    # Links whose networkd file of ours somebody has added to in a drop-in.
    extended: frozenset[str] = frozenset()
    # Links that no manager has, so that none would set them up.
    unmanaged: frozenset[str] = frozenset()
    # Whether it is ifupdown2 that reads interfaces(5).
    ifupdown2: bool = False
    # Whether /etc/network/interfaces reads the directory that our file is in.
    interfaces_sourced: bool = False
    systemd: bool = False
    # IP addresses of the host, by the index of the link that has them.
    addresses: t.Mapping[int, t.Sequence[str]] = field(default_factory=dict)
    # What companions are judged by, where any are declared.
    access: access_model.Host | None = None
    # The program, for udev, which knows no PATH.
    ip: str = "/sbin/ip"
