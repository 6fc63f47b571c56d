# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in the words of systemd-networkd. Pure.

Measured with systemd 252 over a reboot; it is lenient with what it does not know, so that nothing newer is written.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.escaping import cannot
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    DROP_IN,
    LEASE_TABLE,
    NETWORKD,
    NETWORKD_DIR,
    File,
    Kept,
    Parent,
    Piece,
    Rendered,
    Written,
)

# What udev has to set.
_LEFT = frozenset({"alias", "altnames", "flags", "group", "gso_max_size", "txqueuelen"})
_LINK_LOCAL = {"eui64": "eui64", "stable_secret": "stable-privacy", "random": "random"}
# What of a lease a companion does not take; the host's name on the LAN stays that of its ordinary address, too.
_NOT_TAKEN = ("DNS", "NTP", "SIP", "Domains", "Hostname", "MTU", "Timezone", "Routes", "Gateway")
_PARENT_PREFIX = "70-macvtap-parent-"
_MATCH = {"name": "Name", "altname": "Name", "mac": "PermanentMACAddress", "pci": "Path"}


_NETDEV = re.compile(rf"{NETWORKD_DIR}/50-macvtap-(.+)\.netdev")
# For a link of ours, or by somebody's file, whose name tells nothing.
_DROP_IN = re.compile(rf"{NETWORKD_DIR}/(?:05-macvtap-)?(.+)\.network\.d/{re.escape(DROP_IN)}")
_KIND = re.compile(r"^Kind=(\w+)$", re.MULTILINE)
_ID = re.compile(r"^Id=(\d+)$", re.MULTILINE)


def netdev_file(name: str) -> str:
    return f"{NETWORKD_DIR}/50-macvtap-{name}.netdev"


def network_file(name: str) -> str:
    return f"{NETWORKD_DIR}/05-macvtap-{name}.network"


def unmanaged_file(name: str) -> str:
    # Before any that matches more than it means to.
    return f"{NETWORKD_DIR}/00-macvtap-{name}.network"


def render(kept: Kept) -> Rendered:
    """Return what networkd needs to make the link.

    :raises MacvtapError: it cannot make such a link.
    """
    if kept.tx_queues not in (None, 1) or kept.rx_queues not in (None, 1):
        numbers = f"{kept.tx_queues or 1} transmit and {kept.rx_queues or 1} receive queues"
        raise cannot(kept, "queues", numbers, "networkd", "leave queues out, or leave backend out")
    pieces = (
        Piece(netdev_file(kept.name), _netdev(kept)),
        Piece(network_file(kept.name), _network(kept)),
        _of_parent(kept),
    )
    # Set before the link is up, as networkd does, it never reaches a passthru link's parent.
    return Rendered(pieces, left=_LEFT | {"allmulticast"} if kept.mode == "passthru" else _LEFT)


def leave_alone(kept: Kept, *, extended: bool) -> Piece:
    """Return the file by which networkd leaves the link alone, whatever other files match.

    One that somebody has ``extended`` by a drop-in of theirs is still managed, and gets what they say and nothing else.
    """
    if extended:
        return Piece(network_file(kept.name), _network(replace(kept, up=True, allmulticast=None, addrgenmode=None)))
    lines = [*shared.own_head(kept), "[Match]", f"Name={kept.name}", "", "[Link]", "Unmanaged=yes"]
    return Piece(unmanaged_file(kept.name), "\n".join(lines) + "\n")


def addresses(kept: Kept) -> Piece:
    """Return the file by which networkd gives a companion its addresses, which it does not make."""
    return Piece(network_file(kept.name), _network(kept))


def written(file: File) -> t.Iterator[Written]:
    """Yield what a file of ours says of links that networkd makes."""
    own, drop_in = _NETDEV.fullmatch(file.path), _DROP_IN.fullmatch(file.path)
    if own:
        kind, number = _KIND.search(file.text), _ID.search(file.text)
        protocol = "802.1ad" if "\nProtocol=802.1ad\n" in file.text else "802.1Q"
        vlan = (protocol, int(number[1])) if number else None
        yield Written(own[1], kind[1] if kind else "", NETWORKD, "", vlan)
    elif drop_in or is_parent_file(file.path):
        head, blocks = shared.parse(file.text)
        found = re.search(rf"^({'|'.join(_MATCH.values())})=(?:pci-)?(\S+)$", head, re.MULTILINE)
        parent = found[2] if found else drop_in[1] if drop_in else ""
        for name, (kind_, _text) in blocks.items():
            yield Written(name, kind_, NETWORKD, parent)


def _netdev(kept: Kept) -> str:
    lines = [*shared.own_head(kept), "[NetDev]", f"Name={kept.name}", f"Kind={kept.kind}"]
    if kept.mac:
        lines.append(f"MACAddress={kept.mac}")
    if kept.mtu:
        lines.append(f"MTUBytes={kept.mtu}")
    if kept.kind == "vlan":
        lines += ["", "[VLAN]", f"Id={kept.vlan_id}"]
        # The other one is what it takes by itself.
        lines += ["Protocol=802.1ad"] if kept.protocol == "802.1ad" else []
    else:
        lines += ["", f"[{kept.kind.upper()}]", f"Mode={kept.mode}"]
        lines += [f"SourceMACAddress={' '.join(kept.source_macs)}"] if kept.source_macs else []
    return "\n".join(lines) + "\n"


def _network(kept: Kept) -> str:
    """Return the link's own file: without it, one that matches all links would give it addresses."""
    lines = [*shared.own_head(kept), "[Match]", f"Name={kept.name}", "", "[Link]", "RequiredForOnline=no"]
    if kept.up is not True:
        lines.append("ActivationPolicy=" + ("down" if kept.up is False else "manual"))
    if kept.allmulticast and kept.mode != "passthru":
        lines.append("AllMulticast=yes")
    if kept.kind == COMPANION:
        return "\n".join([*lines, "", *_stack(kept), ""])
    how = _LINK_LOCAL.get(kept.addrgenmode or "none")
    lines += ["", "[Network]", "DHCP=no", f"LinkLocalAddressing={'ipv6' if how else 'no'}"]
    if how:
        lines.append(f"IPv6LinkLocalAddressGenerationMode={how}")
    return "\n".join([*lines, "IPv6AcceptRA=no", ""])


def _stack(kept: Kept) -> t.Iterator[str]:
    """Yield what gives a companion its addresses and its routes."""
    yield from ("[Network]", f"DHCP={'ipv4' if kept.dhcp4 else 'no'}", "LinkLocalAddressing=ipv6", "IPv6AcceptRA=no")
    yield from (f"Address={address}" for address in kept.addresses)
    if kept.dhcp4:
        yield from ("", "[DHCPv4]", *(f"Use{what}=no" for what in _NOT_TAKEN), "SendHostname=no")
        # With a table of its own the kernel routes nothing for the address; UseRoutes alone would leave it the LAN's.
        yield f"RouteTable={LEASE_TABLE}"
    for route in kept.routes:
        yield from ("", "[Route]", f"Destination={route.destination}", "Protocol=static")
        if route.source:
            yield f"PreferredSource={route.source}"
        if family(route.destination) == 4:
            # IPv6 has none.
            yield "Scope=link"


def _of_parent(kept: Kept) -> Piece:
    line = f"[Network]\n{kept.kind.upper()}={kept.name}\n"
    file = kept.parent.network_file
    if file is None:
        return Piece(parent_file(kept.parent), line, shared=True, head=_parent_head(kept))
    if is_parent_file(file):
        return Piece(file, line, shared=True, head=_parent_head(kept))
    # In /etc, and so that an update of the package or a generator at the next boot does not take it away.
    return Piece(f"{NETWORKD_DIR}/{os.path.basename(file)}.d/{DROP_IN}", line, shared=True)


def parent_file(parent: Parent) -> str:
    return f"{NETWORKD_DIR}/{_PARENT_PREFIX}{parent.name}.network"


def is_parent_file(path: str) -> bool:
    """Say whether ``path`` is our file for a parent that nobody else has one for."""
    return os.path.dirname(path) == NETWORKD_DIR and os.path.basename(path).startswith(_PARENT_PREFIX)


def _parent_head(kept: Kept) -> str:
    parent = kept.parent
    said = f"pci-{parent.said}" if parent.by == "pci" else parent.said if parent.by != "name" else parent.name
    match = f"[Match]\n{_MATCH[parent.by]}={said}"
    if any(char in said for char in "*?[]!\"'\\"):
        raise MacvtapError(
            f"'{said}' is a pattern to networkd; say another name of the link {parent.name}",
            path=join_path(kept.path, "parent"),
        )
    # Up, and nothing else.
    nothing = "[Network]\nDHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no"
    return f"{match}\n\n[Link]\nRequiredForOnline=no\n\n{nothing}"
