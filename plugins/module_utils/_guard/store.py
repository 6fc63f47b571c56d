# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From a guard to its entry in the file of stored guards, and back. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import model, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard


def entry_of(guard: Guard) -> dict[str, t.Any]:
    """Return a guard as the file has it: its options, and what the program loads."""
    return {
        "options": guard.options,
        # A guest that is only watched starts in any case.
        "required": guard.policy == model.DROP,
        "chain": rules.chain_name(guard.mac),
        "sets": rules.sets(guard),
        "rules": rules.render(guard),
    }


def guard_of(mac: str, entry: t.Any) -> Guard:
    """Return the guard of an entry of the file, with an unknown policy if this version would write another entry."""
    unknown = Guard(mac, policy=model.UNKNOWN)
    try:
        guard = model.from_options(mac, entry["options"])
        return guard if entry_of(guard) == dict(entry) else unknown
    except (KeyError, TypeError, ValueError, AttributeError):
        return unknown
