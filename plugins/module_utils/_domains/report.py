# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a run over domains shows and returns: diffs, interfaces, outstanding requests, warnings. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic, Paused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.pausing import Choice
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan, Step


def with_views(plan: Plan[Nic]) -> Plan[Nic]:
    """Add to the plan's steps what a diff shows: the stored element or, if that stays, the live one."""
    return replace(plan, steps=tuple(_with_views(step) for step in plan.steps))


def interface(resolved: Resolved) -> dict[str, t.Any]:
    """Return a declared interface after the run."""
    stored, live = resolved.after.stored, resolved.before.live
    there = stored or (resolved.transient and resolved.after.live)
    return {
        "domain": resolved.desired.domain,
        "mac": resolved.before.mac,
        "state": "present" if there else "absent",
        "stored": stored and fields.TABLE.nested(stored.values),
        "live": live and fields.TABLE.nested(live.values),
    }


def requests(outstanding: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the outstanding requests, without the interfaces that are attached afterwards."""
    return [{name: value for name, value in one.items() if name != "returns"} for one in outstanding]


def conversion_warnings(plan: Plan[Nic]) -> t.Iterator[str]:
    """Return what converted interfaces lose."""
    for step in plan.steps:
        before, after = (nic.stored if nic is not None else None for nic in (step.before, step.after))
        if before is None or after is None or element.xml_type(before) == element.xml_type(after):
            continue
        lost = element.lost_by_conversion(before, after)
        if lost:
            yield (
                f"{step.target}: a macvtap link has no {', '.join(lost)}; the conversion removes it. The diff "
                "shows what it was"
            )


def pauses(choices: t.Sequence[Choice], plan: Plan[Nic], done: t.Mapping[str, Paused]) -> list[dict[str, t.Any]]:
    """Return how each guest is changed that is paused, or that a pause was possible for."""
    changed = {
        (step.before.domain, change.impact)
        for step in plan.steps
        for change in step.changes
        if step.before is not None and change.impact in {Impact.PAUSE, Impact.REPLUG}
    }
    return [
        {
            "domain": one.domain,
            "way": one.way.value,
            "reason": one.reason,
            "memory_bytes": one.memory,
            "forecast_seconds": None if one.forecast is None else round(one.forecast, 2),
            "measured_seconds": round(done[one.domain].seconds, 2) if one.domain in done else None,
            "clock_set": done[one.domain].is_clock_set if one.domain in done else None,
        }
        for one in choices
        if (one.domain, one.way) in changed
    ]


def _with_views(step: Step[Nic]) -> Step[Nic]:
    before, after = step.before, step.after
    if before is None or after is None:
        return step
    shown = (before.stored, after.stored) if before.stored != after.stored else (before.live, after.live)
    outside = {
        change.field: (change.before, change.after) for change in step.changes if change.field in fields.OUTSIDE_XML
    }
    views = [
        element.view(one) + "".join(_outside_view(name, values[side]) for name, values in outside.items())
        for side, one in enumerate(shown)
    ]
    return replace(step, before_view=views[0], after_view=views[1])


def _outside_view(name: str, value: bool | None) -> str:
    return "" if value is None else f"\n{name}: {'yes' if value else 'no'}"
