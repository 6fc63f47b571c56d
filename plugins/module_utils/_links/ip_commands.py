# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links as ``ip`` commands, for the iproute2 of any supported release. Pure.

The keywords come from the attribute table. A number, a text, and a flag that is ``with_add`` need no more than their
row to survive a reboot. Lists and all other flags are written by hand in :func:`settings`. What is not ``kept`` is not
written. tests/unit/persistence/test_managers.py holds the table against the commands.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place

# A request of iproute2 has room for 1024 bytes.
_MACS_AT_ONCE = 40
_ALTNAMES_AT_ONCE = 4
_WITH_ADD = [one for one in ROWS.values() if one.kept and one.with_add and one.field != "mode"]
# Set afterwards: a keyword and a value.
_PLAIN = [one for one in ROWS.values() if one.kept and not one.with_add and one.type in ("int", "str")]


def create(link: DesiredLink, parent: str, vlan: tuple[str, int] | None = None) -> str:
    """Return the command that creates the link on ``parent``; ``vlan`` is protocol and ID of a VLAN link."""
    words = [f"link add link {parent} name {link.name}"]
    # ``words`` for every kind of link, ``data`` for macvlan and macvtap links.
    data: list[str] = []
    for one in _with_add(link):
        value = one.ip if one.type == "bool" else f"{one.ip} {getattr(link, one.field)}"
        (data if one.wire and one.wire.place is Place.MACVLAN else words).append(value)
    if vlan is not None:
        return " ".join([*words, "type vlan protocol {} id {}".format(*vlan)])
    macs = sorted(link.source_macs or ())[:_MACS_AT_ONCE]
    return " ".join([*words, f"type {link.kind} mode {link.mode}", *data, *(["macaddr set", *macs] if macs else [])])


def newer(link: DesiredLink) -> list[Row]:
    """Return what :func:`create` has a keyword for that an old iproute2 does not know: it would create no link."""
    return [one for one in _with_add(link) if one.ip_since]


def _with_add(link: DesiredLink) -> t.Iterator[Row]:
    """Yield the rows whose keyword is part of the command that creates the link."""
    for one in _WITH_ADD:
        value = getattr(link, one.field)
        # Both flags at once: either alone would clear the other. ip accepts nopromisc in this mode only.
        flag = one.type != "bool" or (one.wire is not None and value is not one.wire.inverted)
        if value is not None and flag and (one.field != "promiscuous" or link.mode == "passthru"):
            yield one


def settings(link: DesiredLink) -> t.Iterator[str]:
    """Yield the commands for an existing link: one setting each, so that a failure affects nothing else."""
    dev = f"link set dev {link.name}"
    for one in _PLAIN:
        value = getattr(link, one.field)
        if value not in (None, ""):
            # Only an alias has spaces.
            yield f"alias {value}" if one.field == "alias" else f"{dev} {one.ip} {value}"
    if link.kind == "macvtap":
        # As a new link has it now, if nothing else is declared: see planner.py.
        yield f"{dev} arp {'on' if link.arp else 'off'}"
        yield f"sysctl net/ipv6/conf/{link.name}/accept_ra {int(bool(link.accept_ra))}"
    if link.allmulticast and link.mode == "passthru" and link.state != "down":
        # macvlan_open() does not pass it on to the parent, whose count would underflow later.
        yield f"{dev} up"
    if link.allmulticast and not (link.mode == "passthru" and link.state == "down"):
        yield f"{dev} allmulticast on"
    altnames = sorted(link.altnames or ())
    for start in range(0, len(altnames), _ALTNAMES_AT_ONCE):
        names = (f"altname {name}" for name in altnames[start:][:_ALTNAMES_AT_ONCE])
        yield f"link property add dev {link.name} {' '.join(names)}"
    for mac in sorted(link.source_macs or ())[_MACS_AT_ONCE:]:
        yield f"{dev} type macvtap macaddr add {mac}"
