# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Steps from one state of a link to another, of whatever kind it is. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step


class _Thing(t.Protocol):
    """A link, or one with what is on it."""

    @property
    def key(self) -> str: ...

    @property
    def state(self) -> str: ...


ThingT = t.TypeVar("ThingT", bound=_Thing)


def between(  # noqa: PLR0913  # what differs between the kinds of link
    before: ThingT | None,
    after: ThingT | None,
    fields: t.Callable[[ThingT], dict[str, t.Any]],
    impact: t.Callable[[ThingT, str, t.Any], Impact],
    *,
    also: t.Sequence[Change] = (),
    path: str = "",
) -> Step[ThingT]:
    """Return the step with its changes field by field, and those of ``also``.

    ``fields`` says what can be declared of the link, ``impact`` what it takes to give one that exists a new value.
    """
    thing = before if after is None else after
    target = "" if thing is None else thing.key
    if before is after:
        return Step(target, before, after, ())
    old = {} if before is None else fields(before)
    new = {} if after is None else fields(after)
    if before is None or after is None:
        old_state, new_state = ("absent" if link is None else link.state for link in (before, after))
        changes = [Change(target, "state", old_state, new_state, Impact.NONE)]
    else:
        changes = [
            Change(target, field, old.get(field), value, impact(before, field, value))
            for field, value in new.items()
            if value is not None and value != old.get(field)
        ]
    changed = {change.field for change in changes}
    return Step(target, before, after, (*changes, *also), _view(old, changed), _view(new, changed), path)


def in_order(steps: t.Iterable[Step[ThingT]], warnings: tuple[str, ...] = ()) -> Plan[ThingT]:
    # What goes makes room (an address, a passthru's parent, a VLAN's number) for what comes.
    return Plan(tuple(sorted(steps, key=lambda step: 0 if step.removes else 1 if step.before else 2)), warnings)


def foreseen(planned: Plan[Link], links: Links) -> dict[str, Link]:
    """Return the links as they will be when ``planned`` is done."""
    final = dict(links)
    for step in planned.steps:
        final.pop(step.target, None)
        if step.after is not None:
            final[step.target] = step.after
    return final


def _view(values: t.Mapping[str, t.Any], changed: t.Container[str]) -> dict[str, t.Any]:
    """Leave out what says nothing: what the kernel chooses, and what most links do not have; not what has changed."""
    # Of promiscuous it is True that most links have, and that says something of those in mode passthru only.
    return {
        field: value
        for field, value in values.items()
        if value not in (None, "", []) and (value is not (field == "promiscuous") or field in changed)
    }
