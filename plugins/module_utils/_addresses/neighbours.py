# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads the host's neighbour table."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    CLAIMED,
    CONFIRMED,
    NEIGHBOUR,
    STALE,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Links

# include/uapi/linux/neighbour.h
_REACHABLE, _STALE, _DELAY, _PROBE, _PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x80
# Somebody has written a permanent entry down: it is no more than a claim.
_STATES = {_REACHABLE: CONFIRMED, _PERMANENT: CLAIMED, _STALE: STALE, _DELAY: STALE, _PROBE: STALE}


def read(links: Links) -> list[Sighting]:
    """Return the host's neighbours as sightings. Asks nobody."""
    with rtnetlink.open_socket() as sock:
        entries = decode.neighbour_entries(rtnetlink.dump_neighbours(sock))
    uplinks = {link.index: _uplink(link.name, links) for link in links.values()}
    ticks = os.sysconf("SC_CLK_TCK")
    return [
        Sighting(
            one.mac,
            one.address,
            NEIGHBOUR,
            _STATES[one.state],
            None if one.confirmed is None or one.state == _PERMANENT else one.confirmed / ticks,
            uplinks.get(one.link, ""),
        )
        for one in entries
        if one.state in _STATES
    ]


def _uplink(name: str, links: t.Mapping[str, t.Any]) -> str:
    """Return the link on whose LAN a link of the host is: that of a macvlan shim is its parent."""
    link = links[name]
    return (link.parent or "") if link.kind in MACVLAN_KINDS else name
