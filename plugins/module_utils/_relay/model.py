# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What was sent on a parent and came back, and what that says of its switch port. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

METHODS = ("lower", "endpoints")
# IEEE 802: the first of the two ethertypes for local experiments, which no protocol has.
ETHERTYPE = 0x88B5
# A frame that comes back takes far less than a millisecond; a "no" costs the product of the two.
TIMEOUT = 25  # ms
COUNT = 2


@dataclass(frozen=True)
class Echoes:
    """What came of asking on one parent.

    ``round_trips`` are in ms, one for each frame that came back. ``failure`` is why no frame could be sent, None
    where one could.
    """

    source: str | None = None
    destination: str | None = None
    sent: int = 0
    round_trips: tuple[float, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether the switch port behind ``parent`` reflects frames: None where that is unknown, for this ``reason``."""

    parent: str
    reflects: bool | None
    reason: str | None = None
    method: str = METHODS[0]
    echoes: Echoes = Echoes()


Answers = t.Mapping[str, Verdict]  # by the names of the parents


def report(verdict: Verdict) -> dict[str, t.Any]:
    """Return the verdict as modules return it."""
    echoes = verdict.echoes
    return {
        "parent": verdict.parent,
        "reflective_relay": verdict.reflects,
        "reason": verdict.reason,
        "round_trips": list(echoes.round_trips),
        "sent": {
            "method": verdict.method,
            "frames": echoes.sent,
            "ethertype": f"0x{ETHERTYPE:04x}",
            "source": echoes.source,
            "destination": echoes.destination,
        },
    }
