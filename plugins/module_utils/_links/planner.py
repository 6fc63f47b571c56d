# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What must be done to make links as declared, and what each change costs. Pure.

Which attribute can change on a link that exists, and what each refusal of the kernel means, was measured
on Linux 6.18 and read in drivers/net/macvlan.c and macvtap.c. What the kernel would refuse is in refusals.py.
"""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals, way_back
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.caveats import warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.impacts import impact
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    AS_DECLARED,
    IPV6_MTU,
    MACVLAN_KINDS,
    Held,
    Link,
    Links,
    Tap,
    Wanted,
    fields,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step


def plan(wanted: t.Sequence[Wanted], links: Links, *, purge_group: int | None = None) -> Plan[Link]:
    """Plan the way from ``links`` (all of the host's) to ``wanted``.

    With ``purge_group`` every macvtap link of that link group that is not in ``wanted`` is removed.

    :raises MacvtapError: the kernel would refuse it, or it would touch a link of another kind.
    """
    refusals.check_declared_once(wanted)
    steps = []
    final = dict(links)
    for want in wanted:
        before = links.get(want.key)
        if before is not None and before.kind != want.kind:
            raise MacvtapError(
                f"{want.name} exists and is no {want.kind} link but {refusals.kind_of(before)}; it is left alone. "
                "Choose another name",
                path=join_path(want.path, "name"),
            )
        after = _after(want, before, links)
        if after is None:
            final.pop(want.key, None)
        else:
            final[want.key] = after
        if after is not before:
            steps.append(step_between(before, after, path=want.path))
    steps += _purge(wanted, links, final, purge_group)
    limits = refusals.limits(wanted, final)
    steps = [_within(step, limits) for step in steps]
    touched = {step.target for step in steps if step.changes and step.after}
    if touched:
        refusals.check([want for want in wanted if want.key in touched], final)
    return in_order(steps, warnings(wanted, links, steps))


def _within(step: Step[Link], limits: t.Mapping[int, int]) -> Step[Link]:
    """Let a link that is made anew not bring back the limit that its parent had before."""
    after = step.after
    if after is None or after.bclim is None or not step.recreates:
        return step
    limit = limits.get(after.parent_index, after.bclim)
    return step if limit == after.bclim else step_between(step.before, replace(after, bclim=limit), path=step.path)


def undo(journal: Journal[Link], links: Links, lost: way_back.Losses, brought: Journal[Link]) -> Plan[Link]:
    """Plan the inverse of what ``journal`` has, against ``links`` as they are now.

    ``lost`` is what went with links, ``brought`` what the way back has begun itself so far.
    """
    return way_back.undo(journal, links, lost, brought, between=step_between)


def cut_off(planned: Plan[Link]) -> tuple[Link, ...]:
    """Return the links whose tap goes away, so that whoever holds it open is cut off."""
    return tuple(step.before for step in planned.steps if step.before and (step.removes or step.recreates))


def check_holders(planned: Plan[Link], held: t.Mapping[str, Held], *, force: bool) -> None:
    """Refuse a plan that would cut off a process; ``held`` is keyed by the link.

    :raises MacvtapError: unless ``force``.
    """
    refused = {} if force else cuts(planned.steps, held)
    for error in refused.values():
        raise error


def cuts(steps: t.Sequence[Step[Link]], held: t.Mapping[str, Held], *, doubts: bool = True) -> dict[str, MacvtapError]:
    """Say of each of ``steps``, by its target, whom it would cut off; with ``doubts`` also where nobody can tell."""
    found = {}
    for step in steps:
        deed = _cutting_deed(step)
        who = held.get(step.target, Held())
        if deed and who.by:
            said = (
                f"{deed} would cut off {', '.join(map(str, who.by))}, which holds its tap open. "
                "Stop that first, or set force: true"
            )
        elif deed and who.doubt and doubts:
            said = (
                f"{deed} would cut off whoever holds its tap open, and that cannot be told: {who.doubt}. "
                "See to that first, or set force: true"
            )
        else:
            continue
        found[step.target] = MacvtapError(said, path=step.path)
    return found


def _cutting_deed(step: Step[Link]) -> str:
    """Say what ``step`` does to a link that takes its frames from whoever holds its tap, "" if nothing."""
    before, after = step.before, step.after
    if before is None:
        return ""
    if after is None:
        return f"removing {step.target}"
    emptied = after.mode == "source" and not after.source_macs and (before.mode != "source" or before.source_macs)
    deeds = (
        (step.recreates, f"recreating {step.target}"),
        (before.up and not after.up, f"setting {step.target} down"),
        (after.mac not in (None, before.mac), f"giving {step.target} another MAC address"),
        (emptied, f"leaving {step.target} in mode source with no source_macs"),
    )
    return next((deed for does, deed in deeds if does), "")


def step_between(before: Link | None, after: Link | None, *, path: str = "") -> Step[Link]:
    """Return the step from one state of a link to another, with its changes field by field."""
    cost = functools.partial(impact, up=after is None or after.up)
    return between(before, after, fields, cost, also=_repair(before, after), path=path)


def _repair(before: Link | None, after: Link | None) -> t.Sequence[Change]:
    if not (after and after.tap and after.tap.repair and before and before.tap and before.tap.fault):
        return ()
    return (Change(after.key, "tap.node", before.tap.fault, "is its own", Impact.IN_PLACE),)


def _after(want: Wanted, before: Link | None, links: Links) -> Link | None:
    """Return the link as it is to be: ``before`` itself where that is as declared already."""
    if want.state == "absent":
        return None
    if before is None and want.parent is None:
        raise MacvtapError(
            f"the link {want.name} does not exist, and to make it its parent must be known; say parent",
            path=join_path(want.path, "parent"),
        )
    base = before or Link(want.name, kind=want.kind, mode="vepa", netns=want.netns)
    parent = resolve(want, links) if want.parent is not None else links.get(base.parent or "")
    differs: dict[str, t.Any] = {}
    if parent is not None and parent.name != base.parent and not _is_on(base, parent):
        refusals.check_movable(want, base)
        refusals.check_parent(join_path(want.path, "parent"), parent, links)
        differs.update(parent=parent.name, parent_index=parent.index)
    mode = want.mode or base.mode
    up = {"up": True, "down": False}.get(want.state, base.up)
    desired = {"mode": mode, "up": up, "mac": _mac(want, base, mode, parent), **_given(want, before)}
    differs.update((name, value) for name, value in desired.items() if value != getattr(base, name))
    refusals.check_allmulticast(want, mode, up=up, parent=parent)
    loses = mode == "passthru" and not up and want.allmulticast is None and base.allmulticast
    if loses and (base.mode != mode or base.up):
        # It would have no effect when the link comes up, and damage the parent's count if it is taken off then.
        differs["allmulticast"] = False
    if "parent" in differs:
        # The limit is the parent's, shared by all of its links: this one brings none along.
        differs["bclim"] = want.bclim
    source_macs = _source_macs(want, base, mode)
    if source_macs != base.source_macs:
        differs["source_macs"] = source_macs
    tap = _tap(want, base)
    if tap is not base.tap:
        differs["tap"] = tap
    if before is not None and not differs:
        return before
    refusals.check_addrgenmode(want, before, differs, parent)
    return _on_what_can_be_said(want, before, replace(base, **differs), parent)


def _given(want: Wanted, before: Link | None) -> dict[str, t.Any]:
    given = {name: getattr(want, name) for name in AS_DECLARED}
    if _is_moot(want, before):
        given["addrgenmode"] = None
    return {name: value for name, value in given.items() if value is not None}


def _on_what_can_be_said(want: Wanted, before: Link | None, after: Link, parent: Link | None) -> Link:
    """Return ``after`` with the parent by which it can be made, where it is recreated and that is out of our sight."""
    if before is None or not before.elsewhere or not step_between(before, after).recreates:
        return after
    if parent is None or not _is_on(before, parent):
        refusals.check_movable(want, before)
        return after
    return replace(after, parent=parent.name, parent_index=parent.index)


def _is_on(link: Link, parent: Link) -> bool:
    """Whether ``link`` is on ``parent``, which is a macvlan link: the kernel puts both on what is below that."""
    if parent.kind not in MACVLAN_KINDS or not (link.elsewhere and parent.elsewhere):
        return False
    return (link.lower_netns, link.lower) == (parent.lower_netns, parent.lower)


def _is_moot(want: Wanted, before: Link | None) -> bool:
    """Whether no address is generated as it is: the link has no IPv6, and is to get none."""
    if want.addrgenmode != "none" or before is None or before.addrgenmode is not None:
        return False
    gets_it = (before.mtu or 0) < IPV6_MTU <= (want.mtu or before.mtu or 0)
    return not gets_it


def _mac(want: Wanted, base: Link, mode: str | None, parent: Link | None) -> str | None:
    if mode == "passthru" and parent is not None:
        if want.mac is not None and want.mac != parent.mac:
            raise MacvtapError(
                f"a link in mode passthru has the address of its parent {parent.name} ({parent.mac}), and another one "
                f"would become the parent's too; found {want.mac}. Leave mac out",
                path=join_path(want.path, "mac"),
            )
        return parent.mac
    if base.mode == "passthru" and want.mac is None:
        # It has its parent's address, which no link of another mode may have.
        return None
    return want.mac or base.mac


def _source_macs(want: Wanted, base: Link, mode: str | None) -> frozenset[str]:
    if mode == "source":
        return base.source_macs if want.source_macs is None else want.source_macs
    if want.source_macs:
        raise MacvtapError(
            f"only a link in mode source has a list of addresses that it takes frames from; {want.name} is to be in "
            f"mode {mode}. Leave source_macs out, or say mode: source",
            path=join_path(want.path, "source_macs"),
        )
    # The kernel empties the list of a link that leaves the mode.
    return frozenset()


def _tap(want: Wanted, base: Link) -> Tap | None:
    permissions = (want.tap_owner, want.tap_group, want.tap_mode)
    if not want.tap_repair and permissions == (None, None, None):
        return base.tap
    tap = base.tap or Tap("")
    if tap.path and tap.fault and not want.tap_repair:
        raise MacvtapError(
            f"{tap.path} {tap.fault}; its permissions are left alone. "
            "Say tap.repair: true to put the right device there",
            path=join_path(want.path, "tap"),
        )
    same = all(given in (None, had) for given, had in zip(permissions, (tap.owner, tap.group, tap.mode)))
    if tap.path and same and not tap.fault:
        return base.tap
    return replace(
        tap,
        owner=want.tap_owner or tap.owner,
        group=want.tap_group or tap.group,
        mode=tap.mode if want.tap_mode is None else want.tap_mode,
        repair=want.tap_repair,
    )


def _purge(
    wanted: t.Sequence[Wanted], links: Links, final: dict[str, Link], group: int | None
) -> t.Iterator[Step[Link]]:
    if group is None:
        return
    declared = {want.key for want in wanted}
    for link in links.values():
        if link.kind == "macvtap" and link.group == group and link.netns is None and link.name not in declared:
            final.pop(link.name, None)
            yield step_between(link, None, path="purge")
