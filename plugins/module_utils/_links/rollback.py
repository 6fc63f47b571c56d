# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the rollback: the inverse of what a run has done to links, and nothing else, from the current state. Pure."""

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

# Facts about a link that cannot be set.
_FIXED = frozenset(
    (
        *("name", "index", "kind", "netns", "parent", "parent_index", "lower", "lower_netns", "under", "bridge_vlans"),
        *("carrier", "promiscuity", "allmulti", "parent_allmulti", "hardware", "loopback", "wireless", "master", "pci"),
        "bridge_pvid",
    )
)
# A run may have left a third value of these: a temporary address, or a node half repaired.
_HALFWAY = frozenset({"mac", "tap", "group"})


Losses = t.Mapping[t.Tuple[t.Optional[str], int], Lost]


class Between(t.Protocol):
    """Builds a step from two states of a link."""

    def __call__(self, before: Link | None, after: Link | None, *, path: str = "") -> Step[Link]:
        """Return the step from ``before`` to ``after``."""


@dataclass(frozen=True)
class _Rollback:
    """The rollback planned so far; ``warnings`` are names of links by the text about them."""

    links: Links
    there: identity.Places
    lost: Losses
    between: Between
    as_request: t.Callable[[Link, Links], Link]
    brought: Journal[Link]
    steps: list[Step[Link]] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    def add(self, now: Link | None, then: Link | None, step: Step[Link]) -> None:
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
    as_request: t.Callable[[Link, Links], Link] = lambda link, _links: link,
) -> Plan[Link]:
    """Plan the inverse of what ``journal`` has.

    ``lost`` is what was removed together with each link, by namespace and index. ``brought`` is what the rollback
    itself has done so far. ``between`` builds the steps. ``as_request`` turns a link into a request to create it.
    """
    rollback = _Rollback(links, identity.by_index(links), lost, between, as_request, brought)
    begun: dict[str, list[Entry[Link]]] = {}
    for entry in journal.entries:
        begun.setdefault(entry.step.target, []).append(entry)
    for entries in begun.values():
        # The last entry knows more about the created link, such as its address.
        step = entries[-1].step
        actions = [entry.action for entry in entries]
        made = _find_made(entries, rollback)
        stays = identity.taken_up(made) if made is not None else ""
        if made is not None and stays:
            rollback.warn(stays, made.name)
        elif REMOVED in actions and REMOVED + REFUSED not in actions:
            _restore_removed(step, made, rollback)
        elif made is not None:
            rollback.add(made, None, step)
        elif CHANGED in actions and CHANGED + REFUSED not in actions:
            _revert_changes(step, rollback)
    warnings = (f"{join_names(names)}: {words}" for words, names in rollback.warnings.items())
    return in_order(rollback.steps, tuple(warnings))


def _find_made(entries: t.Sequence[Entry[Link]], rollback: _Rollback) -> Link | None:
    """Return the link that the ``entries`` about one target created, None for none."""
    step, actions = entries[-1].step, [entry.action for entry in entries]
    if MADE not in actions or MADE + REFUSED in actions or step.after is None:
        return None
    index = next((int(action.replace(INDEX, "", 1)) for action in actions if action.startswith(INDEX)), 0)
    return identity.find_made(step.after, rollback.links, rollback.there, index)


def _restore_removed(step: Step[Link], made: Link | None, rollback: _Rollback) -> None:
    before = t.cast("Link", step.before)
    there = identity.find(before, rollback.there)
    if there is not None:
        # It was not removed after all. Undo what prepared its removal: see requests.before_removal().
        rollback.add(there, replace(there, allmulticast=before.allmulticast, group=before.group), step)
        return
    if before.elsewhere and step.after is not None:
        before = replace(before, parent=step.after.parent, parent_index=step.after.parent_index)
    now = made
    if made is None or made.name != before.name:
        there = rollback.links.get(before.key)
        if there is not None and there != _recreated(before, rollback):
            rollback.warn("not restored: something else has created another link of this name meanwhile", before.key)
            return
        if made is not None:
            rollback.add(made, None, step)
        now = there
    rollback.add(now, rollback.as_request(before, rollback.links), step)
    if now is not None:
        _warn_of_losses(before, now, rollback)


def _recreated(before: Link, rollback: _Rollback) -> Link | None:
    """Return the link that the rollback has created for ``before``; another's may look the same."""
    begun = [entry for entry in rollback.brought.entries if entry.step.target == before.key]
    return _find_made(begun, rollback) if begun else None


def _warn_of_losses(before: Link, now: Link, rollback: _Rollback) -> None:
    lost = rollback.lost.get((before.netns, before.index), Lost())
    rollback.warn(
        "recreated during the rollback, with another index" + (" and /dev/tapN" if before.tap else ""), before.key
    )
    if lost.addresses:
        rollback.warn(f"its addresses and routes are lost: {join_names(lost.addresses)}", before.key)
    gone = [link.name for link in lost.on_it if not _is_restored(link, now, rollback.links)]
    if gone:
        rollback.warn(f"the links on it were removed with it: {join_names(gone)}", before.key)


def _is_restored(link: Link, parent: Link, links: Links) -> bool:
    there = links.get(link.key)
    return there is not None and (there.kind, there.parent_index) == (link.kind, parent.index)


def _revert_changes(step: Step[Link], rollback: _Rollback) -> None:
    before, after = t.cast("Link", step.before), t.cast("Link", step.after)
    now = identity.find(before, rollback.there)
    if now is None:
        rollback.warn("something else has removed it meanwhile", before.key)
        return
    if now.name != before.name:
        rollback.warn(f"something else has renamed it to {now.name} meanwhile", before.key)
    values: dict[str, t.Any] = {}
    for one in fields(Link):
        was, made, is_now = (getattr(link, one.name) for link in (before, after, now))
        if one.name in _FIXED or was in (made, is_now):
            continue
        if isinstance(was, frozenset):
            # The inverse of what was added and removed: what others have added stays.
            values[one.name] = (is_now - (made - was)) | (was - made)
        elif is_now == made or made is None or one.name in _HALFWAY:
            values[one.name] = was
    if "mtu" in values and now.addrgenmode is None:
        # With an MTU that allows IPv6 the kernel sets it as on a new link.
        values.update(addrgenmode=before.addrgenmode, accept_ra=before.accept_ra)
    rollback.add(now, replace(now, **values) if values else now, step)
