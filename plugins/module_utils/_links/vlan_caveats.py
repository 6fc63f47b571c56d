# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a user should know of VLAN links that will be on a bridge or on a port of one. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import Case, stays

# They see a frame after vlan_do_receive() has: see __netif_receive_skb_core().
SECOND = ("bridge", "openvswitch")


def warnings(pairs: t.Sequence[Case], links: Links) -> tuple[str, ...]:
    said = []
    for _want, before, after in pairs:
        parent = links.get(after.parent or "") if after is not None else None
        if after is None or parent is None:
            continue
        master = links.get(parent.master or "")
        if master is not None and master.kind in SECOND and not stays(before, after):
            said.append(
                f"{after.name}: {parent.name} is a port of {master.name}. What arrives there in VLAN {after.vlan_id} "
                f"goes to {after.name}, and to {master.name} no more"
            )
        if parent.bridge_vlans is not None and after.vlan_id not in parent.bridge_vlans:
            said.append(
                f"{after.name}: the bridge {parent.name} filters VLANs and keeps VLAN {after.vlan_id} from itself, so "
                f"that nothing reaches {after.name}. Run: bridge vlan add dev {parent.name} vid {after.vlan_id} self"
            )
    return tuple(said)
