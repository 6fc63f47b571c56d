# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the steps from current to desired VLAN links, and the impact of each change. Pure.

The kernel's rules are those of net/8021q: vlan.c, vlan_dev.c and vlan_netlink.c.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    rollback,
    validate,
    vlan_validate,
    vlan_warnings,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import NoSuchLinkError, resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import RECREATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import (
    OWNER_ALIAS,
    Case,
    DesiredVlan,
    fields,
    identity,
    is_incomplete,
    is_managed,
    stays,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step


def name_of(entry: DesiredVlan, parent: Link) -> str:
    """Return the name of the VLAN link on ``parent``.

    :raises MacvtapError: it is not set, and PARENT.ID is longer than the kernel allows.
    """
    name = entry.name or f"{parent.name}.{entry.id}"
    size = len(name.encode())
    if size > _values.NAME_BYTES:
        raise MacvtapError(
            f"'{name}' has {size} bytes, and the kernel allows {_values.NAME_BYTES}. Set a shorter name",
            path=join_path(entry.path, "name"),
        )
    return name


def current(entry: DesiredVlan, links: Links) -> Link | None:
    """Return the current link of the desired VLAN, whatever created it.

    :raises MacvtapError: the parent is ambiguous, or missing while the VLAN is to exist.
    """
    try:
        parent = resolve(entry, links)
    except NoSuchLinkError:
        if entry.state == "absent":
            return None
        raise
    there = (link for link in links.values() if identity(link) == (parent.index, entry.id, entry.protocol))
    link = next(there, None)
    if entry.state == "absent" and link is not None and entry.name not in (None, link.name):
        return None
    return link


def plan(desired: t.Sequence[DesiredVlan], links: Links, *, force: bool = False) -> Plan[Link]:
    """Plan the steps from ``links`` (all of the host's) to ``desired``.

    :raises MacvtapError: the kernel would refuse it, it would change a link that is not ours, or (unless ``force``)
        remove a link in use.
    """
    vlan_validate.check_parents_exist(desired, links)
    pairs = [(entry, *_states(entry, links)) for entry in desired]
    vlan_validate.check_declared_once(pairs)
    leaving = _leaving(pairs, force=force)
    pairs = [_adopted(pair, links) if pair[1] and pair[1].index in leaving else pair for pair in pairs]
    final = dict(links)
    for _entry, before, after in pairs:
        if before is not None and after is not before:
            final.pop(before.name, None)
    final.update((after.name, after) for _entry, _before, after in pairs if after is not None)
    vlan_validate.check_parents_stay(pairs, final, force=force)
    steps = []
    for entry, before, after in pairs:
        dragged = before is not None and before.index in leaving and stays(before, after)
        if after is before and not dragged and not (before and is_incomplete(before)):
            continue
        if after is not None:
            vlan_validate.check(entry, before, after, final)
        also: t.Sequence[Change] = ()
        if before is not None and before.index in leaving:
            also = _on(before, links, leaving)
            on_it = [change.target for change in also]
            vlan_validate.check_unused(before, after, on_it, path=entry.path, force=force)
        steps.append(_recreated(before, after, also, entry) if dragged else _step(before, after, also, entry))
    return in_order(steps, (*_warnings(pairs, leaving), *vlan_warnings.warnings(pairs, links)))


def _leaving(pairs: t.Sequence[Case], *, force: bool) -> frozenset[int]:
    """Return the indexes of the links to remove or recreate, and of the declared ones on them.

    One that is not managed by this collection is recreated only with ``force``. Otherwise it is in use like others.
    """
    leaving = {before.index for _entry, before, after in pairs if before and not stays(before, after)}
    size = -1
    while size != len(leaving):
        size = len(leaving)
        stay = [before for entry, before, _after in pairs if before is not None and entry.state != "absent"]
        leaving |= {one.index for one in stay if one.parent_index in leaving and (force or is_managed(one))}
    return frozenset(leaving)


def _adopted(pair: Case, links: Links) -> Case:
    """Return the case of a link that is recreated with its parent. From then on it is managed by this collection."""
    entry, before, after = pair
    if before is None or after is not before or is_managed(before):
        return pair
    return entry, before, replace(_after(entry, before.name, resolve(entry, links), before, links), alias=OWNER_ALIAS)


def _step(before: Link | None, after: Link | None, also: t.Sequence[Change], entry: DesiredVlan) -> Step[Link]:
    if before is not None and after is not None and is_incomplete(before):
        # A killed run left it without its alias.
        after = replace(after, alias=OWNER_ALIAS, group=0)
        also = (*also, Change(before.name, "alias", None, OWNER_ALIAS, Impact.IN_PLACE))
    return step_between(before, after, also=also, path=entry.path)


def _recreated(before: Link | None, after: Link | None, also: t.Sequence[Change], entry: DesiredVlan) -> Step[Link]:
    """Return the step that recreates an unchanged link, because its parent is recreated."""
    link = t.cast("Link", after)
    also = (*also, Change(link.name, "parent", link.parent, link.parent, Impact.RECREATE))
    if before is not None and not is_managed(before):
        also = (*also, Change(link.name, "alias", before.alias, OWNER_ALIAS, Impact.IN_PLACE))
    return step_between(before, replace(link, alias=OWNER_ALIAS), also=also, path=entry.path)


def undo(journal: Journal[Link], links: Links, lost: rollback.Losses, brought: Journal[Link]) -> Plan[Link]:
    """Plan the inverse of what ``journal`` has, against ``links`` as they are now.

    ``lost`` is what was removed together with links, ``brought`` what the rollback itself has done so far.
    """
    return rollback.undo(journal, links, lost, brought, between=step_between, as_request=_as_request)


def step_between(
    before: Link | None, after: Link | None, *, also: t.Sequence[Change] = (), path: str = ""
) -> Step[Link]:
    return between(before, after, fields, _impact, also=also, path=path)


def _impact(_before: Link, field: str, _value: t.Any) -> Impact:
    return Impact.RECREATE if field in RECREATES else Impact.IN_PLACE


def _states(entry: DesiredVlan, links: Links) -> tuple[Link | None, Link | None]:
    """Return the link before and after; the same object where nothing changes."""
    there = current(entry, links)
    if entry.state == "absent":
        return there, there if there and not is_managed(there) else None
    parent = resolve(entry, links)
    if there is not None and not is_managed(there) and entry.name in (None, there.name):
        return there, there
    name = name_of(entry, parent)
    before = links.get(name)
    if before is not None and not is_managed(before):
        raise MacvtapError(
            f"{name} already exists and is {_described(before)}; it is left alone. Choose another name",
            path=join_path(entry.path, "name"),
        )
    return before, _after(entry, name, parent, before, links)


def _after(entry: DesiredVlan, name: str, parent: Link, before: Link | None, links: Links) -> Link:
    """Return the desired state of the link: ``before`` itself where nothing changes."""
    base = before or Link(name, kind="vlan", alias=OWNER_ALIAS)
    differs: dict[str, t.Any] = {}
    if identity(base) != (parent.index, entry.id, entry.protocol):
        base = _as_request(base, links)
        differs = {
            "parent": parent.name,
            "parent_index": parent.index,
            "vlan_id": entry.id,
            "vlan_protocol": entry.protocol,
        }
    up = {"up": True, "down": False}.get(entry.state, base.up)
    declared = {"mac": entry.mac, "mtu": entry.mtu, "up": up}
    differs.update(
        (field, value) for field, value in declared.items() if value is not None and value != getattr(base, field)
    )
    return replace(base, **differs) if before is None or differs else before


def _as_request(link: Link, links: Links) -> Link:
    """Return ``link`` as a request to create it: values inherited from the parent are left to the kernel."""
    parent = links.get(link.parent or "")
    if parent is None:
        return link
    # vlan_dev_init(), vlan_newlink(): only values that were not set follow the parent later on.
    mac = None if link.mac == parent.mac else link.mac
    mtu = None if link.mtu == parent.mtu else link.mtu
    return replace(link, mac=mac, mtu=mtu)


def _on(link: Link, links: Links, leaving: t.Collection[int]) -> list[Change]:
    """Return the removals that follow from that of ``link``: vlan_device_event() and others remove links on it."""
    return [
        Change(other.name, "state", other.state, "absent", Impact.NONE)
        for other in links.values()
        if link.index in (other.parent_index, other.under) and other.netns is None and other.index not in leaving
    ]


def _warnings(pairs: t.Sequence[Case], leaving: t.Collection[int]) -> tuple[str, ...]:
    messages = []
    for entry, before, after in pairs:
        # By force, one that is declared absent is removed with its parent.
        if before is None or after is not before or is_managed(before) or before.parent_index in leaving:
            continue
        differing = _differing(entry, before)
        why = f"it is not managed by this collection (its alias is not {OWNER_ALIAS}) and is left unchanged"
        if entry.state == "absent":
            messages.append(f"{before.name}: not removed; {why}")
        elif differing:
            messages.append(f"{before.name}: {', '.join(differing)}; {why}")
    return tuple(messages)


def _differing(entry: DesiredVlan, link: Link) -> list[str]:
    state = entry.state if entry.state in ("up", "down") else None
    declared = {"mac": entry.mac, "mtu": entry.mtu, "state": state}
    return [
        f"its {field} is {now}, not {declared[field]}"
        for field, now in fields(link).items()
        if declared.get(field) not in (None, now)
    ]


def _described(link: Link) -> str:
    if link.kind != "vlan":
        return f"{validate.kind_of(link)}, not a VLAN link"
    on = f" of {link.parent}" if link.parent else ""
    return f"VLAN {link.vlan_id}{on}, which is not managed by this collection"
