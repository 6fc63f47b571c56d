# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Warnings about VLAN links on a bridge, or on a port of one. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import Case, stays

# They receive a frame after vlan_do_receive(): see __netif_receive_skb_core().
SECOND = ("bridge", "openvswitch")


def warnings(pairs: t.Sequence[Case], links: Links) -> tuple[str, ...]:
    messages = []
    for _entry, before, after in pairs:
        parent = links.get(after.parent or "") if after is not None else None
        if after is None or parent is None:
            continue
        master = links.get(parent.master or "")
        if master is not None and master.kind in SECOND and not stays(before, after):
            messages.append(
                f"{after.name}: {parent.name} is a port of {master.name}. Frames of VLAN {after.vlan_id} that arrive "
                f"there go to {after.name}, no longer to {master.name}"
            )
        if parent.bridge_vlans is not None and after.vlan_id not in parent.bridge_vlans:
            messages.append(
                f"{after.name}: the bridge {parent.name} filters VLANs and does not accept VLAN {after.vlan_id} "
                f"itself, so {after.name} receives nothing. Run: "
                f"bridge vlan add dev {parent.name} vid {after.vlan_id} self"
            )
    return tuple(messages)
