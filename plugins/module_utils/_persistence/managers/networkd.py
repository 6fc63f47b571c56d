# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""systemd-networkd: how it leaves links alone, and gives shims their addresses. Pure.

Measured with systemd 252 over a reboot; it is lenient with what it does not know, so that nothing newer is written.
"""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import ini
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    LEASE_TABLE,
    Block,
    Desired,
)

# What of a lease a shim does not take; the host's name on the LAN stays that of its ordinary address, too.
_NOT_TAKEN = ("DNS", "NTP", "SIP", "Domains", "Hostname", "MTU", "Timezone", "Routes", "Gateway")
DIRECTORY = "/etc/systemd/network"
# Of earlier versions, in which networkd made links: what was added to others' files.
DROP_IN = "50-macvtap.conf"
PATTERNS = (
    f"{DIRECTORY}/*-macvtap-*.netdev",
    f"{DIRECTORY}/*-macvtap-*.network",
    f"{DIRECTORY}/*.network.d/{DROP_IN}",
)
# Why it makes no link.
WHY_NOT = "networkd makes links by the uplink's own file, and leaves the uplink without addresses if it cannot"


def network_file(name: str) -> str:
    return f"{DIRECTORY}/05-macvtap-{name}.network"


def unmanaged_file(name: str) -> str:
    # Before any that matches more than it means to.
    return f"{DIRECTORY}/00-macvtap-{name}.network"


def leave_alone(name: str, *, extended: bool) -> Block:
    """Return the file by which networkd leaves the link alone, whatever other files match.

    One that somebody has ``extended`` by a drop-in is still managed, and gets what that says and nothing else.
    """
    if extended:
        nothing = [("DHCP", "no"), ("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no")]
        text = ini.render([*_head(name, ("RequiredForOnline", "no")), ("Network", nothing)])
        return Block(network_file(name), text)
    return Block(unmanaged_file(name), ini.render(_head(name, ("Unmanaged", "yes"))))


def addresses(desired: Desired) -> Block:
    """Return the file by which networkd gives a shim, which it does not make, its addresses and routes."""
    name, shim = desired.name, desired.shim
    network = [("DHCP", "ipv4" if shim.dhcp4 else "no")]
    network += [("LinkLocalAddressing", "ipv6"), ("IPv6AcceptRA", "no")]
    network += [("Address", f"{one.address}/{one.prefix}") for one in shim.addresses]
    sections = [*_head(name, ("RequiredForOnline", "no")), ("Network", network)]
    if shim.dhcp4:
        # With a table of its own the kernel routes nothing for the address; UseRoutes alone would leave it the
        # LAN's.
        not_taken = [(f"Use{what}", "no") for what in _NOT_TAKEN]
        sections.append(("DHCPv4", [*not_taken, ("SendHostname", "no"), ("RouteTable", LEASE_TABLE)]))
    for route in shim.routes:
        # IPv6 has none.
        scope = "link" if family(route.destination) == 4 else None
        keys = [("Destination", route.destination), ("Protocol", "static"), ("PreferredSource", route.source)]
        sections.append(("Route", [*keys, ("Scope", scope)]))
    return Block(network_file(name), ini.render(sections))


def asks(text: str) -> bool:
    """Whether a file of ours has networkd get the link an address by DHCP."""
    return "\nDHCP=ipv4\n" in text


def _head(name: str, line: tuple[str, str]) -> ini.Ini:
    return [("Match", [("Name", name)]), ("Link", [line])]
