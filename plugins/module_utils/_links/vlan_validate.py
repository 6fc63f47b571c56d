# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates desired VLAN links: what the kernel would refuse, and what is in use. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holders, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import (
    Case,
    DesiredVlan,
    identity,
    is_managed,
    stays,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names


def check_parents_exist(desired: t.Sequence[DesiredVlan], links: Links) -> None:
    made = {entry.default_name: entry for entry in desired if entry.state != "absent"}
    for entry in desired:
        maker = made.get(entry.parent)
        if entry.state != "absent" and maker is not None and entry.parent not in links:
            raise MacvtapError(
                f"{entry.parent} is only created by {maker.path or 'this task'}. Create it in an earlier task",
                path=join_path(entry.path, "parent"),
            )


def check_parents_stay(pairs: t.Sequence[Case], final: Links, *, force: bool) -> None:
    """Refuse a VLAN on a parent that is declared absent; ``final`` are the predicted links."""
    gone = {before.name: entry for entry, before, after in pairs if before is not None and after is None}
    for entry, before, after in pairs:
        if after is None or after.parent not in gone or after.parent in final:
            continue
        foreign = before is not None and not is_managed(before)
        if entry.state == "absent" and force:
            continue
        other = gone[after.parent]
        where = f", in {other.path}" if other.path else ""
        which = ", which is not managed by this collection" if foreign else ""
        hint = f"Declare {after.name} absent as well, or use another parent"
        if foreign:
            hint = f"Remove {after.name} first{', or set force: true' if entry.state == 'absent' else ''}"
        raise MacvtapError(
            f"{after.parent} is declared absent{where}, which would remove {after.name} too{which}. {hint}",
            path=join_path(entry.path, "parent"),
        )


def check_declared_once(pairs: t.Sequence[Case]) -> None:
    seen: dict[t.Any, DesiredVlan] = {}
    for entry, before, after in pairs:
        link = after or before
        if link is None:
            continue
        for what, text in ((identity(link), f"VLAN {entry.id} of {link.parent}"), (link.name, link.name)):
            duplicate = seen.setdefault(what, entry)
            if duplicate is not entry:
                raise declared_twice(text, join_path(entry.path, "name" if text == link.name else "id"), duplicate.path)


def check(entry: DesiredVlan, before: Link | None, after: Link, final: Links) -> None:
    """Refuse what the kernel would refuse of ``after``, a link to create or change, among the ``final`` links."""
    parent = final.get(after.parent or "")
    if parent is None:
        raise MacvtapError(f"the parent {after.parent} would no longer exist", path=join_path(entry.path, "parent"))
    if before is None or not stays(before, after):
        check_parent(join_path(entry.path, "parent"), parent, final)
        duplicates = [one.name for one in final.values() if one is not after and identity(one) == identity(after)]
        if duplicates:
            raise MacvtapError(
                f"VLAN {entry.id} of {parent.name} already exists as {duplicates[0]}, and the kernel allows each VLAN "
                f"once on a parent. Set name: {duplicates[0]}, or remove that link first",
                path=join_path(entry.path, "name" if entry.name else "id"),
            )
    if before is None:
        validate.check_names(join_path(entry.path, "name"), (after.name,), after, validate.names_of(final))
    # vlan_dev_change_mtu(), vlan_newlink()
    validate.check_mtu(entry, after, parent)
    # vlan_dev_open()
    if after.up and not parent.up and not (before and before.up and stays(before, after)):
        raise MacvtapError(
            f"the parent {parent.name} is down, so the kernel does not set the VLAN up. Set {parent.name} up first, or "
            "set state: present (the kernel then sets it up together with its parent)",
            path=join_path(entry.path, "state"),
        )


def check_parent(path: str, parent: Link, links: Links) -> None:
    """Refuse a parent (option ``path``) that cannot carry a VLAN."""
    if parent.kind == "macvtap":
        lower = parent.parent or "its lower link"
        raise MacvtapError(
            f"{parent.name} is a macvtap link, whose frames go to the process that opens its tap. Use {lower} instead",
            path=path,
        )
    validate.check_lower(path, parent, links, "a VLAN")
    master = links.get(parent.master or "")
    # A VLAN on a port of a bridge receives its frames before the bridge does; a bond uses all of its ports.
    if master is not None and master.kind in ("bond", "team"):
        raise MacvtapError(
            f"{parent.name} is a port of the {master.kind} {master.name}, which sends a VLAN's frames over all ports. "
            f"Use {master.name} instead",
            path=path,
        )


def check_unused(before: Link, after: Link | None, on_it: t.Sequence[str], *, path: str, force: bool | None) -> None:
    """Refuse to remove a link in use by other links. _host_access/reachability.py covers use by the host itself.

    ``on_it`` are the names of links on it that would go with it. ``force`` is None where there is no such option.
    """
    uses = []
    if on_it:
        uses.append(f"is the parent of {join_names(on_it)}")
    if before.master:
        uses.append(f"is a port of {before.master}")
    if uses and not force:
        action = "removing" if after is None else "recreating"
        hint = "Remove that first" if force is None else "Remove that first, or set force: true"
        raise MacvtapError(f"{before.name} {' and '.join(uses)}; {action} it would break that. {hint}", path=path)


def check_guests(planned: Plan[Link], links: Links, held: t.Mapping[str, Holders], *, force: bool) -> None:
    """Refuse (unless ``force``) to set down a link that guests use; ``held`` is keyed by the macvtap links.

    :raises MacvtapError: for the first such link.
    """
    refused = {} if force else cuts(planned.steps, links, held)
    for error in refused.values():
        raise error


def cuts(steps: t.Sequence[Step[Link]], links: Links, held: t.Mapping[str, Holders]) -> dict[str, MacvtapError]:
    """Return why steps would disconnect a guest by setting a link down, by target."""
    found = {}
    for step in steps:
        before, after = step.before, step.after
        if before is None or after is None or after.up or not before.up:
            continue
        guests = [(link, held.get(link.key, Holders())) for link in parents.standing_on(before, links)]
        reason = next((text for link, who in guests for text in [_use(link, who)] if text), "")
        if before.master and not reason:
            reason = f"it is a port of {before.master}"
        if reason:
            message = f"setting {before.name} down would disconnect what is on it: {reason}. Fix that first, or set"
            found[step.target] = MacvtapError(f"{message} force: true", path=step.path)
    return found


def _use(link: Link, who: Holders) -> str:
    if who.by:
        return f"{', '.join(map(str, who.by))} holds the tap of {link.name} open"
    return f"whether a process holds the tap of {link.name} open is unknown: {who.doubt}" if who.doubt else ""


def arrived(steps: t.Sequence[Step[Link]], links: Links) -> dict[str, MacvtapError]:
    """Return why steps would remove links on theirs that appeared since the plan, by target."""
    going = {step.before.index for step in steps if step.before and (step.after is None or step.recreates)}
    found = {}
    for step in steps:
        if step.before is None or step.before.index not in going:
            continue
        known = {change.target for change in step.changes}
        on_it = [link for link in links.values() if step.before.index in (link.under, link.parent_index)]
        new = [one.name for one in on_it if not (one.netns or one.index in going or one.name in known)]
        if new:
            message = f"{step.before.name} became the parent of {join_names(new)} after this task started; left alone"
            found[step.target] = MacvtapError(message, path=step.path)
    return found
