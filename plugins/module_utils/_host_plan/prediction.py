# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the stages before mean for a stage, as nothing was changed on the host by them. Pure.

The roles have the same conditions in check mode.
"""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.model import (
    HOST_ACCESS,
    INTERFACES,
    LINKS,
    NETWORKS,
    VLANS,
    Outcome,
    Outcomes,
    Stage,
)

# Their uplinks may be VLAN links.
_ON_UPLINKS = frozenset((VLANS, LINKS, NETWORKS, INTERFACES, HOST_ACCESS))
# What is removed only when nothing is on it, and the module that takes things off it before.
_USERS = {VLANS: LINKS, NETWORKS: INTERFACES}


def skip_reason(stage: Stage, earlier: Outcomes) -> str | None:
    """Return why the current state of the host does not show what the stage would do, None if it does."""
    if stage.removes and stage.module in _USERS:
        unknown = [one.stage.name for one in _of(_USERS[stage.module], earlier) if one.skipped is not None]
        return f"something may be on it that the stage {unknown[0]} still removes" if unknown else None
    for one in earlier:
        if one.new_vlans and stage.module in _ON_UPLINKS:
            names = _text.join_names(one.new_vlans)
            return f"its uplink may be {names}, which the stage {one.stage.name} still creates"
        if one.changed and one.stage.module == NETWORKS and stage.module == INTERFACES:
            return f"its network may be one that the stage {one.stage.name} still changes"
    return None


def is_forced(stage: Stage, earlier: Outcomes) -> bool:
    """Return whether things are to be removed although others are on them, which an earlier stage still removes."""
    return stage.removes and any(one.changed for one in _of(_USERS.get(stage.module, ""), earlier))


def _of(module: str, earlier: Outcomes) -> list[Outcome]:
    return [one for one in earlier if one.stage.module == module]
