# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Builds steps from one state of a link to another. Pure."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.impacts import impact_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import fields as fields_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step


class _Thing(t.Protocol):
    """A link, or one with what is on it."""

    @property
    def key(self) -> str:
        """Its name, unique on the host."""

    @property
    def state(self) -> str:
        """``up``, ``down`` or ``absent``."""


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
    """Return the step of a link of any kind with its changes field by field, and the changes ``also``.

    ``fields`` returns what users can set of a link, ``impact`` the cost of a new value on an existing one.
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


def step_between(before: Link | None, after: Link | None, *, path: str = "") -> Step[Link]:
    """Return the step from one state of a link to another, with its changes field by field."""
    cost = functools.partial(impact_of, up=after is None or after.up)
    return between(before, after, fields_of, cost, also=_repair(before, after), path=path)


def _repair(before: Link | None, after: Link | None) -> t.Sequence[Change]:
    if not (after and after.tap and after.tap.repair and before and before.tap and before.tap.fault):
        return ()
    return (Change(after.key, "tap.node", before.tap.fault, "is its own", Impact.IN_PLACE),)


def in_order(steps: t.Iterable[Step[ThingT]], warnings: tuple[str, ...] = ()) -> Plan[ThingT]:
    # Removals first: they free what new links need (an address, a passthru parent, a VLAN ID).
    return Plan(tuple(sorted(steps, key=lambda step: 0 if step.removes else 1 if step.before else 2)), warnings)


def check_there(planned: Plan[Link], links: Links) -> None:
    """Check that created and changed links exist under their names.

    :raises MacvtapError: one does not; it was renamed or removed meanwhile.
    """
    gone = [step for step in planned.steps if step.after is not None and step.target not in links]
    if gone:
        names = ", ".join(step.target for step in gone[:5])
        message = f"the changes were made, but {names} no longer exists: something else renamed or removed it meanwhile"
        raise MacvtapError(message, path=gone[0].path)


def predicted(planned: Plan[Link], links: Links) -> dict[str, Link]:
    """Return the predicted links: as they will be after ``planned``."""
    final = dict(links)
    for step in planned.steps:
        final.pop(step.target, None)
        if step.after is not None:
            final[step.target] = step.after
    return final


def _view(values: t.Mapping[str, t.Any], changed: t.Container[str]) -> dict[str, t.Any]:
    """Omit values that carry no information, such as unset ones, unless they changed."""
    # promiscuous: True is the default, and has an effect in mode passthru only.
    return {
        field: value
        for field, value in values.items()
        if value not in (None, "", []) and (value is not (field == "promiscuous") or field in changed)
    }
