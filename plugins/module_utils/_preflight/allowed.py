# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts that users know of and allow, by the variable macvtap_preflight_allow of the hosts concerned. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import KINDS, Conflict, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

VARIABLE = "macvtap_preflight_allow"


def read(entries: t.Iterable[str]) -> tuple[str, ...]:
    """Return the entries: a kind of conflict, or a kind and what it is about, such as ``mac 52:54:00:00:00:01``.

    :raises MacvtapError: there is no such kind.
    """
    found = tuple(" ".join(entry.split()) for entry in entries)
    for index, entry in enumerate(found):
        kind = entry.partition(" ")[0]
        if kind not in KINDS:
            hint = did_you_mean(suggest(kind, KINDS, most=1)) or f" ({', '.join(KINDS)})"
            raise MacvtapError(f"there is no kind {kind!r} of conflict{hint}", path=f"{VARIABLE}[{index}]")
    return found


def marked(conflicts: t.Iterable[Conflict], hosts: t.Iterable[Host]) -> list[Conflict]:
    """Return the conflicts, with a mark on those that all of their hosts allow."""
    allows = {host.name: host.allowed for host in hosts}
    return [
        replace(one, allowed=all(_allows(allows.get(place.host, ()), one) for place in one.where)) for one in conflicts
    ]


def _allows(entries: t.Iterable[str], conflict: Conflict) -> bool:
    names = {name for place in conflict.where for name in (place.domain, place.nic, place.link) if name}
    names |= set(conflict.message.replace(",", " ").split())
    for entry in entries:
        kind, _space, about = entry.partition(" ")
        if kind == conflict.kind and (not about or about in names or about.lower() in names):
            return True
    return False
