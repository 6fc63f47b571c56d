# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From a guard to its entry in the file of stored guards, and back. Pure."""

from __future__ import annotations

import contextlib
import json
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader, model, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

_NOT_STORED = (
    "The change of the guard of {} is not stored. It holds until the guest starts, nftables is reloaded, or the host "
    "boots. Then what was stored before does, if anything was"
)


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


def entries(text: str | None) -> dict[str, t.Any]:
    """Return the entries of the file's text by MAC address, {} without a file.

    :raises MacvtapError: it is not such a file.
    """
    try:
        return dict(json.loads(text)["guards"]) if text is not None else {}
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MacvtapError(f"{loader.STORE} is not a file of this collection: move it away ({exc})") from exc


def not_stored(desired: t.Mapping[str, Guard | None], stored: t.Mapping[str, Guard]) -> str:
    """Return what an error says of guards that stay changed, where the file of stored guards has others; "" of none."""
    macs = sorted(mac for mac, guard in desired.items() if stored.get(mac) != guard)
    return _NOT_STORED.format(join_names(macs)) if macs else ""


def guard_of(mac: str, entry: t.Any) -> Guard:
    """Return the guard of an entry of the file, the inverse of :func:`entry_of`.

    It has an unknown policy, and the entry, if this version would write another one.
    """
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        guard = model.from_options(mac, entry["options"])
        # A former version has stored such ones.
        is_known = guard.policy in (model.DROP, model.COUNT) and not guard.entry
        if is_known and entry_of(guard) == dict(entry):
            return guard
    # The text only of these: it costs as much as the rest, and there may be thousands of entries.
    return Guard(mac, policy=model.UNKNOWN, entry=json.dumps(entry, sort_keys=True))
