# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Refuses to remove the boot configuration of links that guests or other links use. Pure.

macvtap_link and vlan_link do not remove such a link, so the next boot must create it. The next boot would remove one
that they do not remove at all, such as an undeclared VLAN link.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    MACVLAN_KINDS,
    DesiredLink,
    Holders,
    Link,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import disruptions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Decision, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


class Removal(t.NamedTuple):
    """A current link whose configuration goes, by the option ``path``.

    ``on_it`` are the links that are on it and stay. ``taps`` are the macvtap links that would lose their
    guests with it: itself, or those on it that are about to leave it, which a guest can still prevent.
    """

    link: Link
    path: str
    on_it: tuple[Link, ...]
    taps: tuple[Link, ...]


def removals(resolved: Resolved, host: Host, planned: Plan[File], group: int | None = None) -> list[Removal]:
    """Return the links that are there, and whose configuration goes because they are to be absent.

    ``group`` is that of the macvtap links to purge, written or not. With persistence none something else creates a
    link at boot, so that is no removal.
    """
    lost = {one.link: one.path for one in disruptions.unconfigured(resolved, host, planned)}
    gone = {name: path for name, path in lost.items() if not _is_left_to_others(host.links[name], resolved)}
    found = []
    for name, path in gone.items():
        link = host.links[name]
        above = list(parents.standing_on(link, host.links))
        leaving = [one for one in above if one.name in gone or _leaves(one, resolved, host, group)]
        on_it = tuple(one for one in above if one not in leaving)
        taps = tuple(one for one in (link, *leaving) if one.kind == "macvtap")
        found.append(Removal(link, path, on_it, taps))
    return found


def check(found: t.Iterable[Removal], held: t.Mapping[str, Holders], *, check_mode: bool = False) -> list[str]:
    """Refuse to remove the configuration of links in use; ``held`` is keyed by the macvtap links.

    Return warnings instead, with ``check_mode``, about macvtap and macvlan links on a VLAN link: in a playbook, another
    task may remove these NICs and shims first, and has not done so in check mode.

    :raises MacvtapError: for the first such link.
    """
    warnings = []
    for one in found:
        name = one.link.name
        on_it = f"{join_names([each.name for each in one.on_it])} {'are' if len(one.on_it) > 1 else 'is'} on it"
        removable = check_mode and all(each.kind in MACVLAN_KINDS for each in one.on_it)
        uses = [on_it] if one.on_it and not removable else []
        uses += [f"it is a port of {one.link.master}"] if one.link.master else []
        uses += [use for tap in one.taps if (use := _use(tap, name, held.get(tap.key, Holders())))]
        if uses:
            message = f"{name} is in use, and removing its configuration would break that at the next boot: {uses[0]}"
            instead = f", declare {name}" if one.path == "purge" else ""
            raise MacvtapError(f"{message}. Fix that first{instead}, or set force: true", path=one.path)
        if one.on_it:
            warnings.append(
                f"{name} is in use: {on_it}. Without check mode, removing the configuration of {name} is refused, "
                "unless an earlier task has removed that"
            )
    return warnings


def _use(tap: Link, name: str, who: Holders) -> str:
    its = "its tap" if tap.name == name else f"the tap of {tap.name}"
    if who.by:
        return f"{', '.join(map(str, who.by))} holds {its} open"
    return f"whether a process holds {its} open is unknown: {who.doubt}" if who.doubt else ""


def _is_left_to_others(link: Link, resolved: Resolved) -> bool:
    """Whether the link is declared to exist, and something else is to create it at boot."""
    decision = resolved.decisions.get(link.name)
    return decision is not None and decision.replaces(link.kind) and not decision.absent and not _netns(decision)


def _leaves(link: Link, resolved: Resolved, host: Host, group: int | None) -> bool:
    """Whether a link that is not written is declared absent, moves to another parent, or is purged."""
    decision = resolved.decisions.get(link.name)
    if decision is None or not decision.replaces(link.kind):
        return link.kind == "macvtap" and group is not None and link.group == group
    if decision.absent:
        # A VLAN of another parent or ID may have had its name.
        return not isinstance(decision.entry, DesiredVlan) or vlans.current(decision.entry, host.links) == link
    return decision.parent not in (None, link.parent)


def _netns(decision: Decision) -> str | None:
    return decision.entry.netns if isinstance(decision.entry, DesiredLink) else None
