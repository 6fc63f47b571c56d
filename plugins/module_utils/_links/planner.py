# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the steps from current to desired links, and the impact of each change. Pure.

Which attribute can change on an existing link, and what each error of the kernel means, was measured on Linux 6.18 and
read in drivers/net/macvlan.c and macvtap.c. validate.py validates what the kernel would refuse.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import identity, rollback, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.desired import desired_state
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    DesiredLink,
    Holders,
    Link,
    Links,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import in_order, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.warnings import warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step


def plan(desired: t.Sequence[DesiredLink], links: Links, *, purge_group: int | None = None) -> Plan[Link]:
    """Plan the steps from ``links`` (all of the host's) to ``desired``.

    With ``purge_group`` every macvtap link of that link group that is not in ``desired`` is removed.

    :raises MacvtapError: the kernel would refuse it, or it would change a link of another kind.
    """
    validate.check_declared_once(desired)
    steps = []
    final = dict(links)
    for entry in desired:
        before = links.get(entry.key)
        if before is not None and before.kind != entry.kind:
            raise MacvtapError(
                f"{entry.name} already exists and is {validate.kind_of(before)}, not a {entry.kind} link; it is left "
                "alone. Choose another name",
                path=join_path(entry.path, "name"),
            )
        after = desired_state(entry, before, links)
        if after is None:
            final.pop(entry.key, None)
        else:
            final[entry.key] = after
        if after is not before:
            steps.append(step_between(before, after, path=entry.path))
    steps += _purge(desired, links, final, purge_group)
    limits = validate.limits(desired, final)
    steps = [_within(step, limits) for step in steps]
    touched = {step.target for step in steps if step.changes and step.after}
    if touched:
        validate.check([entry for entry in desired if entry.key in touched], final)
    return in_order(steps, warnings(desired, links, steps))


def _within(step: Step[Link], limits: t.Mapping[int, int]) -> Step[Link]:
    """Keep a recreated link from restoring the broadcast limit that its parent had before."""
    after = step.after
    if after is None or after.bclim is None or not step.recreates:
        return step
    limit = limits.get(after.parent_index, after.bclim)
    return step if limit == after.bclim else step_between(step.before, replace(after, bclim=limit), path=step.path)


def undo(journal: Journal[Link], links: Links, lost: rollback.Losses, brought: Journal[Link]) -> Plan[Link]:
    """Plan the inverse of what ``journal`` has, against ``links`` as they are now.

    ``lost`` is what was removed together with links, ``brought`` what the rollback itself has done so far.
    """
    return rollback.undo(journal, links, lost, brought, between=step_between)


def cut_off(planned: Plan[Link]) -> tuple[Link, ...]:
    """Return the links whose tap is removed, which disconnects the process that holds it open."""
    return tuple(step.before for step in planned.steps if step.before and (step.removes or step.recreates))


def check_holders(planned: Plan[Link], held: t.Mapping[str, Holders], *, force: bool) -> None:
    """Refuse a plan that would disconnect a process; ``held`` is keyed by the link.

    :raises MacvtapError: unless ``force``.
    """
    refused = {} if force else cuts(planned.steps, held)
    for error in refused.values():
        raise error


def cuts(
    steps: t.Sequence[Step[Link]], held: t.Mapping[str, Holders], *, doubts: bool = True
) -> dict[str, MacvtapError]:
    """Return why steps would disconnect a process, by target; with ``doubts`` also where that is unknown."""
    found = {}
    for step in steps:
        action = _disconnecting_action(step)
        who = held.get(step.target, Holders())
        if action and who.by:
            message = (
                f"{action} would disconnect {', '.join(map(str, who.by))}, which holds its tap open. "
                "Stop it first, or set force: true"
            )
        elif action and who.doubt and doubts:
            message = (
                f"{action} would disconnect any process that holds its tap open, and whether one does is unknown: "
                f"{who.doubt}. Fix that first, or set force: true"
            )
        else:
            continue
        found[step.target] = MacvtapError(message, path=step.path)
    return found


def disconnecting(steps: t.Iterable[Step[Link]], links: Links) -> dict[str, Link]:
    """Return the links, by the steps' targets, of which a process that holds the tap would be disconnected.

    A link that is no longer among ``links`` disconnects nobody: the device number of its tap may be another link's by
    now, in any network namespace.
    """
    there = identity.by_index(links)
    return {
        step.target: step.before
        for step in steps
        if step.before and _disconnecting_action(step) and identity.find(step.before, there)
    }


def _disconnecting_action(step: Step[Link]) -> str:
    """Return what ``step`` does to disconnect a process that holds the tap, "" if nothing."""
    before, after = step.before, step.after
    if before is None:
        return ""
    if after is None:
        return f"removing {step.target}"
    emptied = after.mode == "source" and not after.source_macs and (before.mode != "source" or before.source_macs)
    actions = (
        (step.recreates, f"recreating {step.target}"),
        (before.up and not after.up, f"setting {step.target} down"),
        (after.mac not in (None, before.mac), f"giving {step.target} another MAC address"),
        (emptied, f"leaving {step.target} in mode source with no source_macs"),
    )
    return next((action for does, action in actions if does), "")


def _purge(
    desired: t.Sequence[DesiredLink], links: Links, final: dict[str, Link], group: int | None
) -> t.Iterator[Step[Link]]:
    if group is None:
        return
    declared = {entry.key for entry in desired}
    for link in links.values():
        if link.kind == "macvtap" and link.group == group and link.netns is None and link.name not in declared:
            final.pop(link.name, None)
            yield step_between(link, None, path="purge")
