# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Probe frames of a parent and their replies, and what they mean for its switch port. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

METHODS = ("lower", "endpoints")
# IEEE 802: the first of the two ethertypes for local experiments, unused by any protocol.
ETHERTYPE = 0x88B5
# A reflected frame takes far less than a millisecond; a "no" costs TIMEOUT times COUNT.
TIMEOUT = 25  # ms
COUNT = 2


@dataclass(frozen=True)
class ProbeReplies:
    """The replies to the probe of one parent.

    ``round_trips`` are in ms, one for each reflected frame. ``failure`` is why no frame could be sent, None if one
    could.
    """

    source: str | None = None
    destination: str | None = None
    sent: int = 0
    round_trips: tuple[float, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class RelayResult:
    """Whether the switch port behind ``parent`` reflects frames; None if unknown, for this ``reason``."""

    parent: str
    reflects: bool | None
    reason: str | None = None
    method: str = METHODS[0]
    replies: ProbeReplies = ProbeReplies()


Answers = t.Mapping[str, RelayResult]  # by the names of the parents


def report(verdict: RelayResult) -> dict[str, t.Any]:
    """Return the verdict as modules return it."""
    replies = verdict.replies
    return {
        "parent": verdict.parent,
        "reflective_relay": verdict.reflects,
        "reason": verdict.reason,
        "round_trips": list(replies.round_trips),
        "sent": {
            "method": verdict.method,
            "frames": replies.sent,
            "ethertype": f"0x{ETHERTYPE:04x}",
            "source": replies.source,
            "destination": replies.destination,
        },
    }
