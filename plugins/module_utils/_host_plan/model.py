# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The stages of a plan. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

KERNEL = "kernel_macvtap_check"
GUARDS = "macvtap_guard"
PERSISTENCE = "macvtap_persistence"
VLANS = "vlan_link"
LINKS = "macvtap_link"
NETWORKS = "libvirt_direct_network"
INTERFACES = "libvirt_direct_iface"
HOST_ACCESS = "macvtap_host_access"


@dataclass(frozen=True)
class Stage:
    """A module with options. ``removes`` is whether all that it declares is declared absent."""

    name: str
    module: str
    removes: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was found out about a stage.

    ``skipped`` is why it was not planned, ``new_vlans`` are the names of VLAN links that it would create.
    """

    stage: Stage
    changed: bool = False
    skipped: str | None = None
    new_vlans: tuple[str, ...] = ()


Outcomes = t.Sequence[Outcome]
