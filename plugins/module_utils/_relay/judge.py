# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On which links there is a switch to be asked, and what its answer means. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import ARPHRD_ETHER, MACVLAN_KINDS, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.model import Echoes, Verdict


def obstacle(link: Link, method: str) -> str | None:
    """Say why the switch behind ``link`` cannot be asked, None if it can."""
    if link.kind in MACVLAN_KINDS:
        on = f", {link.parent}" if link.parent else ""
        return f"{link.name} is itself a {link.kind} link: ask on the link below it{on}"
    if link.loopback or link.hardware != ARPHRD_ETHER:
        return f"{link.name} is no Ethernet link: there is no switch behind it"
    if not link.up:
        return f"{link.name} is down"
    if not link.carrier:
        return f"{link.name} has no carrier"
    if link.kind == "bridge" and method == "lower":
        # br_dev_xmit() gives a frame for the bridge's own address to nobody.
        return f"{link.name} is a bridge, which keeps frames for its own address: ask on its port, or by two endpoints"
    return None


def verdict(link: Link, method: str, echoes: Echoes, timeout: int) -> Verdict:
    """Return what ``echoes`` mean, each of which was waited for ``timeout`` ms."""
    if echoes.failure is not None:
        return Verdict(link.name, None, echoes.failure, method, echoes)
    if echoes.round_trips:
        return Verdict(link.name, True, None, method, echoes)
    frames = "the frame that was sent did not come" if echoes.sent == 1 else f"none of {echoes.sent} frames came"
    return Verdict(link.name, False, f"{frames} back within {timeout} ms", method, echoes)
