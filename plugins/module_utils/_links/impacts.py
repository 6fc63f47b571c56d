# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The impact of changing a field of an existing link. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import RECREATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact


def impact_of(before: Link, field: str, value: t.Any, *, up: bool = True) -> Impact:
    """Return the impact of a new value of ``field``; ``up`` is the desired state of the link."""
    # macvlan_changelink() gives EINVAL for a mode to or from passthru.
    if field in RECREATES or (field == "mode" and "passthru" in (before.mode, value)):
        return Impact.RECREATE
    # On a link in mode passthru that is down, macvlan_changelink() decrements the parent's promiscuity although it was
    # never incremented: it underflows to 4294967295.
    if field == "promiscuous" and before.mode == "passthru" and not before.up:
        return Impact.RECREATE
    # On one that is up, macvlan_change_rx_flags() decrements the parent's allmulti, which was not incremented if the
    # flag was set while the link was down. A link that goes down loses the flag afterwards.
    if field == "allmulticast" and not value and before.mode == "passthru" and before.up and up:
        return Impact.IN_PLACE if before.parent_allmulti else Impact.RECREATE
    return Impact.IN_PLACE
