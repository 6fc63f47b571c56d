# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in the words of ``ip``, as iproute2 5.12 understands them. Pure.

Which word an attribute has is in attributes.py; bclim came with 6.4 and is not among them.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS, Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place

# A request of iproute2 has room for 1024 bytes.
_MACS_AT_ONCE = 40
_ALTNAMES_AT_ONCE = 4


def _valued(*, with_add: bool) -> tuple[Row, ...]:
    """Return the attributes that are a word of ``ip`` and its value, in the command that makes the link or after it."""
    rows = (row for row in ROWS.values() if row.ip and row.with_add is with_add and row.field != "mode")
    return tuple(row for row in rows if row.type in ("int", "str"))


_AFTER = _valued(with_add=False)
_OF_LINK, _OF_MACVLAN = (
    tuple(row for row in _valued(with_add=True) if row.wire and row.wire.place is place)
    for place in (Place.LINK, Place.MACVLAN)
)


def create(link: Wanted, parent: str, vlan: tuple[str, int] | None = None) -> str:
    """Return the words that make the link on ``parent``; ``vlan`` are protocol and ID of a VLAN link."""
    words = [f"link add link {parent} name {link.name}", *_words(_OF_LINK, link)]
    if vlan is not None:
        return " ".join([*words, "type vlan protocol {} id {}".format(*vlan)])
    words.append(f"type {link.kind} mode {link.mode}")
    # At once: either flag alone would take the other one away. ip takes it with this mode only.
    words += ["nopromisc"] if link.promiscuous is False and link.mode == "passthru" else []
    words += ["nodst"] if link.nodst else []
    words += _words(_OF_MACVLAN, link)
    macs = sorted(link.source_macs or ())[:_MACS_AT_ONCE]
    return " ".join([*words, *(["macaddr set", *macs] if macs else [])])


def settings(link: Wanted) -> t.Iterator[str]:
    """Yield what is set when the link is there: one thing each, so that what cannot be set costs nothing else."""
    dev = f"link set dev {link.name}"
    for words in _words(_AFTER, link):
        # It alone has spaces, and stands by itself.
        yield words if words.startswith("alias ") else f"{dev} {words}"
    if link.allmulticast and link.mode == "passthru" and link.state != "down":
        # macvlan_open() does not pass it on to the parent, and what was never added is taken off its count later.
        yield f"{dev} up"
    if link.allmulticast and not (link.mode == "passthru" and link.state == "down"):
        yield f"{dev} allmulticast on"
    altnames = sorted(link.altnames or ())
    for start in range(0, len(altnames), _ALTNAMES_AT_ONCE):
        names = (f"altname {name}" for name in altnames[start : start + _ALTNAMES_AT_ONCE])
        yield f"link property add dev {link.name} {' '.join(names)}"
    for mac in sorted(link.source_macs or ())[_MACS_AT_ONCE:]:
        yield f"{dev} type macvtap macaddr add {mac}"


def _words(rows: t.Iterable[Row], link: Wanted) -> list[str]:
    values = ((row.ip, getattr(link, row.field)) for row in rows)
    return [f"{word} {value}" for word, value in values if value not in (None, "")]
