# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What must be done to make VLAN links as declared, and what each change costs. Pure.

The kernel's rules are those of net/8021q: vlan.c, vlan_dev.c and vlan_netlink.c.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    refusals,
    vlan_caveats,
    vlan_refusals,
    way_back,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import RECREATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import NoSuchLinkError, resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import between, in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import (
    MARK,
    Case,
    WantedVlan,
    fields,
    identity,
    is_incomplete,
    is_ours,
    stays,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step


def name_of(want: WantedVlan, parent: Link) -> str:
    """Return the name that the VLAN link on ``parent`` is to have.

    :raises MacvtapError: it is left out, and PARENT.ID is longer than the kernel allows.
    """
    name = want.name or f"{parent.name}.{want.id}"
    size = len(name.encode())
    if size > _values.NAME_BYTES:
        raise MacvtapError(
            f"'{name}' would have {size} bytes and the kernel allows {_values.NAME_BYTES}; give a name",
            path=join_path(want.path, "name"),
        )
    return name


def found(want: WantedVlan, links: Links) -> Link | None:
    """Return the link that is the wanted VLAN, whoever has made it.

    :raises MacvtapError: the parent is ambiguous, or missing and the VLAN not to be absent.
    """
    try:
        parent = resolve(want, links)
    except NoSuchLinkError:
        if want.state == "absent":
            return None
        raise
    there = (link for link in links.values() if identity(link) == (parent.index, want.id, want.protocol))
    link = next(there, None)
    if want.state == "absent" and link is not None and want.name not in (None, link.name):
        return None
    return link


def plan(wanted: t.Sequence[WantedVlan], links: Links, *, force: bool = False) -> Plan[Link]:
    """Plan the way from ``links`` (all of the host's) to ``wanted``.

    :raises MacvtapError: the kernel would refuse it, it would touch a link that is not ours, or (unless ``force``) take
        away what is in use.
    """
    vlan_refusals.check_parents_exist(wanted, links)
    pairs = [(want, *_states(want, links)) for want in wanted]
    vlan_refusals.check_declared_once(pairs)
    final = dict(links)
    for _want, before, after in pairs:
        if before is not None and after is not before:
            final.pop(before.name, None)
    final.update((after.name, after) for _want, _before, after in pairs if after is not None)
    vlan_refusals.check_parents_stay(pairs, final)
    leaving = _leaving(pairs)
    steps = []
    for want, before, after in pairs:
        dragged = before is not None and before.index in leaving and stays(before, after)
        if after is before and not dragged and not (before and is_incomplete(before)):
            continue
        if after is not None:
            vlan_refusals.check(want, before, after, final)
        also: t.Sequence[Change] = ()
        if before is not None and before.index in leaving:
            also = _on(before, links, leaving)
            vlan_refusals.check_unused(want, before, after, also, force=force)
        steps.append(_remade(before, after, also, want) if dragged else _step(before, after, also, want))
    return in_order(steps, (*_warnings(pairs), *vlan_caveats.warnings(pairs, links)))


def _leaving(pairs: t.Sequence[Case]) -> frozenset[int]:
    """Return the indexes of the links that go, be it to be recreated, and of those that go along with them."""
    leaving = {before.index for _want, before, after in pairs if before and not stays(before, after)}
    size = -1
    while size != len(leaving):
        size = len(leaving)
        declared = [before for _want, before, _after in pairs if before is not None]
        leaving |= {before.index for before in declared if before.parent_index in leaving}
    return frozenset(leaving)


def _step(before: Link | None, after: Link | None, also: t.Sequence[Change], want: WantedVlan) -> Step[Link]:
    if before is not None and after is not None and is_incomplete(before):
        # Left without it by a run that was killed.
        after = replace(after, alias=MARK, group=0)
        also = (*also, Change(before.name, "alias", None, MARK, Impact.IN_PLACE))
    return step_between(before, after, also=also, path=want.path)


def _remade(before: Link | None, after: Link | None, also: t.Sequence[Change], want: WantedVlan) -> Step[Link]:
    """Return the step that recreates a link which stays as it is, for it goes with the one that it is on."""
    link = t.cast("Link", after)
    change = Change(link.name, "parent", link.parent, link.parent, Impact.RECREATE)
    return step_between(before, replace(link, alias=MARK), also=(*also, change), path=want.path)


def undo(journal: Journal[Link], links: Links, lost: way_back.Losses, brought: Journal[Link]) -> Plan[Link]:
    """Plan the inverse of what ``journal`` has, against ``links`` as they are now.

    ``lost`` is what went with links, ``brought`` what the way back has begun itself so far.
    """
    return way_back.undo(journal, links, lost, brought, between=step_between, anew=_anew)


def step_between(
    before: Link | None, after: Link | None, *, also: t.Sequence[Change] = (), path: str = ""
) -> Step[Link]:
    return between(before, after, fields, _impact, also=also, path=path)


def _impact(_before: Link, field: str, _value: t.Any) -> Impact:
    return Impact.RECREATE if field in RECREATES else Impact.IN_PLACE


def _states(want: WantedVlan, links: Links) -> tuple[Link | None, Link | None]:
    """Return the link that ``want`` is about, as it is and as it is to be; the same where nothing is to be done."""
    there = found(want, links)
    if want.state == "absent":
        return there, there if there and not is_ours(there) else None
    parent = resolve(want, links)
    if there is not None and not is_ours(there) and want.name in (None, there.name):
        return there, there
    name = name_of(want, parent)
    before = links.get(name)
    if before is not None and not is_ours(before):
        raise MacvtapError(
            f"{name} exists and is {_described(before)}; it is left alone. Choose another name",
            path=join_path(want.path, "name"),
        )
    return before, _after(want, name, parent, before, links)


def _after(want: WantedVlan, name: str, parent: Link, before: Link | None, links: Links) -> Link:
    """Return the link as it is to be: ``before`` itself where that is as declared already."""
    base = before or Link(name, kind="vlan", alias=MARK)
    differs: dict[str, t.Any] = {}
    if identity(base) != (parent.index, want.id, want.protocol):
        base = _anew(base, links)
        differs = {
            "parent": parent.name,
            "parent_index": parent.index,
            "vlan_id": want.id,
            "vlan_protocol": want.protocol,
        }
    up = {"up": True, "down": False}.get(want.state, base.up)
    declared = {"mac": want.mac, "mtu": want.mtu, "up": up}
    differs.update(
        (field, value) for field, value in declared.items() if value is not None and value != getattr(base, field)
    )
    return replace(base, **differs) if before is None or differs else before


def _anew(link: Link, links: Links) -> Link:
    """Return what to ask for to have ``link`` made: what it has from its parent is left to the kernel."""
    parent = links.get(link.parent or "")
    if parent is None:
        return link
    # vlan_dev_init(), vlan_newlink(): and only what was not asked for follows the parent later on.
    mac = None if link.mac == parent.mac else link.mac
    mtu = None if link.mtu == parent.mtu else link.mtu
    return replace(link, mac=mac, mtu=mtu)


def _on(link: Link, links: Links, leaving: t.Collection[int]) -> list[Change]:
    """Say what goes along with ``link``: vlan_device_event() and its like remove what is on a link that goes."""
    return [
        Change(other.name, "state", other.state, "absent", Impact.NONE)
        for other in links.values()
        if link.index in (other.parent_index, other.under) and other.netns is None and other.index not in leaving
    ]


def _warnings(pairs: t.Sequence[Case]) -> tuple[str, ...]:
    said = []
    for want, before, after in pairs:
        if before is None or after is not before or is_ours(before):
            continue
        differing = _differing(want, before)
        why = f"it is not this module's own (its alias is not {MARK}) and is left as it is"
        if want.state == "absent":
            said.append(f"{before.name}: not removed, {why}")
        elif differing:
            said.append(f"{before.name}: {', '.join(differing)}; {why}")
    return tuple(said)


def _differing(want: WantedVlan, link: Link) -> list[str]:
    state = want.state if want.state in ("up", "down") else None
    declared = {"mac": want.mac, "mtu": want.mtu, "state": state}
    return [
        f"its {field} is {now} and not {declared[field]}"
        for field, now in fields(link).items()
        if declared.get(field) not in (None, now)
    ]


def _described(link: Link) -> str:
    if link.kind != "vlan":
        return f"no VLAN link but {refusals.kind_of(link)}"
    on = f" of {link.parent}" if link.parent else ""
    return f"VLAN {link.vlan_id}{on}, which something else has made"
