# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guards of several guests that exclude each other. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Conflict, DeclaredGuard, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import LEARNED, link_local


def conflicts(fleet: t.Iterable[Host]) -> t.Iterator[Conflict]:
    """Find one address of several guests, and guards of one NIC that differ: on hosts between which it moves, say."""
    holders: dict[tuple[str, str], list[DeclaredGuard]] = {}
    nics: dict[tuple[str, str], list[DeclaredGuard]] = {}
    for host in fleet:
        on = {nic.mac: segments.of_nic(host, nic) for nic in host.nics} if host.guards else {}
        for one in host.guards:
            segment = on.get(one.guard.mac, host.segment)
            nics.setdefault((segment, one.guard.mac), []).append(one)
            for address in one.guard.addresses if one.present else ():
                # Of a prefix, and of a link-local address that follows from the MAC address, many may have a part.
                if "/" not in address and address not in (LEARNED, link_local(one.guard.mac)):
                    holders.setdefault((segment, address), []).append(one)
    for (segment, address), found in holders.items():
        if len({one.guard.mac for one in found}) > 1:
            message = f"{address} is allowed to several guests by their guards"
            hint = "Declare it for one of them. If they share it (VRRP), set macvtap_preflight_allow"
            yield Conflict("address", message, hint, tuple(one.place for one in found), segment)
    for (segment, mac), found in nics.items():
        present = [one for one in found if one.present]
        if len({one.guard for one in present}) > 1:
            message = f"the guards of {mac} differ"
            yield Conflict("migration", message, "Declare the same one", tuple(one.place for one in present), segment)
        # On another host than that of the guest, it may be declared absent.
        both = [one for one in found if one.place.host in {each.place.host for each in found if not each.present}]
        if any(one.present for one in both):
            message = f"the guard of {mac} is declared present and absent"
            yield Conflict("declaration", message, "Remove one of the two", tuple(one.place for one in both), segment)
