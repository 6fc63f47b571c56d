# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The leases of macvlan shims, and the commands for their network managers. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

RELOAD = ("networkctl", "reload")

Command = t.Tuple[str, ...]


@dataclass(frozen=True)
class Lease:
    """The lease of one macvlan shim: its ``address``, or None while it has none.

    ``index`` is the shim's ifindex, None before it exists. ``unread`` are changed files because of which networkd is
    not reloaded.
    """

    name: str
    manager: str
    path: str = ""
    index: int | None = None
    address: str | None = None
    commands: tuple[Command, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def asked(self) -> bool:
        return self.index is not None and self.address is None and not self.unread


@dataclass(frozen=True)
class Leases:
    """The shims' leases, and the commands that the changed files need in any case."""

    leases: tuple[Lease, ...] = ()
    commands: tuple[Command, ...] = ()
    warnings: tuple[str, ...] = ()
