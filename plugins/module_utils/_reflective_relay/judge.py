# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Decides which links can be probed, and what the replies mean. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import ARPHRD_ETHER, MACVLAN_KINDS, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import ProbeReplies, RelayResult


def blocker(link: Link, method: str) -> str | None:
    """Return why the switch behind ``link`` cannot be probed, None if it can."""
    if link.kind in MACVLAN_KINDS:
        lower = link.parent or "its lower link"
        return f"{link.name} is a {link.kind} link: probe {lower} instead"
    if link.loopback or link.hardware != ARPHRD_ETHER:
        return f"{link.name} is not an Ethernet link: there is no switch behind it"
    if not link.up:
        return f"{link.name} is down"
    if not link.carrier:
        return f"{link.name} has no carrier"
    if link.kind == "bridge" and method == "lower":
        # br_dev_xmit() delivers no frame for the bridge's own address.
        return (
            f"{link.name} is a bridge, which keeps frames for its own address: probe its port, or use method endpoints"
        )
    return None


def verdict(link: Link, method: str, replies: ProbeReplies, timeout: int) -> RelayResult:
    """Return what ``replies`` mean, after waiting ``timeout`` ms for each."""
    if replies.failure is not None:
        return RelayResult(link.name, None, replies.failure, method, replies)
    if replies.round_trips:
        return RelayResult(link.name, True, None, method, replies)
    frames = "the frame did not come" if replies.sent == 1 else f"none of {replies.sent} frames came"
    return RelayResult(link.name, False, f"{frames} back within {timeout} ms", method, replies)
