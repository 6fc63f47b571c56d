# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the steps from current to desired links, and the impact of each change. Pure.

Which attribute can change on an existing link, and what each error of the kernel means, was measured on Linux 6.18 and
read in drivers/net/macvlan.c and macvtap.c. validate.py validates what the kernel would refuse.
"""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rollback, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.impacts import impact
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    AS_DECLARED,
    IPV6_MTU,
    MACVLAN_KINDS,
    DesiredLink,
    Holders,
    Link,
    Links,
    Tap,
    fields,
    with_values,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.warnings import warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step


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
        after = _after(entry, before, links)
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


def disconnecting(steps: t.Iterable[Step[Link]]) -> dict[str, Link]:
    """Return the links, by the steps' targets, of which a process that holds the tap would be disconnected."""
    return {step.target: step.before for step in steps if step.before and _disconnecting_action(step)}


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


def step_between(before: Link | None, after: Link | None, *, path: str = "") -> Step[Link]:
    """Return the step from one state of a link to another, with its changes field by field."""
    cost = functools.partial(impact, up=after is None or after.up)
    return between(before, after, fields, cost, also=_repair(before, after), path=path)


def _repair(before: Link | None, after: Link | None) -> t.Sequence[Change]:
    if not (after and after.tap and after.tap.repair and before and before.tap and before.tap.fault):
        return ()
    return (Change(after.key, "tap.node", before.tap.fault, "is its own", Impact.IN_PLACE),)


def _after(entry: DesiredLink, before: Link | None, links: Links) -> Link | None:
    """Return the desired state of the link: ``before`` itself where nothing changes."""
    if entry.state == "absent":
        return None
    if before is None and entry.parent is None:
        raise MacvtapError(
            f"is required, since the link {entry.name} does not exist yet. Set it to the uplink, such as eth0",
            path=join_path(entry.path, "parent"),
        )
    base = before or Link(entry.name, kind=entry.kind, mode="vepa", netns=entry.netns)
    parent = resolve(entry, links) if entry.parent is not None else links.get(base.parent or "")
    differs: dict[str, t.Any] = {}
    if parent is not None and parent.name != base.parent and not _is_on(base, parent):
        validate.check_movable(entry, base)
        validate.check_parent(join_path(entry.path, "parent"), parent, links)
        differs.update(parent=parent.name, parent_index=parent.index)
    mode = entry.mode or base.mode
    up = {"up": True, "down": False}.get(entry.state, base.up)
    values = {"mode": mode, "up": up, "mac": _mac(entry, base, mode, parent), **_given(entry, before)}
    differs.update((name, value) for name, value in values.items() if value != getattr(base, name))
    validate.check_allmulticast(entry, mode, up=up, parent=parent)
    loses = mode == "passthru" and not up and entry.allmulticast is None and base.allmulticast
    if loses and (base.mode != mode or base.up):
        # It would have no effect once the link comes up, and clearing it then would underflow the parent's count.
        differs["allmulticast"] = False
    if "parent" in differs:
        # All links of a parent share its limit, so this one does not take its own along.
        differs["bclim"] = entry.bclim
    source_macs = _source_macs(entry, base, mode)
    if source_macs != base.source_macs:
        differs["source_macs"] = source_macs
    tap = _tap(entry, base)
    if tap is not base.tap:
        differs["tap"] = tap
    if before is not None and not differs:
        return before
    validate.check_addrgenmode(entry, before, differs, parent)
    return _with_known_parent(entry, before, with_values(base, **differs), parent)


def _given(entry: DesiredLink, before: Link | None) -> dict[str, t.Any]:
    given = {name: getattr(entry, name) for name in AS_DECLARED}
    if _is_moot(entry, before):
        given["addrgenmode"] = None
    return {name: value for name, value in given.items() if value is not None}


def _with_known_parent(entry: DesiredLink, before: Link | None, after: Link, parent: Link | None) -> Link:
    """Return ``after`` with a parent to create it on, where it is recreated and its own is in another namespace."""
    if before is None or not before.elsewhere or not step_between(before, after).recreates:
        return after
    if parent is None or not _is_on(before, parent):
        validate.check_movable(entry, before)
        return after
    return replace(after, parent=parent.name, parent_index=parent.index)


def _is_on(link: Link, parent: Link) -> bool:
    """Whether ``link`` is on ``parent``, a macvlan link: the kernel puts both on the same lower link."""
    if parent.kind not in MACVLAN_KINDS or not (link.elsewhere and parent.elsewhere):
        return False
    return (link.lower_netns, link.lower) == (parent.lower_netns, parent.lower)


def _is_moot(entry: DesiredLink, before: Link | None) -> bool:
    """Whether addrgenmode: none needs no change: the link has no IPv6, and gets none."""
    if entry.addrgenmode != "none" or before is None or before.addrgenmode is not None:
        return False
    gets_it = (before.mtu or 0) < IPV6_MTU <= (entry.mtu or before.mtu or 0)
    return not gets_it


def _mac(entry: DesiredLink, base: Link, mode: str | None, parent: Link | None) -> str | None:
    if mode == "passthru" and parent is not None:
        if entry.mac is not None and entry.mac != parent.mac:
            raise MacvtapError(
                f"{entry.mac} differs from the MAC address of the parent {parent.name} ({parent.mac}). A link in mode "
                "passthru shares its parent's address, so the parent's would change too. Remove mac",
                path=join_path(entry.path, "mac"),
            )
        return parent.mac
    if base.mode == "passthru" and entry.mac is None:
        # It has its parent's address, which is not allowed in other modes.
        return None
    return entry.mac or base.mac


def _source_macs(entry: DesiredLink, base: Link, mode: str | None) -> frozenset[str]:
    if mode == "source":
        return base.source_macs if entry.source_macs is None else entry.source_macs
    if entry.source_macs:
        raise MacvtapError(
            f"requires mode source; {entry.name} would be in mode {mode}. Remove source_macs, or set mode: source",
            path=join_path(entry.path, "source_macs"),
        )
    # The kernel clears the list when a link leaves this mode.
    return frozenset()


def _tap(entry: DesiredLink, base: Link) -> Tap | None:
    permissions = (entry.tap_owner, entry.tap_group, entry.tap_mode)
    if not entry.tap_repair and permissions == (None, None, None):
        return base.tap
    tap = base.tap or Tap("")
    if tap.path and tap.fault and not entry.tap_repair:
        raise MacvtapError(
            f"{tap.path} {tap.fault}; its permissions are left alone. "
            "Set tap.repair: true to create the right device node",
            path=join_path(entry.path, "tap"),
        )
    same = all(given in (None, had) for given, had in zip(permissions, (tap.owner, tap.group, tap.mode)))
    if tap.path and same and not tap.fault:
        return base.tap
    return replace(
        tap,
        owner=entry.tap_owner or tap.owner,
        group=entry.tap_group or tap.group,
        mode=tap.mode if entry.tap_mode is None else entry.tap_mode,
        repair=entry.tap_repair,
    )


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
