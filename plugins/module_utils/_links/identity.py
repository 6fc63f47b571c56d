# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Identifies links while others rename, remove and recreate links. Pure.

A name can move to another link at any moment, and so can an index after a removal. The kernel reuses an index only when
all others are used up, or on request. So index, kind and parent together identify a link.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links, Tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import identity as vlan_identity
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import is_managed

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

Places = t.Mapping[t.Tuple[t.Optional[str], int], Link]  # by their namespaces and indexes


def is_same(now: Link, known: Link) -> bool:
    """Whether ``now`` is the link ``known``, regardless of names."""
    return fixed(now) == fixed(known)


def fixed(link: Link) -> tuple[t.Any, ...]:
    """Return what identifies a link as long as it is there."""
    on = (link.lower_netns, link.lower) if link.elsewhere else (None, link.parent_index)
    return link.netns, link.index, link.kind, on, vlan_identity(link)


def by_index(links: Links) -> Places:
    return {(link.netns, link.index): link for link in links.values()}


def find(known: Link, there: Places) -> Link | None:
    """Return the link ``known`` among those ``there``, under any name; None if it is gone."""
    link = there.get((known.netns, known.index))
    return link if link is not None and is_same(link, known) else None


def find_made(after: Link, links: Links, there: Places, index: int = 0) -> Link | None:
    """Return the link that was created as ``after``, under any name; None if it does not exist.

    ``index`` is the one from the kernel, 0 if unknown. Then the MAC address, which the adapter always sets, identifies
    it.
    """
    # The kernel puts a link created on a macvlan link onto the lower link of that.
    above = links.get(after.parent or "")
    if index:
        candidates = [there.get((after.netns, index))]
    else:
        named = links.get(after.key)
        candidates = [named, *links.values()] if named is None else [named]
        if named is not None and not _is_made(named, after, above, known=False):
            candidates = list(links.values())
    made = (link for link in candidates if link is not None and _is_made(link, after, above, known=bool(index)))
    return next(made, None)


def _is_made(link: Link, after: Link, above: Link | None, *, known: bool) -> bool:
    if (link.netns, link.kind) != (after.netns, after.kind) or not _is_on(link, after, above):
        return False
    if link.kind == "vlan":
        return vlan_identity(link) == vlan_identity(after) and is_managed(link)
    return known or after.mode == "passthru" == link.mode or (after.mac is not None and link.mac == after.mac)


def _is_on(link: Link, after: Link, above: Link | None) -> bool:
    if above is not None and above.kind in MACVLAN_KINDS and above.elsewhere:
        return (link.lower_netns, link.lower) == (above.lower_netns, above.lower)
    return link.parent_index == after.parent_index


def taken_up(made: Link) -> str:
    """Say why a link that this run has made is not removed on the way back, "" where it is.

    No module of ours makes ports: somebody uses it, and removing it would cut that off.
    """
    return f"made by this run, and made a port of {made.master} since then, so that it stays" if made.master else ""


def moved(step: Step[Link], there: Places) -> str:
    """Return how the link of ``step`` has changed since it was observed, "" if it is the same."""
    before = t.cast("Link", step.before)
    now = find(before, there)
    if now is None:
        return "has been removed or recreated"
    if now.name != before.name:
        return f"is now named {now.name}"
    if now.master != before.master:
        return f"is now a port of {now.master}" if now.master else f"is no longer a port of {before.master}"
    leaves = step.after is None or step.recreates
    if leaves and before.kind in MACVLAN_KINDS and before.mode != "passthru" and now.mac != before.mac:
        return f"now has the MAC address {now.mac}"
    return ""


def parent_moved(step: Step[Link], links: Links) -> str:
    """Return how the parent of ``step`` has changed since it was observed, "" if it is the same."""
    after = step.after
    if after is None or after.parent is None:
        return ""
    parent = links.get(after.parent)
    if parent is None:
        return f"has the parent {after.parent}, which no longer exists"
    return "" if parent.index == after.parent_index else f"has the parent {after.parent}, which is now another link"


def tap_differs(step: Step[Link]) -> bool:
    before, after = t.cast("Link", step.before), t.cast("Link", step.after)
    return after.tap is not None and (after.tap.repair or after.tap != before.tap)


def sets_tap(step: Step[Link], now: Tap) -> bool:
    """Whether the created link of ``step``, whose tap is ``now``, gets permissions.

    It does not if nobody has declared them: the former link had no node of its own to take them from, or the new one
    has none to set them on, as in a container whose /dev the kernel does not fill.
    """
    desired = t.cast("Tap", t.cast("Link", step.after).tap)
    if desired.repair:
        return True
    inherited = step.before is not None and desired == step.before.tap
    return not ((desired.path and desired.fault) or (inherited and now.fault))
