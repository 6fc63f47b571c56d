# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel would refuse of VLAN links, and what would take away what is in use. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Held, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import (
    Case,
    WantedVlan,
    identity,
    stays,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names


def check_parents_exist(wanted: t.Sequence[WantedVlan], links: Links) -> None:
    made = {want.said_name: want for want in wanted if want.state != "absent"}
    for want in wanted:
        maker = made.get(want.parent)
        if want.state != "absent" and maker is not None and want.parent not in links:
            raise MacvtapError(
                f"{want.parent} is still to be made, by {maker.path or 'this task'}; make it in a task before this one",
                path=join_path(want.path, "parent"),
            )


def check_parents_stay(pairs: t.Sequence[Case], final: Links) -> None:
    """Refuse a VLAN on one that is declared absent; ``final`` are the links that are to be."""
    gone = {before.name: want for want, before, after in pairs if before is not None and after is None}
    for want, _before, after in pairs:
        if after is not None and after.parent in gone and after.parent not in final:
            other = gone[after.parent]
            where = f", in {other.path}" if other.path else ""
            raise MacvtapError(
                f"{after.parent} is declared absent{where}, and what is on it goes along. "
                f"Declare {after.name} absent as well, or on another link",
                path=join_path(want.path, "parent"),
            )


def check_declared_once(pairs: t.Sequence[Case]) -> None:
    seen: dict[t.Any, WantedVlan] = {}
    for want, before, after in pairs:
        link = after or before
        if link is None:
            continue
        for what, said in ((identity(link), f"VLAN {want.id} of {link.parent}"), (link.name, link.name)):
            twin = seen.setdefault(what, want)
            if twin is not want:
                raise declared_twice(said, join_path(want.path, "name" if said == link.name else "id"), twin.path)


def check(want: WantedVlan, before: Link | None, after: Link, final: Links) -> None:
    """Refuse what the kernel would refuse of ``after``, which is to be made or changed, among the ``final`` links."""
    parent = final.get(after.parent or "")
    if parent is None:
        raise MacvtapError(f"there is no link {after.parent} when this is done", path=join_path(want.path, "parent"))
    if before is None or not stays(before, after):
        check_parent(join_path(want.path, "parent"), parent, final)
        twins = [link.name for link in final.values() if link is not after and identity(link) == identity(after)]
        if twins:
            raise MacvtapError(
                f"VLAN {want.id} of {parent.name} is {twins[0]} already, and the kernel has each once on a parent. "
                f"Say name: {twins[0]}, or remove that one first",
                path=join_path(want.path, "name" if want.name else "id"),
            )
    if before is None:
        refusals.check_names(join_path(want.path, "name"), (after.name,), after, refusals.names_of(final))
    # vlan_dev_change_mtu(), vlan_newlink()
    refusals.check_mtu(want, after, parent)
    # vlan_dev_open()
    if after.up and not parent.up and not (before and before.up and stays(before, after)):
        raise MacvtapError(
            f"its parent {parent.name} is down, and the kernel sets no VLAN up then. Set {parent.name} up first, or "
            "say state: present (the kernel sets it up along with its parent)",
            path=join_path(want.path, "state"),
        )


def check_parent(path: str, parent: Link, links: Links) -> None:
    """Refuse a parent, said in the option ``path``, that is of no use to a VLAN."""
    if parent.kind == "macvtap":
        real = f" ({parent.parent})" if parent.parent else ""
        raise MacvtapError(
            f"{parent.name} is a macvtap link, whose frames go to the process that opens its tap. Say the link below "
            f"it{real}",
            path=path,
        )
    refusals.check_lower(path, parent, links, "a VLAN")
    master = links.get(parent.master or "")
    # A VLAN on a port of a bridge gets its frames before the bridge does; a bond's go over all of its ports.
    if master is not None and master.kind in ("bond", "team"):
        raise MacvtapError(
            f"{parent.name} is a port of the {master.kind} {master.name}, over whose ports the frames of a VLAN go. "
            f"Use {master.name} instead",
            path=path,
        )


def check_unused(want: WantedVlan, before: Link, after: Link | None, also: t.Sequence[Change], *, force: bool) -> None:
    """Refuse to take away what others use. Whether the host itself does, _access/reachability.py says."""
    uses = []
    if also:
        uses.append(f"is the parent of {join_names([change.target for change in also])}")
    if before.master:
        uses.append(f"is a port of {before.master}")
    if uses and not force:
        deed = "removing" if after is None else "recreating"
        raise MacvtapError(
            f"{before.name} {' and '.join(uses)}, and {deed} it would take that away. Remove that first, or set "
            "force: true",
            path=want.path,
        )


def check_guests(planned: Plan[Link], links: Links, held: t.Mapping[str, Held], *, force: bool) -> None:
    """Refuse (unless ``force``) to set down what guests are on; ``held`` is keyed by the macvtap links.

    :raises MacvtapError: the first of it.
    """
    refused = {} if force else cuts(planned.steps, links, held)
    for error in refused.values():
        raise error


def cuts(steps: t.Sequence[Step[Link]], links: Links, held: t.Mapping[str, Held]) -> dict[str, MacvtapError]:
    """Say of each of ``steps``, by its target, whom it would cut off by setting a link down."""
    found = {}
    for step in steps:
        before, after = step.before, step.after
        if before is None or after is None or after.up or not before.up:
            continue
        guests = [(link, held.get(link.key, Held())) for link in parents.standing_on(before, links)]
        said = next((words for link, who in guests for words in [_cut_off(link, who)] if words), "")
        if before.master and not said:
            said = f"it is a port of {before.master}"
        if said:
            message = f"setting {before.name} down would cut off what is on it: {said}. See to that first, or set"
            found[step.target] = MacvtapError(f"{message} force: true", path=step.path)
    return found


def _cut_off(link: Link, who: Held) -> str:
    if who.by:
        return f"{', '.join(map(str, who.by))} holds the tap of {link.name} open"
    return f"whether a process holds the tap of {link.name} open cannot be told: {who.doubt}" if who.doubt else ""


def arrived(steps: t.Sequence[Step[Link]], links: Links) -> dict[str, MacvtapError]:
    """Say which of ``steps``, by their targets, would take away links that are on theirs and that no step names."""
    going = {step.before.index for step in steps if step.before and (step.after is None or step.recreates)}
    found = {}
    for step in steps:
        if step.before is None or step.before.index not in going:
            continue
        known = {change.target for change in step.changes}
        on_it = [link for link in links.values() if step.before.index in (link.under, link.parent_index)]
        new = [one.name for one in on_it if not (one.netns or one.index in going or one.name in known)]
        if new:
            message = f"{step.before.name} is the parent of {join_names(new)} since this run began, and stays"
            found[step.target] = MacvtapError(message, path=step.path)
    return found
