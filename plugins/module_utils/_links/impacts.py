# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What it takes to change a field of a link that exists. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import RECREATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact


def impact(before: Link, field: str, value: t.Any, *, up: bool = True) -> Impact:
    """Return what it takes to give ``field`` of a link that exists a new value; ``up`` is what the link is to be."""
    # macvlan_changelink() gives EINVAL for a mode to or from passthru.
    if field in RECREATES or (field == "mode" and "passthru" in (before.mode, value)):
        return Impact.RECREATE
    # On a link in mode passthru that is down, macvlan_changelink() takes from the parent's promiscuity what was
    # never added: it becomes 4294967295 and stays so.
    if field == "promiscuous" and before.mode == "passthru" and not before.up:
        return Impact.RECREATE
    # On one that is up, macvlan_change_rx_flags() takes 1 from the parent's allmulti, which was not added if the link
    # got the flag while it was down. One that goes down loses the flag when it is.
    if field == "allmulticast" and not value and before.mode == "passthru" and before.up and up:
        return Impact.IN_PLACE if before.parent_allmulti else Impact.RECREATE
    return Impact.IN_PLACE
