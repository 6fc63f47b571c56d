# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The argument specification of links, from the table of their attributes. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS, STATES, VLAN_ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# Options without a netlink attribute: the state, the location and the tap of the link.
_STATE = Row("state", "str", choices=STATES)
_PARENT = Row("parent", "str", aliases=("source", "link", "lower", "base_iface"), impact=Impact.RECREATE)
_NETNS = Row("netns", "str")
_TAP = (Row("tap.owner", "str"), Row("tap.group", "str"), Row("tap.mode", "raw"), Row("tap.repair", "bool"))

_OPTIONS = {one.option: one for one in (_STATE, _PARENT, *ROWS.values(), *VLAN_ROWS.values(), _NETNS, *_TAP)}
# Options whose change recreates the link.
RECREATES = frozenset(name for name, one in _OPTIONS.items() if one.impact is Impact.RECREATE)


def specification(*options: str) -> dict[str, t.Any]:
    """Return the argument specification of ``options``: ``queues.tx`` is ``tx`` under ``queues``."""
    spec: dict[str, t.Any] = {}
    for option in options:
        *outer, last = option.split(".")
        inner = spec
        for part in outer:
            inner = inner.setdefault(part, {"type": "dict", "options": {}})["options"]
        inner[last] = _OPTIONS[option].specification()
    return spec


# The options of a macvtap link, by name.
LINK_OPTIONS: t.Mapping[str, t.Any] = specification(
    "state", "parent", *(one.option for one in ROWS.values()), "netns", *(one.option for one in _TAP)
)
