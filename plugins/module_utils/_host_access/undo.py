# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the rollback: the inverse of what a run has done to host interfaces, and nothing else. Pure.

A link counts as the one that the run changed or created if its index and alias are still the same. What others removed,
created or changed meanwhile stays.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    KERNEL_ROUTES,
    MAIN,
    Address,
    Done,
    Host,
    Reach,
    Route,
    Shim,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.planner import between_shims, current
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.tree import names_on
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import identity
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# Attributes of the link that change in place.
_OF_THE_LINK = ("mode", "mac", "mtu", "up")
_ANOTHER = "is no longer the link that this run changed, and is left alone"
_GONE = "was removed by something else while this task ran"
_Part = t.TypeVar("_Part", Address, Route)


def undo(journal: Journal[Shim], host: Host) -> Plan[Shim]:
    """Plan the inverse of what ``journal`` has, against ``host`` as it is now."""
    steps, warnings = [], []
    for step in journal.steps:
        known = step.after or step.before
        now = current(step.target, host, dhcp4=bool(known and known.dhcp4))
        then, warning = _then(step, now, journal, host)
        if warning:
            warnings.append(warning)
        else:
            steps.append(between_shims(now, then, step.path))
            warnings += _losses(step, now, host)
    return in_order(steps, tuple(warnings))


def _then(step: Step[Shim], now: Shim | None, journal: Journal[Shim], host: Host) -> tuple[Shim | None, str]:
    """Return the host interface to restore, or why it is left alone ("" if it is not)."""
    before, there = step.before, host.links.get(step.target)
    if not journal.contains(step, Done.LINK):
        if before is None:
            return now, ""
        if now is None or now.link.index != before.link.index:
            return None, f"{step.target} {_ANOTHER if there else _GONE}"
        return _as_before(step, now, journal), ""
    if there is None or (now is not None and _is_made(now.link, host)):
        stays = identity.taken_up(there) if there is not None else ""
        return (None if stays else before), stays and f"{step.target}: {stays}"
    if before is not None and there.index == before.link.index:
        # It was not removed after all.
        return now, ""
    return None, f"{step.target} {_ANOTHER}"


def _losses(step: Step[Shim], now: Shim | None, host: Host) -> t.Iterator[str]:
    """Yield what a host interface has lost that was removed, and restored by the rollback."""
    if step.before is None or now is None or now.link.index == step.before.link.index:
        return
    name, index = step.target, now.link.index
    yield (
        f"{name}: recreated during the rollback, with another index; its settings below /proc/sys/net that are not "
        "managed by this collection are those of a new link"
    )
    lost, names = host.lost.get(step.before.link.index, (Reach(), ()))
    reach = host.reach
    there = {replace(one, index=0) for one in reach.routes_over(index)}
    gone = [str(one) for one in lost.addresses if not one.link_local and one not in reach.addresses_on(index)]
    # The kernel makes its own again.
    routes = [one for one in lost.routes if replace(one, index=0) not in there and one.protocol not in KERNEL_ROUTES]
    gone += [f"the route to {one}{'' if one.table == MAIN else f' in table {one.table}'}" for one in routes]
    if gone:
        yield f"{name}: its addresses and routes are lost: {join_names(gone)}"
    on_it = [one for one in names if one not in names_on(now.link, host.links)]
    if on_it:
        yield f"{name}: the links on it were removed with it: {join_names(on_it)}"


def _is_made(link: Link, host: Host) -> bool:
    # The group identifies it if the run stopped before it read the index.
    return link.index in host.made or link.group == INCOMPLETE_GROUP


def _as_before(step: Step[Shim], now: Shim, journal: Journal[Shim]) -> Shim:
    """Return ``now`` without the changes of the run, as far as they are still in effect."""
    before, after = t.cast("Shim", step.before), t.cast("Shim", step.after)
    link = now.link
    if journal.contains(step, Done.IN_PLACE):
        own = {name: getattr(before.link, name) for name in _OF_THE_LINK if _is_own(name, before, after, now)}
        link = replace(link, **own)
    settings = dict(now.settings)
    for name, value in before.settings.items():
        if journal.contains(step, Done.setting(name)) and settings.get(name) == after.settings.get(name):
            settings[name] = value
    return replace(
        now,
        link=link,
        settings=settings,
        addresses=_parts(step, before.addresses, now.addresses, journal),
        routes=_parts(step, before.routes, now.routes, journal),
    )


def _is_own(name: str, before: Shim, after: Shim, now: Shim) -> bool:
    was, asked, is_now = (getattr(one.link, name) for one in (before, after, now))
    return asked not in (None, was) and is_now == asked


def _parts(
    step: Step[Shim], before: tuple[_Part, ...], now: tuple[_Part, ...], journal: Journal[Shim]
) -> tuple[_Part, ...]:
    """Return the addresses or routes of ``now``, minus what the run added, plus what it removed."""
    kept = [part for part in now if not journal.contains(step, Done.gives(part))]
    taken = [part for part in before if part not in kept and journal.contains(step, Done.takes(part))]
    return tuple(kept + taken)
