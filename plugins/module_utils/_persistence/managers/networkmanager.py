# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NetworkManager: how it leaves links alone, and gives companions their addresses. Pure."""

from __future__ import annotations

import typing as t
import uuid

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Address, Route, family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import ini
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    LEASE_TABLE,
    Block,
    Desired,
    Stack,
)

NETWORKMANAGER_DIR = "/etc/NetworkManager/system-connections"
# By which NetworkManager leaves links alone.
UNMANAGED_FILE = "/etc/NetworkManager/conf.d/90-macvtap.conf"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "linuxvirt.macvtap")
_BRIDGE = 2  # NMSettingMacvlanMode
# With a table of its own the lease's network is not routed either; and the host's name on the LAN stays that of its
# ordinary address.
_LEASE = [
    ("method", "auto"),
    ("ignore-auto-routes", "true"),
    ("ignore-auto-dns", "true"),
    ("dhcp-send-hostname", "false"),
    ("route-table", str(LEASE_TABLE)),
]
# What the kernel's routes have: no gateway, and a metric if they are of IPv6.
_DIRECTLY = {4: "0.0.0.0,0", 6: "::,1024"}
_RETIRED = "autoconnect=false\n"


class NetworkManager:
    """A profile for each companion, and one file that has the links that it leaves alone."""

    patterns = (f"{NETWORKMANAGER_DIR}/macvtap-*.nmconnection", UNMANAGED_FILE)
    validators: t.ClassVar[dict[str, tuple[str, ...]]] = {
        ".nmconnection": ("nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"),
    }
    # Why it makes no link.
    why_not = "NetworkManager removes a link with its profile, and takes the NIC of the guest that is on it"

    def keyfile(self, name: str) -> str:
        return f"{NETWORKMANAGER_DIR}/{self.profile(name)}.nmconnection"

    def profile(self, name: str) -> str:
        return f"macvtap-{name}"

    def leave_alone(self, names: t.Collection[str]) -> File:
        """Return the file by which NetworkManager leaves the links alone."""
        devices = ";".join(f"interface-name:{name}" for name in sorted(names))
        return File(UNMANAGED_FILE, f"{HEADER}\n{ini.render([('keyfile', [('unmanaged-devices+', devices)])])}")

    def addresses(self, desired: Desired) -> Block:
        """Return the profile by which NetworkManager gives a companion its addresses, on the link that is there."""
        mac, name = desired.link.mac, desired.name
        mtu = desired.link.mtu or desired.lease_mtu
        # What the parent is found by, where NetworkManager has a word for that.
        by_mac = desired.key if desired.key.count(":") == 5 else None
        parent = desired.key[len("altname:") :] if desired.key.startswith("altname:") else desired.key
        ethernet = [("mac-address", by_mac and by_mac.upper()), ("cloned-mac-address", mac and mac.upper())]
        macvlan = [("parent", None if by_mac else desired.parent.name), ("mode", str(_BRIDGE))]
        sections: ini.Ini = [
            (
                "connection",
                [
                    ("id", self.profile(name)),
                    ("uuid", str(uuid.uuid5(_NAMESPACE, f"{name} {parent}"))),
                    ("type", "macvlan"),
                    ("interface-name", name),
                ],
            ),
            # A profile without an MTU takes the lease's.
            ("ethernet", _given([*ethernet, ("mtu", str(mtu) if mtu else None)])),
            ("macvlan", _given(macvlan)),
        ]
        text = ini.render([*sections, *self.render(desired.stack)])
        return Block(self.keyfile(name), text, mode=0o600)

    def render(self, stack: Stack) -> ini.Ini:
        """Return the sections for the addresses and routes of both families."""
        return [(f"ipv{version}", _family(stack, version)) for version in (4, 6)]

    def parse(self, text: str) -> Stack:
        """Return what a link gets by a profile of ours."""
        addresses, routes = [], []
        sections = ini.parse(text)
        for _section, pairs in sections:
            keys = dict(pairs)
            for number in range(1, len(keys) + 1):
                if f"address{number}" in keys:
                    address, _slash, prefix = keys[f"address{number}"].partition("/")
                    addresses.append(Address(address, int(prefix)))
                if f"route{number}" in keys:
                    options = dict(one.partition("=")[::2] for one in keys.get(f"route{number}_options", "").split(","))
                    routes.append(Route(keys[f"route{number}"].partition(",")[0], source=options.get("src")))
        return Stack(tuple(addresses), tuple(routes), "auto" in ini.values(sections, "ipv4", "method"))

    def is_active(self, file: File, active: t.Collection[str]) -> bool:
        """Whether NetworkManager has made a link by this profile, or set one up; ``active`` are UUIDs."""
        return any(one in active for one in ini.values(ini.parse(file.text), "connection", "uuid"))

    def retire(self, file: File) -> File:
        """Return a profile of ours that NetworkManager does not use at the next boot.

        If it were removed now, NetworkManager would remove the link with it as soon as it reads its files again.
        """
        if _RETIRED in file.text:
            return file
        return File(file.path, file.text.replace("[connection]\n", f"[connection]\n{_RETIRED}", 1), file.mode)


def _given(pairs: t.Iterable[tuple[str, str | None]]) -> list[tuple[str, str]]:
    return [(key, value) for key, value in pairs if value is not None]


def _family(stack: Stack, version: int) -> list[tuple[str, str]]:
    leased = version == 4 and stack.dhcp4
    addresses = [one for one in stack.addresses if family(one.address) == version]
    # The link-local address is what neighbours are found by.
    method = "manual" if addresses else {4: "disabled", 6: "link-local"}[version]
    keys = list(_LEASE) if leased else [("method", method)]
    keys += [("addr-gen-mode", "0")] if version == 6 else []
    if not addresses and not leased:
        return keys
    keys += [(f"address{number}", f"{one.address}/{one.prefix}") for number, one in enumerate(addresses, 1)]
    routes = [route for route in stack.routes if family(route.destination) == version]
    for number, route in enumerate(routes, 1):
        keys.append((f"route{number}", f"{route.destination},{_DIRECTLY[version]}"))
        options = [f"src={route.source}"] if route.source else []
        # The one that the profile's others do not go to.
        options += ["table=254"] if leased else []
        keys += [(f"route{number}_options", ",".join(options))] if options else []
    return [*keys, ("never-default", "true")]
