# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Declared interfaces as cases of which mode suits the switch, and the answer put into them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import assignment, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import DEFAULT_MODE, target
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.choice import AUTO, Case, kept


def cases(declared: t.Sequence[Desired], host: Host, *, check: bool) -> list[Case]:
    """Return the declared interfaces that will exist, none where nobody asks: not to ``check``, and no mode is auto."""
    if not check and all(desired.given.get("mode") != AUTO for desired in declared):
        return []
    # Of what cannot be told which one is meant, the plan says so.
    found = assignment.assign(declared, host)
    return [
        case(declared[place], nic, host)
        for place, nic in sorted(found.items())
        if declared[place].present and isinstance(nic, Nic)
    ]


def settled(declared: t.Sequence[Desired], modes: t.Mapping[str, str | None]) -> list[Desired]:
    """Return ``declared`` with the ``modes`` that auto stands for, by path."""
    return [
        replace(desired, given=_with_mode(desired.given, modes.get(desired.path)))
        if desired.given.get("mode") == AUTO
        else desired
        for desired in declared
    ]


def case(desired: Desired, nic: Nic, host: Host) -> Case:
    iface = _existing(nic)
    source = desired.given.get("source") or (iface.get("source") if iface else None)
    link = link_of(source, host.links) if host.links is not None else None
    had = None
    if iface is not None:
        moves = not selection.same_source(source, iface.get("source"), host.links)
        had = kept(iface.get("mode") or DEFAULT_MODE, moves=moves)
    return Case(desired.path, target(nic), link.name if link else None, desired.given.get("mode"), had)


def _existing(nic: Nic) -> Iface | None:
    """Return the interface whose mode is kept: the mode of one of another type means something else."""
    iface = nic.stored or nic.live
    return iface if iface is not None and iface.type == "direct" else None


def _with_mode(given: t.Mapping[str, str | None], mode: str | None) -> dict[str, str | None]:
    rest = {name: value for name, value in given.items() if name != "mode"}
    return rest if mode is None else {**rest, "mode": mode}
