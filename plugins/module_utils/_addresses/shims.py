# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Asks the kernel by which macvlan shim this host reaches an address."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import is_link_local
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links


def reached_by(addresses: t.Iterable[str], links: Links) -> dict[str, tuple[str, str]]:
    """Return by which shim this host sends to each of these addresses: its name, and its uplink.

    Only shims in mode bridge, which alone exchange frames with guests, and only addresses that are no gateway away.
    """
    shims = {
        link.index: (link.name, link.parent)
        for link in links.values()
        if link.kind == "macvlan" and link.mode == "bridge" and link.parent
    }
    if not shims:
        return {}
    found = {}
    with rtnetlink.open_socket() as sock:
        for address in dict.fromkeys(addresses):
            if is_link_local(address):
                continue
            route = rtnetlink.route_between(sock, b"", ipaddress.ip_address(address).packed)
            index, gateway = decode.route_of(route)
            if index in shims and gateway is None:
                found[address] = shims[index]
    return found
