# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a companion is, a link by which host and guests of one parent reach each other. Plain values only."""

from __future__ import annotations

from dataclasses import dataclass

# The alias of a companion, by which this collection knows its own.
MARK = "linuxvirt.macvtap host access"

STATES = ("present", "absent")


@dataclass(frozen=True)
class Wanted:
    """One companion as a user declared it; None means "leave it as it is" (a new link: the kernel's default).

    ``addresses`` are in their canonical form, without a prefix's length, and ``guests`` networks with one, both in the
    declared order. ``path`` is where the user wrote it (``companions[3]``, or "" for the module's own options).
    """

    name: str
    path: str = ""
    state: str = "present"
    parent: str | None = None
    mac: str | None = None
    mtu: int | None = None
    addresses: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    dhcp4: bool = False


def family(address: str) -> int:
    """Return 4 or 6 for an address or network in its canonical form."""
    return 6 if ":" in address else 4
