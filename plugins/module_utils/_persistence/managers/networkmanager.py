# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NetworkManager: how it leaves links alone, and gives shims their addresses. Pure."""

from __future__ import annotations

import typing as t
import uuid

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Shim, family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import ini
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    LEASE_TABLE,
    UDEV_FILE,
    Block,
    Desired,
)

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "linuxvirt.macvtap")
_BRIDGE = 2  # NMSettingMacvlanMode
# With a table of its own the lease's network is not routed either; and the host's name on the LAN stays that of its
# ordinary address.
_LEASE = [
    ("method", "auto"),
    ("ignore-auto-routes", "true"),
    ("ignore-auto-dns", "true"),
    ("dhcp-send-hostname", "false"),
    ("route-table", LEASE_TABLE),
]
# What the kernel's routes have: no gateway, and a metric if they are of IPv6.
_DIRECTLY = {4: "0.0.0.0,0", 6: "::,1024"}
_RETIRED = "autoconnect=false\n"
DIRECTORY = "/etc/NetworkManager/system-connections"
UNMANAGED_FILE = "/etc/NetworkManager/conf.d/90-macvtap.conf"
# It takes no profile that others can read.
MODE = 0o600
PATTERNS = (f"{DIRECTORY}/macvtap-*.nmconnection", UNMANAGED_FILE)
VALIDATORS = {
    ".nmconnection": ("nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"),
}
# Why it makes no link.
WHY_NOT = "NetworkManager removes a link with its profile, and takes the NIC of the guest that is on it"


def keyfile(name: str) -> str:
    return f"{DIRECTORY}/{profile(name)}.nmconnection"


def profile(name: str) -> str:
    return f"macvtap-{name}"


def leave_alone(names: t.Collection[str]) -> t.Iterator[File]:
    """Yield the file by which NetworkManager leaves the links alone, none if there are none."""
    if names:
        devices = ";".join(f"interface-name:{name}" for name in sorted(names))
        text = ini.render([("keyfile", [("unmanaged-devices+", devices)])])
        yield File(UNMANAGED_FILE, f"{HEADER}\n{text}")


def blocks(desired: Desired) -> t.Iterator[Block]:
    """Yield the profile by which NetworkManager gives a shim its addresses, and what it needs for that."""
    link, key = desired.link, desired.key
    by_mac = key.count(":") == 5
    parent = key[len("altname:") :] if key.startswith("altname:") else key
    connection = [
        ("id", profile(link.name)),
        ("uuid", uuid.uuid5(_NAMESPACE, f"{link.name} {parent}")),
        ("type", "macvlan"),
        ("interface-name", link.name),
    ]
    ethernet = [
        ("mac-address", key.upper() if by_mac else None),
        ("cloned-mac-address", link.mac.upper() if link.mac else None),
        # A profile without one takes the lease's.
        ("mtu", link.mtu or desired.lease_mtu),
    ]
    macvlan = [("parent", None if by_mac else desired.parent.name), ("mode", _BRIDGE)]
    addresses = [(f"ipv{version}", _family(desired.shim, version)) for version in (4, 6)]
    sections: ini.Ini = [("connection", connection), ("ethernet", ethernet), ("macvlan", macvlan)]
    yield Block(keyfile(link.name), ini.render([*sections, *addresses]))
    # It may be there before the unit is, and makes the link then. Of a link that is there when it starts it (1.42)
    # reports that somebody else manages it, and gives it no address, unless udev tells it otherwise.
    own = f'SUBSYSTEM=="net", KERNEL=="{link.name}"'
    rules = f'ACTION=="add", {own}, ATTR{{ifalias}}="{link.alias}"\nACTION!="remove", {own}, ENV{{NM_UNMANAGED}}="0"\n'
    yield Block(UDEV_FILE, rules)


def asks(text: str) -> bool:
    """Whether a profile of ours has NetworkManager get the link an address by DHCP."""
    return "\nmethod=auto\n" in text


def is_active(file: File, active: t.Collection[str]) -> bool:
    """Whether NetworkManager has made a link by this profile, or set one up; ``active`` are UUIDs."""
    return any(f"\nuuid={one}\n" in file.text for one in active if one)


def retire(file: File) -> File:
    """Return a profile of ours that NetworkManager does not use at the next boot.

    If it were removed now, NetworkManager would remove the link with it as soon as it reads its files again.
    """
    if _RETIRED in file.text:
        return file
    return File(file.path, file.text.replace("[connection]\n", f"[connection]\n{_RETIRED}", 1), file.mode)


def _family(shim: Shim, version: int) -> list[tuple[str, t.Any]]:
    leased = version == 4 and shim.dhcp4
    addresses = [one for one in shim.addresses if family(one.address) == version]
    # The link-local address is what neighbours are found by.
    method = "manual" if addresses else {4: "disabled", 6: "link-local"}[version]
    keys: list[tuple[str, t.Any]] = list(_LEASE) if leased else [("method", method)]
    keys.append(("addr-gen-mode", 0 if version == 6 else None))
    if not addresses and not leased:
        return keys
    keys += [(f"address{number}", f"{one.address}/{one.prefix}") for number, one in enumerate(addresses, 1)]
    for number, route in enumerate((one for one in shim.routes if family(one.destination) == version), 1):
        # Of a lease the profile's other routes go to another table.
        options = [f"src={route.source}"] * bool(route.source) + ["table=254"] * leased
        keys.append((f"route{number}", f"{route.destination},{_DIRECTLY[version]}"))
        keys.append((f"route{number}_options", ",".join(options) or None))
    return [*keys, ("never-default", "true")]
