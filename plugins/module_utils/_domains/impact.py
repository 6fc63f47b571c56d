# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What it takes to bring a stored interface into a running guest. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, FIELDS, is_libvirts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import same_source
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# How much a running guest may feel: the option's words, and what each of them allows.
LEVELS: t.Mapping[str, frozenset[Impact]] = {
    "none": frozenset(),
    "update": frozenset({Impact.LIVE}),
    "replug": frozenset({Impact.LIVE, Impact.REPLUG}),
}


def differing(live: Iface, stored: Iface, links: Links | None) -> list[str]:
    """Return the fields in which they differ, apart from what libvirt makes up for what is running."""
    names = ["type"] if live.type != stored.type else []
    for field in FIELDS:
        one, other = live.get(field.name), stored.get(field.name)
        if field.name == "source" and same_source(one, other, links):
            continue
        made_up = all(text is None or is_libvirts(field.name, text) for text in (one, other))
        if one != other and not made_up and not (field.name == "address" and other is None):
            names.append(field.name)
    return names


def need(name: str, live: Iface, wanted: Iface, host: Host) -> Impact:
    """Return the least that gives the running ``live`` interface the ``wanted`` value of a field."""
    if name == "type":
        return Impact.REPLUG
    if name == "mode":
        # macvlan_changelink() refuses only a mode to or from passthru.
        reachable = host.links is not None and (live.get("target") or "") in host.links
        return Impact.LIVE if reachable and "passthrough" not in (live.get(name), wanted.get(name)) else Impact.REPLUG
    field = BY_NAME[name]
    return Impact.REPLUG if host.version in field.not_with else field.needs
