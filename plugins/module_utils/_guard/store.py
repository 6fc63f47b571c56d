# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From a guard to its entry in the file of stored guards, and back. Pure."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import model, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard


def entry_of(guard: Guard) -> dict[str, t.Any]:
    """Return a guard as the file has it: its options, and what the program loads.

    One that was read from an entry that this version would not write is that entry.
    """
    if guard.entry:
        return t.cast("dict[str, t.Any]", json.loads(guard.entry))
    return {
        "options": guard.options,
        # A guest that is only watched starts in any case.
        "required": guard.policy == model.DROP,
        "chain": rules.chain_name(guard.mac),
        "sets": rules.sets(guard),
        "rules": rules.render(guard),
    }


def guard_of(mac: str, entry: t.Any) -> Guard:
    """Return the guard of an entry of the file, the inverse of :func:`entry_of`.

    It has an unknown policy, and the entry, if this version would write another one.
    """
    unknown = Guard(mac, policy=model.UNKNOWN, entry=json.dumps(entry, sort_keys=True))
    try:
        guard = model.from_options(mac, entry["options"])
        # A former version has stored such ones.
        is_known = guard.policy in (model.DROP, model.COUNT) and not guard.entry
        return guard if is_known and entry_of(guard) == dict(entry) else unknown
    except (KeyError, TypeError, ValueError, AttributeError):
        return unknown
