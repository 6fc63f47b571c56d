# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a companion is to have from its manager, and what the managers are told. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

RELOAD = ("networkctl", "reload")

Command = t.Tuple[str, ...]


@dataclass(frozen=True)
class Lease:
    """What a companion is to have from its manager: ``address``, None while it has none.

    ``index`` is the companion's, None while there is none. ``unread`` are the files for which networkd is not told.
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
    """The companions' leases, and the commands that go with the files whatever becomes of those."""

    leases: tuple[Lease, ...] = ()
    commands: tuple[Command, ...] = ()
    warnings: tuple[str, ...] = ()
