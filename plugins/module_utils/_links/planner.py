# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What must be done to make links as declared, and what the kernel would refuse. Pure.

Which attribute can change on a link that exists, and what each refusal of the kernel means, was measured
on Linux 6.18 and read in drivers/net/macvlan.c and macvtap.c.
"""

from __future__ import annotations

import difflib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    ARPHRD_ETHER,
    Holder,
    Link,
    Links,
    Tap,
    Wanted,
    permissions,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

_MACVLAN_KINDS = ("macvlan", "macvtap")
# Masters that own the rx_handler of their ports, which macvlan_port_create() needs for itself.
_MASTERS = ("bridge", "bond", "team", "openvswitch")


def plan(wanted: t.Sequence[Wanted], links: Links) -> Plan[Link]:
    """Plan the way from ``links`` (all of the host's) to ``wanted``.

    :raises MacvtapError: the kernel would refuse it, or it would touch a link that is no macvtap.
    """
    _check_declared_once(wanted)
    steps = []
    final = dict(links)
    for want in wanted:
        before = links.get(want.name)
        if before is not None and before.kind != "macvtap":
            raise MacvtapError(
                f"{want.name} exists and is no macvtap link but {_kind(before)}; it is left alone. Choose another name",
                path=join_path(want.path, "name"),
            )
        after = _after(want, before, links)
        steps.append(step_between(before, after, path=want.path))
        final.pop(want.name, None)
        if after is not None:
            final[want.name] = after
    made = {step.target for step in steps if step.changes and step.after}
    touched = [want for want in wanted if want.name in made]
    siblings = _siblings(final)
    for want in touched:
        _check_on_parent(want, final, siblings)
    _check_addresses(touched, final, siblings)
    return Plan(tuple(sorted(steps, key=_order)), _warnings(wanted, links))


def undo(steps: t.Sequence[Step[Link]], links: Links) -> Plan[Link]:
    """Plan the way from ``links`` back to what ``steps`` started from."""
    back = (step_between(links.get(step.target), step.before, path=step.path) for step in steps)
    return Plan(tuple(sorted(back, key=_order)))


def foreseen(planned: Plan[Link], links: Links) -> dict[str, Link]:
    """Return the links as they will be when ``planned`` is done."""
    final = dict(links)
    for step in planned.steps:
        final.pop(step.target, None)
        if step.after is not None:
            final[step.target] = step.after
    return final


def cut_off(planned: Plan[Link]) -> tuple[Link, ...]:
    """Return the links whose tap goes away, so that whoever holds it open is cut off."""
    return tuple(step.before for step in planned.steps if step.before and (step.removes or step.recreates))


def check_holders(planned: Plan[Link], holders: t.Mapping[str, t.Sequence[Holder]], *, force: bool) -> None:
    """Refuse a plan that would cut off a process; ``holders`` is keyed by the name of the link.

    :raises MacvtapError: unless ``force``.
    """
    for step in planned.steps:
        held = holders.get(step.target, ())
        if held and not force:
            deed = "removing" if step.removes else "recreating"
            raise MacvtapError(
                f"{deed} {step.target} would cut off {', '.join(map(str, held))}, which holds its tap open. "
                "Stop that first, or say force: true",
                path=step.path,
            )


def step_between(before: Link | None, after: Link | None, *, path: str = "") -> Step[Link]:
    """Return the step from one state of a link to another, with its changes field by field."""
    target = (after or before or Link("")).name
    changes: tuple[Change, ...]
    if before is None or after is None:
        old_state, new_state = ("absent" if link is None else link.state for link in (before, after))
        changes = () if before is after else (Change(target, "state", old_state, new_state, Impact.NONE),)
    else:
        old, new = view(before), view(after)
        changes = tuple(
            Change(target, field, old.get(field), value, _impact(field, old.get(field), value))
            for field, value in new.items()
            if value is not None and value != old.get(field)
        )
    return Step(target, before, after, changes, view(before) if before else "", view(after) if after else "", path)


def view(link: Link) -> dict[str, t.Any]:
    """Return the fields of a link that can be declared; those that the kernel will choose are None."""
    fields: dict[str, t.Any] = {
        "parent": link.parent,
        "mode": link.mode,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
    }
    if link.tap is not None:
        fields["tap.owner"] = link.tap.owner
        fields["tap.group"] = link.tap.group
        fields["tap.mode"] = permissions(link.tap.mode)
    return fields


def _impact(field: str, old: t.Any, new: t.Any) -> Impact:
    # The kernel answers "success" to a new IFLA_LINK and ignores it; macvlan_changelink() gives EINVAL
    # for a mode to or from passthru.
    if field == "parent" or (field == "mode" and "passthru" in (old, new)):
        return Impact.RECREATE
    return Impact.IN_PLACE


def _after(want: Wanted, before: Link | None, links: Links) -> Link | None:
    if want.state == "absent":
        return None
    if before is None and want.parent is None:
        raise MacvtapError(
            f"the link {want.name} does not exist, and to make it its parent must be known; say parent",
            path=join_path(want.path, "parent"),
        )
    base = before or Link(want.name, kind="macvtap", mode="vepa")
    moves = want.parent is not None and want.parent != base.parent
    mode = want.mode or base.mode
    parent = _parent(want, links) if moves and want.parent else links.get(base.parent or "")
    mac = want.mac or base.mac
    if parent is not None and mode == "passthru":
        mac = _passthru_mac(want, parent)
    elif before is not None and before.mode == "passthru" and mode != "passthru" and want.mac is None:
        # A passthru link has its parent's address, which no other mode may have.
        mac = None
    return replace(
        base,
        parent=parent.name if parent else base.parent,
        parent_index=parent.index if parent else base.parent_index,
        mode=mode,
        mac=mac,
        mtu=want.mtu or base.mtu,
        up={"up": True, "down": False}.get(want.state, base.up),
        tap=_tap(want, base),
    )


def _tap(want: Wanted, base: Link) -> Tap | None:
    if (want.tap_owner, want.tap_group, want.tap_mode) == (None, None, None):
        return base.tap
    tap = base.tap or Tap("")
    if base.tap is not None and not tap.own:
        fault = "is missing" if tap.node is None else "is the tap of a link in another network namespace"
        raise MacvtapError(f"{tap.path} {fault}; its permissions are left alone", path=join_path(want.path, "tap"))
    return replace(
        tap,
        owner=want.tap_owner or tap.owner,
        group=want.tap_group or tap.group,
        mode=tap.mode if want.tap_mode is None else want.tap_mode,
    )


def _passthru_mac(want: Wanted, parent: Link) -> str | None:
    if want.mac is not None and want.mac != parent.mac:
        raise MacvtapError(
            f"a link in mode passthru has the address of its parent {parent.name} ({parent.mac}), and another one "
            f"would become the parent's too; found {want.mac}. Leave mac out",
            path=join_path(want.path, "mac"),
        )
    return parent.mac


def _parent(want: Wanted, links: Links) -> Link:
    """Return the link that is to be the parent, or say why it cannot be."""
    name = want.parent or ""
    path = join_path(want.path, "parent")
    parent = links.get(name)
    if parent is None:
        near = difflib.get_close_matches(name, [n for n in links if n != want.name], n=3)
        raise MacvtapError(
            f"there is no link {name} on this host"
            + (f"; did you mean {' or '.join(near)}?" if near else f" (links: {_some(sorted(links))})"),
            path=path,
        )
    if parent.kind in _MACVLAN_KINDS:
        real = f" ({parent.parent})" if parent.parent else ""
        raise MacvtapError(
            f"{name} is itself a {parent.kind} link, and the kernel would silently use the link below it. "
            f"Say that one{real}",
            path=path,
        )
    if parent.loopback or parent.hardware != ARPHRD_ETHER:
        what = "the loopback link" if parent.loopback else f"no Ethernet link (hardware type {parent.hardware})"
        raise MacvtapError(f"{name} is {what}; macvtap needs an Ethernet link", path=path)
    master = links.get(parent.master or "")
    if master is not None and master.kind in _MASTERS:
        raise MacvtapError(
            f"{name} is a port of the {master.kind} {master.name}, which takes all its frames. "
            f"Use {master.name} as parent",
            path=path,
        )
    return parent


def _check_declared_once(wanted: t.Sequence[Wanted]) -> None:
    for option in ("name", "mac"):
        seen: dict[str, Wanted] = {}
        for want in wanted:
            value = getattr(want, option)
            if value is None or (option == "mac" and want.state == "absent"):
                continue
            if value in seen and (option == "name" or seen[value].parent == want.parent):
                raise MacvtapError(
                    f"{value} is declared twice, here and in {join_path(seen[value].path, option)}",
                    path=join_path(want.path, option),
                )
            seen[value] = want


def _siblings(links: Links) -> dict[int, list[Link]]:
    """Return the macvlan and macvtap links by the index of their parent."""
    siblings: dict[int, list[Link]] = {}
    for link in links.values():
        if link.kind in _MACVLAN_KINDS:
            siblings.setdefault(link.parent_index, []).append(link)
    return siblings


def _check_on_parent(want: Wanted, final: Links, siblings: t.Mapping[int, t.Sequence[Link]]) -> None:
    """Refuse what the kernel refuses among the links of one parent, seen as they will be."""
    link = final[want.name]
    parent = final.get(link.parent or "")
    if parent is None:
        return
    if link.mtu and parent.mtu and link.mtu > parent.mtu:
        raise MacvtapError(
            f"{link.mtu} exceeds the mtu of its parent {parent.name} ({parent.mtu}); raise the parent's mtu first",
            path=join_path(want.path, "mtu" if want.mtu else "parent"),
        )
    others = [other.name for other in siblings[parent.index] if other is not link]
    alone = next((other for other in siblings[parent.index] if other.mode == "passthru"), None)
    if others and alone is not None:
        raise MacvtapError(
            f"a link in mode passthru must be the only one on its parent; {parent.name} would have {alone.name} "
            f"in that mode and also {_some([other for other in (*others, link.name) if other != alone.name])}",
            path=join_path(want.path, "mode" if want.mode else "parent"),
        )


def _check_addresses(wanted: t.Sequence[Wanted], final: Links, siblings: t.Mapping[int, t.Sequence[Link]]) -> None:
    owners: dict[tuple[int, str | None], list[Link]] = {}
    for index, links in siblings.items():
        for link in links:
            owners.setdefault((index, link.mac), []).append(link)
    for want in wanted:
        link = final[want.name]
        parent = final.get(link.parent or "")
        if parent is None or link.mac is None or link.mode == "passthru":
            continue
        twin = next((other for other in owners[parent.index, link.mac] if other is not link), None)
        if parent.mac == link.mac:
            twin = parent
        if twin is not None:
            whose = "the parent itself" if twin is parent else f"another link of the parent {parent.name}"
            raise MacvtapError(
                f"{link.mac} is the address of {twin.name}, {whose}; the kernel allows each address once on a parent",
                path=join_path(want.path, "mac"),
            )


def _warnings(wanted: t.Sequence[Wanted], links: Links) -> tuple[str, ...]:
    default = [w.name for w in wanted if w.state != "absent" and w.mode is None and w.name not in links]
    if not default:
        return ()
    return (
        f"No mode was given for the new link {_some(default)}: it gets the kernel's default, vepa, with which "
        "guests of one host reach each other only through a switch with reflective relay. Say mode: bridge for any "
        "other switch",
    )


def _order(step: Step[Link]) -> int:
    # What goes makes room (an address, a passthru's parent) for what comes.
    return 0 if step.removes else 1 if step.before else 2


def _kind(link: Link) -> str:
    return f"a {link.kind} link" if link.kind else "a physical or loopback link"


def _some(names: t.Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
