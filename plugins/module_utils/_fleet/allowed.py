# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Known conflicts that are allowed by the variable macvtap_preflight_allow of their hosts. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import KINDS, Conflict, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

VARIABLE = "macvtap_preflight_allow"


def read(entries: t.Iterable[str]) -> tuple[str, ...]:
    """Return the entries: a kind of conflict, or a kind and its subject, such as ``mac 52:54:00:00:00:01``.

    :raises MacvtapError: an entry has an unknown kind.
    """
    result = tuple(" ".join(entry.split()) for entry in entries)
    for index, entry in enumerate(result):
        kind = entry.partition(" ")[0]
        if kind not in KINDS:
            hint = did_you_mean(suggest(kind, KINDS, most=1)) or f" ({', '.join(KINDS)})"
            raise MacvtapError(f"unknown kind of conflict {kind!r}{hint}", path=f"{VARIABLE}[{index}]")
    return result


def mark(conflicts: t.Iterable[Conflict], hosts: t.Iterable[Host]) -> list[Conflict]:
    """Return the conflicts; those that all of their hosts allow are marked as allowed."""
    allows = {host.name: host.allowed for host in hosts}
    return [
        replace(one, allowed=all(_allows(allows.get(place.host, ()), one) for place in one.where)) for one in conflicts
    ]


def _allows(entries: t.Iterable[str], conflict: Conflict) -> bool:
    names = {name for place in conflict.where for name in (place.domain, place.nic, place.link, place.network) if name}
    names |= set(conflict.message.replace(",", " ").split())
    for entry in entries:
        kind, _space, subject = entry.partition(" ")
        if kind == conflict.kind and (not subject or subject in names or subject.lower() in names):
            return True
    return False
