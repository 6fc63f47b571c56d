# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans guards: one step for each NIC. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.changes import loaded, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import (
    declared_twice,
    did_you_mean,
    join_names,
    suggest,
)

# Actions in the journal: the rules in the kernel, and the file.
RULES, STORE = "rules", "store"
# Why a guard is not as it was after the undo.
_FOREIGN = "the guard of {mac} is not as it was, because others have changed it as well"
_KEPT = (
    "the guard of {mac} stays as this run has loaded it, until its guest starts, nftables is reloaded, or the host "
    "boots: its guest has started meanwhile, and the guard that is stored again was edited, or is of another version"
)
_TABLE = "the table of guards in nftables"
_WAKES = (
    f"{_TABLE} is dormant, so that no guard is in force. To wake it puts those of other NICs in force as well: {{}}"
)
_WOKEN = f"{_TABLE} was dormant, and stays awake, so that all guards in it are in force"


def plan(
    desired: t.Sequence[Desired], host: Host, guests: t.Mapping[str, str] | None = None, *, persistent: bool = True
) -> Plan[State]:
    """Plan all declared guards.

    ``guests`` are the links of running guests by the path of their entry, as libvirt has them: a guest may have given
    its link another address.

    :raises MacvtapError: a link does not exist, or a NIC is declared twice.
    """
    steps: dict[str, Step[State]] = {}
    paths: dict[str, str] = {}
    named = [(entry, mac_of(entry, host), _named_links(entry, host, guests or {})) for entry in desired]
    indexes = {link.name: link.index for link in host.links.values()}
    present = {mac: links for entry, mac, links in named if entry.present}
    owners = {**model.owners(host, present), **{link: mac for mac, links in present.items() for link in links}}
    for entry, mac, _links in named:
        if mac in paths:
            raise declared_twice(f"the NIC {mac}", entry.path, paths[mac])
        paths[mac] = entry.path or "the module's own options"
        before = replace(host.state(mac), indexes=indexes)
        after = replace(_after(entry, mac, host, owners, persistent), indexes=indexes)
        steps[mac] = step_between(before, after)
    return Plan(tuple(steps.values()), _waking(steps.values(), host))


def _waking(steps: t.Collection[Step[State]], host: Host) -> tuple[str, ...]:
    """Return the warning that the steps put other guards in force too: a table is dormant as a whole, if it is."""
    others = sorted(host.asleep - {step.target for step in steps})
    wakes = any(step.changes and step.after is not None and step.after.active is not None for step in steps)
    return (_WAKES.format(join_names(others)),) if wakes and others else ()


def _named_links(entry: Desired, host: Host, guests: t.Mapping[str, str]) -> set[str]:
    """Return the links that an entry names, by itself or by its domain.

    What a domain had when it was asked may be another's by now, if it has come since.
    """
    links = {guests.get(entry.path), entry.link} - {None}
    there = host.links.keys() - host.new
    return {link for link in links if link == entry.link or link in there}  # type: ignore[misc]


def _after(entry: Desired, mac: str, host: Host, owners: t.Mapping[str, str], persistent: bool) -> State:
    """Return what an entry makes of the guard of a NIC."""
    if not entry.present:
        return State(mac)
    guard = entry.guard(mac, host.state(mac).stored)
    _check_mirror(guard, entry, host)
    links = tuple(sorted(link for link, owner in owners.items() if owner == mac))
    return State(mac, guard if persistent else None, guard, links)


def _check_mirror(guard: Guard, entry: Desired, host: Host) -> None:
    """:raises MacvtapError: the link for copies does not exist, or is a guest's."""
    path, link = join_path(entry.path, "mirror_to"), guard.mirror_to
    if link and link in host.links:
        raise MacvtapError(f"{link} is a macvtap link, and sends copies to the LAN. Use another link", path=path)
    if link and link not in host.names:
        raise MacvtapError(f"no link {link} exists{did_you_mean(suggest(link, host.names))}", path=path)


def mac_of(entry: Desired, host: Host) -> str:
    """Return the address of the NIC that an entry is about.

    :raises MacvtapError: its link does not exist.
    """
    if entry.mac is not None:
        return entry.mac
    link = host.links.get(entry.link or "")
    if link is not None:
        return link.mac
    bound = next((one.mac for one in host.bindings if one.link == entry.link), None)
    if not entry.present and bound is not None:
        return bound
    message = f"no macvtap link {entry.link} exists{did_you_mean(suggest(entry.link or '', host.links))}"
    raise MacvtapError(message, path=join_path(entry.path, "link"))


def resolved(entry: Desired, host: Host) -> Desired:
    """Return an entry for a guard to remove by the address of its NIC: of its link nothing may be left after that.

    :raises MacvtapError: as :func:`mac_of`.
    """
    return entry if entry.present else replace(entry, mac=mac_of(entry, host), link=None)


def undo(journal: Journal[State], host: Host) -> Plan[State]:
    """Plan the inverse of what the journal has. What others have changed meanwhile is left, with a warning."""
    steps, warnings = [], []
    for step in journal.steps:
        if step.before is None or step.after is None:
            continue
        former, warning = _former(step, journal, host)
        warnings += [warning.format(mac=step.target)] if warning else []
        steps.append(step_between(host.state(step.target), former))
    return Plan(tuple(steps), (*warnings, *((_WOKEN,) if host.woken and not host.asleep else ())))


def _former(step: Step[State], journal: Journal[State], host: Host) -> tuple[State, str]:
    """Return the guard without what this run did to it, and why it is not as it was, "" if it is."""
    before, after = t.cast("State", step.before), t.cast("State", step.after)
    current, foreign = host.state(step.target), False
    former, is_loaded = current, _rules(current) != _rules(State(step.target))
    if journal.contains(step, STORE):
        if current.stored == after.stored:
            former = replace(former, stored=before.stored)
        else:
            foreign = current.stored != before.stored
    if not journal.contains(step, RULES) and (after.exists or not journal.contains(step, STORE)):
        return former, _FOREIGN if foreign else ""
    # Guests start and stop meanwhile, which changes links, but not the rules.
    came = _came(after, host) | _unguarded(step, host)
    # What puts a guard on a link that comes takes that of the file: without this run, the former one.
    earlier = before.active or (before.stored if came else None)
    # The rules of an entry of another version are not known. Better those that are there than none.
    is_known = earlier is None or earlier.known is not None
    kept = not is_known and is_loaded and _rules(current) == _rules(after)
    if _rules(current) == _rules(after):
        active = earlier if is_known else current.active
        former = replace(former, active=active, modified=before.modified, links=_former_links(step, host, came))
    elif is_known:
        foreign = foreign or _rules(current) not in (_rules(before), (earlier, before.modified))
    if former.modified and not current.modified:
        # Rules that this collection did not write are not known to it as a whole. Without any the guest could send
        # what it likes: it has those of the file, or else what this run has loaded.
        active = (former.stored and former.stored.known) or current.active
        former, foreign = replace(former, modified=False, active=active), True
    # With links, but no rules, it is to be loaded as the file has it, whatever that is.
    of_file = not is_loaded and former.stored is not None and former.stored.known is None
    if former.active is None and not former.modified and not of_file:
        former = replace(former, links=())
    lacking = {link for link in before.unchecked if link in former.links and _is_same(link, before, host)}
    former = replace(former, unchecked=tuple(sorted(lacking)))
    return former, _FOREIGN if foreign else _KEPT if kept else ""


def _former_links(step: Step[State], host: Host, came: t.Collection[str]) -> tuple[str, ...]:
    """Return the links of a guard without what this run did: those that came stay, and what is gone stays gone."""
    before, after = t.cast("State", step.before), t.cast("State", step.after)
    others = {link for state in host.guards.values() if state.mac != step.target for link in state.links}
    added = {*after.links} - {*before.links} - {*came}
    removed = {link for link in {*before.links} - {*after.links} - others if _is_same(link, before, host)}
    return tuple(sorted({*host.state(step.target).links} - added | removed | {*came}))


def _came(planned: State, host: Host) -> set[str]:
    """Return the links that have got a guard after it was planned."""
    links = host.state(planned.mac).links
    return {link for link in links if link not in planned.links or not _is_same(link, planned, host)}


def _unguarded(step: Step[State], host: Host) -> set[str]:
    """Return the links of a NIC that have come after its guard was planned to go: there was none that they could get.

    Others that had no guard before have none.
    """
    before, after = t.cast("State", step.before), t.cast("State", step.after)
    if after.exists or not (before.active or before.stored):
        return set()
    bare = {index for link, index in before.indexes.items() if link not in before.links}
    return {
        link
        for link, mac in model.owners(host, {step.target}).items()
        if mac == step.target and link in host.links and host.links[link].index not in bare
    }


def _is_same(link: str, planned: State, host: Host) -> bool:
    """Return whether a link is there, and the one that was planned with: libvirt gives a free name to any guest."""
    current = host.links.get(link)
    return current is not None and planned.indexes.get(link, current.index) == current.index


def undo_around(journal: Journal[State], host: Host, *, completed: bool) -> Plan[State]:
    """Plan as :func:`undo` for guards that a change of NICs has followed, which was ``completed`` or undone before.

    A guard stays on a link that has come with that change, and is still there, unless there was an earlier guard, which
    that link gets. So does one whose link is still closed.
    """
    if completed:
        stays = f"the change of the NIC was completed, so that it and {names_of(Plan(journal.steps))} stay as they are"
        return Plan((), (stays,) if journal.steps else ())
    planned = undo(journal, host)
    closed = {one.mac for one in host.bindings if one.closed and one.link in host.links}
    bare = {step.target for step in planned.steps if step.after and not step.after.exists}
    kept = {
        step.target
        for step in journal.steps
        if step.target in bare and step.after is not None and (step.target in closed or _came(step.after, host))
    }
    warnings = tuple(f"the guard of {mac} stays as it is now, because the NIC is still there" for mac in sorted(kept))
    steps = tuple(step for step in planned.steps if step.target not in kept)
    others = tuple(one for one in planned.warnings if not any(mac in one for mac in kept))
    return Plan(steps, (*others, *warnings))


def removal(
    desired: t.Sequence[Desired],
    host: Host,
    present: t.Collection[str],
    *,
    going: t.Collection[str],
    owners: t.Mapping[str, t.Sequence[str]] | None = None,
) -> Plan[State]:
    """Plan to remove guards. Those of the NICs ``going`` stay as long as there is a link, or the NIC is ``present``.

    ``owners`` are the domains that have NICs with these addresses all the same: theirs stay too.
    """
    there, kept, warnings = {*present, *(link.mac for link in host.links.values())}, [], []
    for one in desired:
        mac = one.mac or ""
        names, is_there = (owners or {}).get(mac, ()), mac in there or bool(host.state(mac).links)
        if mac not in going or not (is_there or names):
            continue
        kept.append(one)
        why = "its NIC is still there. Run this task again when it is gone"
        if not is_there:
            why = f"NICs with its address are in domains of this host: {join_names(list(names))}"
        warnings += [f"the guard of {mac} stays, because {why}"] if host.state(mac).exists else []
    planned = plan([one for one in desired if one not in kept], host)
    return replace(planned, warnings=(*planned.warnings, *warnings))


def without_new_links(planned: Plan[State], new: t.Collection[str] | None = None) -> Plan[State]:
    """Return what is left to do but for links that have appeared meanwhile: what has created them puts guards on.

    Without ``new`` it may be any link.
    """

    def is_left(step: Step[State]) -> bool:
        if any(change.field != "links" for change in step.changes):
            return True
        before, after = ({*one.guarded} if one else set() for one in (step.before, step.after))
        return new is not None and not (before ^ after) <= {*new}

    return replace(planned, steps=tuple(step for step in planned.steps if is_left(step)))


def names_of(planned: Plan[State]) -> str:
    """Return the guards of a plan's steps, for messages."""
    return join_names([f"the guard of {step.target}" for step in planned.steps])


def _rules(state: State) -> tuple[Guard | None, bool]:
    return state.active, state.modified


def predicted(planned: Plan[State], host: Host) -> dict[str, State]:
    """Return the guards as they will be after ``planned``."""
    return {**host.guards, **{step.target: step.after for step in planned.steps if step.after is not None}}


def report(state: State) -> dict[str, t.Any]:
    """Return what the modules return of a guard."""
    guard = state.active or state.stored or Guard(state.mac)
    return {
        "mac": state.mac,
        "links": state.guarded,
        **guard.options,
        "persistent": state.stored is not None,
        "rules": loaded(state),
    }
