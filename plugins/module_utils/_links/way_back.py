# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What puts back what a run has done to links, and nothing else, against what is there now. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, fields, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import identity
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INDEX,
    MADE,
    REFUSED,
    REMOVED,
    Link,
    Links,
    Lost,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import in_order
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Entry, Journal, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# What a link is, and no value that could be put back.
_FIXED = frozenset(
    {"name", "index", "kind", "netns", "parent", "parent_index", "lower", "lower_netns", "under", "bridge_vlans"}
    | {"carrier", "promiscuity", "allmulti", "parent_allmulti", "hardware", "loopback", "wireless", "master", "pci"}
    | {"bridge_pvid"}
)
# Of these a run may have left a third value: an address that makes way for another one, a node half repaired.
_HALFWAY = frozenset({"mac", "tap", "group"})


Losses = t.Mapping[t.Tuple[t.Optional[str], int], Lost]


class Between(t.Protocol):
    """What makes a step of two states of a link."""

    def __call__(self, before: Link | None, after: Link | None, *, path: str = "") -> Step[Link]: ...


@dataclass(frozen=True)
class _Way:
    """The way back as far as it is known; the warnings are names of links by what is to be said of them."""

    links: Links
    there: identity.Places
    lost: Losses
    between: Between
    anew: t.Callable[[Link, Links], Link]
    brought: Journal[Link]
    steps: list[Step[Link]] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    def go(self, now: Link | None, then: Link | None, step: Step[Link]) -> None:
        self.steps.append(self.between(now, then, path=step.path))

    def warn(self, words: str, name: str) -> None:
        self.warnings.setdefault(words, []).append(name)


def undo(  # noqa: PLR0913  # what differs between the kinds of link
    journal: Journal[Link],
    links: Links,
    lost: Losses,
    brought: Journal[Link],
    *,
    between: Between,
    anew: t.Callable[[Link, Links], Link] = lambda link, _links: link,
) -> Plan[Link]:
    """Plan the inverse of what ``journal`` has.

    ``lost`` is what went with each link, by the namespace and the index that it had; ``brought`` is what the way back
    has begun itself so far; ``between`` makes the steps, and ``anew`` says of a link what to ask for to have it made.
    """
    way = _Way(links, identity.by_index(links), lost, between, anew, brought)
    begun: dict[str, list[Entry[Link]]] = {}
    for entry in journal.entries:
        begun.setdefault(entry.step.target, []).append(entry)
    for entries in begun.values():
        # The last knows more of what was made, as its address.
        step = entries[-1].step
        actions = [entry.action for entry in entries]
        made = _find_made(entries, way)
        if made is not None and made.master:
            # Nobody else can have made it a port than somebody who uses it.
            way.warn(f"made by this run, and made a port of {made.master} since then, so that it stays", made.name)
        elif REMOVED in actions and REMOVED + REFUSED not in actions:
            _bring_back(step, made, way)
        elif made is not None:
            way.go(made, None, step)
        elif CHANGED in actions and CHANGED + REFUSED not in actions:
            _change_back(step, way)
    said = (f"{join_names(names)}: {words}" for words, names in way.warnings.items())
    return in_order(way.steps, tuple(said))


def _find_made(entries: t.Sequence[Entry[Link]], way: _Way) -> Link | None:
    """Return the link that was made by the ``entries`` about one target, None where there is none."""
    step, actions = entries[-1].step, [entry.action for entry in entries]
    if MADE not in actions or MADE + REFUSED in actions or step.after is None:
        return None
    index = next((int(action[len(INDEX) :]) for action in actions if action.startswith(INDEX)), 0)
    return identity.find_made(step.after, way.links, way.there, index)


def _bring_back(step: Step[Link], made: Link | None, way: _Way) -> None:
    before = t.cast("Link", step.before)
    there = identity.find(before, way.there)
    if there is not None:
        # Not gone after all. This is what was done to have it go: see requests.before_removal().
        way.go(there, replace(there, allmulticast=before.allmulticast, group=before.group), step)
        return
    if before.elsewhere and step.after is not None:
        before = replace(before, parent=step.after.parent, parent_index=step.after.parent_index)
    now = made
    if made is None or made.name != before.name:
        there = way.links.get(before.key)
        if there is not None and there != _brought_back(before, way):
            way.warn(
                "something else has made another link of this name meanwhile, so that it is not put back", before.key
            )
            return
        if made is not None:
            way.go(made, None, step)
        now = there
    way.go(now, way.anew(before, way.links), step)
    if now is not None:
        _say_what_is_lost(before, now, way)


def _brought_back(before: Link, way: _Way) -> Link | None:
    """Return the link that the way back has made for ``before``, however it looks; another's may look the same."""
    begun = [entry for entry in way.brought.entries if entry.step.target == before.key]
    return _find_made(begun, way) if begun else None


def _say_what_is_lost(before: Link, now: Link, way: _Way) -> None:
    lost = way.lost.get((before.netns, before.index), Lost())
    way.warn("recreated on the way back, with another index" + (" and /dev/tapN" if before.tap else ""), before.key)
    if lost.addresses:
        way.warn(f"what was on it is gone: {join_names(lost.addresses)}", before.key)
    gone = [link.name for link in lost.on_it if not _is_back(link, now, way.links)]
    if gone:
        way.warn(f"what it was the parent of went with it and is gone: {join_names(gone)}", before.key)


def _is_back(link: Link, parent: Link, links: Links) -> bool:
    there = links.get(link.key)
    return there is not None and (there.kind, there.parent_index) == (link.kind, parent.index)


def _change_back(step: Step[Link], way: _Way) -> None:
    before, after = t.cast("Link", step.before), t.cast("Link", step.after)
    now = identity.find(before, way.there)
    if now is None:
        way.warn("gone since then; something else has removed it", before.key)
        return
    if now.name != before.name:
        way.warn(f"called {now.name} since then; something else has renamed it", before.key)
    values: dict[str, t.Any] = {}
    for one in fields(Link):
        was, made, is_now = (getattr(link, one.name) for link in (before, after, now))
        if one.name in _FIXED or was in (made, is_now):
            continue
        if isinstance(was, frozenset):
            # The inverse of what was added and taken away: what others have added stays.
            values[one.name] = (is_now - (made - was)) | (was - made)
        elif is_now == made or made is None or one.name in _HALFWAY:
            values[one.name] = was
    if "mtu" in values and now.addrgenmode is None:
        # It comes back with an MTU that IPv6 can have, as the kernel gives it to a new link.
        values["addrgenmode"] = before.addrgenmode
    way.go(now, replace(now, **values) if values else now, step)
