# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""VLAN links, as a user declares them and as modules return them. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import VLAN_ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, Link

# The alias that marks links created by vlan_link.
OWNER_ALIAS = "linuxvirt.macvtap"


@dataclass(frozen=True)
class DesiredVlan:
    """One VLAN link as a user declared it; None means "leave it as it is" (a new link: the kernel's default).

    ``name`` None is that of the parent, a dot and the id: see :func:`vlans.name_of`. ``path`` is where the user
    wrote it (``vlans[3]``, or "" for the module's own options).
    """

    parent: str
    id: int
    name: str | None = None
    protocol: str = "802.1Q"
    mac: str | None = None
    mtu: int | None = None
    state: str = "up"
    path: str = ""

    @property
    def default_name(self) -> str:
        """The name, assuming that ``parent`` is a name, and not an alternative name or an address."""
        return self.name or f"{self.parent}.{self.id}"


# The desired VLAN, the current link, and the link afterwards: the same object where nothing changes.
Case = t.Tuple[DesiredVlan, t.Optional[Link], t.Optional[Link]]


def is_managed(link: Link) -> bool:
    return link.kind == "vlan" and (link.alias == OWNER_ALIAS or is_incomplete(link))


def is_incomplete(link: Link) -> bool:
    """Whether a killed run left the link without its alias."""
    return link.kind == "vlan" and link.group == INCOMPLETE_GROUP and not link.alias


def identity(link: Link) -> tuple[int, int | None, str | None] | None:
    """Return what is unique in the kernel: see vlan_find_dev()."""
    if link.kind != "vlan" or not link.parent_index or link.netns is not None:
        return None
    return (link.parent_index, link.vlan_id, link.vlan_protocol)


def stays(before: Link | None, after: Link | None) -> bool:
    return before is not None and after is not None and identity(before) == identity(after)


def fields(link: Link) -> dict[str, t.Any]:
    """Return what can be declared of a VLAN link, by the options' names."""
    return {
        "parent": link.parent,
        **{row.option: row.shown(link) for row in VLAN_ROWS.values()},
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
    }


def report(link: Link) -> dict[str, t.Any]:
    """Return the link as modules return it."""
    return {"name": link.name, "ifindex": link.index or None, **fields(link), "ours": is_managed(link)}
