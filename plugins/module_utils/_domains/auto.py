# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Applies ``mode: auto`` to declared interfaces: cases for the switch, and modes from its answers. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import assignment, networks, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, Nic, target
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO, Case, kept


def cases(declared: t.Sequence[Desired], host: Host, *, check: bool) -> list[Case]:
    """Return a case for each declared interface that will exist; none without ``check`` and without mode auto."""
    if not check and all(desired.given.get("mode") != AUTO for desired in declared):
        return []
    # The plan reports ambiguous selectors.
    found = assignment.assign(declared, host)
    return [
        case(declared[place], nic, host)
        for place, nic in sorted(found.items())
        if declared[place].present and isinstance(nic, Nic)
    ]


def resolve_modes(declared: t.Sequence[Desired], modes: t.Mapping[str, str | None]) -> list[Desired]:
    """Return ``declared`` with auto replaced by its mode in ``modes``, by path."""
    return [
        replace(desired, given=_with_mode(desired.given, modes.get(desired.path)))
        if desired.given.get("mode") == AUTO
        else desired
        for desired in declared
    ]


def case(desired: Desired, nic: Nic, host: Host) -> Case:
    iface = _existing(nic, host)
    source = desired.given.get("source") or (iface.get("source") if iface else None)
    link = link_of(source, host.links) if host.links is not None else None
    current_mode = None
    if iface is not None:
        moves = not selection.same_source(source, iface.get("source"), host.links)
        current_mode = kept(
            iface.get("mode") or BY_NAME["mode"].implied, moves=moves, declared=desired.given.get("mode")
        )
    return Case(desired.path, target(nic), link.name if link else None, desired.given.get("mode"), current_mode)


def _existing(nic: Nic, host: Host) -> Iface | None:
    """Return the direct interface whose mode counts; the mode of another type means something else."""
    iface = nic.stored or nic.live
    return networks.effective(iface, host.networks, nic.live) if iface and iface.type == "direct" else None


def _with_mode(desired_values: t.Mapping[str, str | None], mode: str | None) -> dict[str, str | None]:
    rest = {name: value for name, value in desired_values.items() if name != "mode"}
    return rest if mode is None else {**rest, "mode": mode}
