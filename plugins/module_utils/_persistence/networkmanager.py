# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in the words of NetworkManager's keyfiles. Pure."""

from __future__ import annotations

import re
import typing as t
import uuid
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.escaping import cannot
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    HEADER,
    LEASE_TABLE,
    NETWORKMANAGER,
    NETWORKMANAGER_DIR,
    UNMANAGED_FILE,
    File,
    Kept,
    Piece,
    Rendered,
    Written,
)

# NMSettingMacvlanMode
_MODES = {"vepa": 1, "bridge": 2, "private": 3, "passthru": 4}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "linuxvirt.macvtap")
# What udev has to set.
_LEFT = frozenset({"alias", "allmulticast", "altnames", "flags", "group", "gso_max_size", "txqueuelen"})
# With a table of its own the lease's network is not routed either; and the host's name on the LAN stays that of its
# ordinary address.
_LEASE = {
    "method": "auto",
    "ignore-auto-routes": "true",
    "ignore-auto-dns": "true",
    "dhcp-send-hostname": "false",
    "route-table": LEASE_TABLE,
}
_OTHERS = "leave backend out"


_KEYFILE = re.compile(rf"{NETWORKMANAGER_DIR}/macvtap-(.+)\.nmconnection")
_RETIRED = "autoconnect=false\n"


def keyfile(name: str) -> str:
    return f"{NETWORKMANAGER_DIR}/{profile(name)}.nmconnection"


def profile(name: str) -> str:
    return f"macvtap-{name}"


def render(kept: Kept) -> Rendered:
    """Return the profile by which NetworkManager makes the link.

    :raises MacvtapError: it cannot make such a link.
    """
    if kept.kind != "vlan" and kept.mode not in _MODES:
        raise cannot(kept, "mode", f"mode {kept.mode}", "NetworkManager", _OTHERS)
    if kept.tx_queues not in (None, 1) or kept.rx_queues not in (None, 1):
        numbers = f"{kept.tx_queues or 1} transmit and {kept.rx_queues or 1} receive queues"
        raise cannot(kept, "queues", numbers, "NetworkManager", "leave queues out, or leave backend out")
    if kept.parent.by in ("pci", "altname"):
        said = f"the parent {kept.parent.said}, which is no name and no MAC address of it,"
        raise cannot(kept, "parent", said, "NetworkManager", f"use its name or MAC address, or {_OTHERS}")
    if kept.parent.by == "mac" and kept.parent.kind:
        said = f"the parent {kept.parent.said}, which is no physical link,"
        raise cannot(kept, "parent", said, "NetworkManager", f"use its name, {kept.parent.name}")
    return Rendered((Piece(keyfile(kept.name), _profile(kept), mode=0o600),), _LEFT, tuple(_warnings(kept)))


def addresses(kept: Kept) -> Piece:
    """Return the profile by which NetworkManager gives a companion its addresses, on the link that is there."""
    by_name = kept.parent.by in ("pci", "altname") or kept.parent.kind
    parent = replace(kept.parent, by="name") if by_name else kept.parent
    return Piece(keyfile(kept.name), _profile(replace(kept, parent=parent)), mode=0o600)


def leave_alone(names: t.Iterable[str]) -> File:
    """Return the file by which NetworkManager leaves the links alone."""
    said = ";".join(f"interface-name:{name}" for name in sorted(names))
    return File(UNMANAGED_FILE, f"{HEADER}\n[keyfile]\nunmanaged-devices+={said}\n")


def left_alone(file: File) -> set[str]:
    return set(re.findall(r"interface-name:([^;\s]+)", file.text))


def retire(file: File) -> File:
    """Return a profile of ours that NetworkManager does not use at the next boot.

    If it were removed now, NetworkManager would remove the link with it as soon as it reads its files again.
    """
    text = file.text
    return File(
        file.path,
        text if _RETIRED in text else text.replace("[connection]\n", f"[connection]\n{_RETIRED}", 1),
        file.mode,
    )


def is_active(file: File, active: t.Collection[str]) -> bool:
    found = re.search(r"^uuid=(\S+)$", file.text, re.MULTILINE)
    return found is not None and found[1] in active


def written(file: File) -> t.Iterator[Written]:
    """Yield the link that a profile of ours makes."""
    own = _KEYFILE.fullmatch(file.path)
    if own:
        said = dict(re.findall(r"^([a-z-]+)=(.*)$", file.text, re.MULTILINE))
        kind = said.get("type", "")
        vlan = (said.get("protocol", "802.1Q"), int(said["id"])) if kind == "vlan" and said["id"].isdigit() else None
        kind = "macvtap" if said.get("tap") == "true" else kind
        yield Written(own[1], kind, NETWORKMANAGER, said.get("parent") or said.get("mac-address", "").lower(), vlan)


def _warnings(kept: Kept) -> t.Iterator[str]:
    if kept.up is False:
        yield (
            f"{kept.name}: NetworkManager has no links that are down; after a reboot this one is up until the next "
            "run. Set state: up or present, or leave backend out"
        )
    if kept.addrgenmode not in (None, "none"):
        yield (
            f"{kept.name}: NetworkManager sets addrgenmode none on its links; after a reboot this one has it until the "
            "next run. Leave addrgenmode or backend out"
        )


def _stack(kept: Kept, version: int) -> dict[str, t.Any]:
    """Return the addresses and routes of a companion, with the metric that the kernel gives to a route without one."""
    said: dict[str, t.Any] = {"method": "manual"}
    if version == 6:
        said["addr-gen-mode"] = 0
    if version == 4 and kept.dhcp4:
        said.update(_LEASE)
    addresses = [address for address in kept.addresses if family(address) == version]
    if said["method"] == "manual" and not addresses:
        # The link-local address is what neighbours are found by.
        return {**said, "method": "link-local" if version == 6 else "disabled"}
    said.update((f"address{number}", address) for number, address in enumerate(addresses, 1))
    nowhere, metric = ("::", 1024) if version == 6 else ("0.0.0.0", 0)  # noqa: S104  # no gateway
    routes = [route for route in kept.routes if family(route.destination) == version]
    for number, route in enumerate(routes, 1):
        said[f"route{number}"] = f"{route.destination},{nowhere},{metric}"
        options = [f"src={route.source}"] if route.source else []
        # The one that the profile's others do not go to.
        options += ["table=254"] if said["method"] == "auto" else []
        said[f"route{number}_options"] = ",".join(options) or None
    return {**said, "never-default": "true"}


def _profile(kept: Kept) -> str:
    parent = kept.parent
    vlan = kept.kind == "vlan"
    sections: dict[str, dict[str, t.Any]] = {
        "connection": {
            "id": profile(kept.name),
            "uuid": str(uuid.uuid5(_NAMESPACE, f"{kept.name} {parent.said or parent.name}")),
            "type": "vlan" if vlan else "macvlan",
            "interface-name": kept.name,
        },
        "ethernet": {
            "mac-address": parent.said.upper() if parent.by == "mac" else None,
            "cloned-mac-address": kept.mac.upper() if kept.mac else None,
            # A profile without one takes the lease's.
            "mtu": kept.mtu or kept.lease_mtu,
        },
        "vlan" if vlan else "macvlan": {
            "parent": parent.name if parent.by == "name" else None,
            **(
                {"id": kept.vlan_id, "flags": 1, "protocol": kept.protocol if kept.protocol == "802.1ad" else None}
                if vlan
                else {
                    "mode": _MODES[kept.mode or "vepa"],
                    "promiscuous": "false" if kept.promiscuous is False and kept.mode == "passthru" else None,
                    "tap": "true" if kept.kind == "macvtap" else None,
                }
            ),
        },
        "ipv4": _stack(kept, 4) if kept.kind == COMPANION else {"method": "disabled"},
        "ipv6": _stack(kept, 6) if kept.kind == COMPANION else {"method": "disabled"},
    }
    lines = shared.own_head(kept)
    for section, pairs in sections.items():
        said = [f"{key}={value}" for key, value in pairs.items() if value is not None]
        lines += [f"[{section}]", *said, ""] if said else []
    return "\n".join(lines)
