# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the rollback: the inverse of the journal's actions on domains' interfaces, and of nothing else. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import rollback_warnings, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS, OUTSIDE_XML
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import (
    differing,
    impact_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    ATTACHED,
    DETACHED,
    LINK,
    PAUSED,
    RULE,
    STORED,
    UPDATED,
    Domain,
    Host,
    Iface,
    Nic,
    target,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step


def undo(journal: Journal[Nic], host: Host) -> Plan[Nic]:
    """Plan the inverse of the ``journal`` for ``host`` as it is now.

    The stored configuration is restored where this run stored it, except for what others have changed since. A running
    guest is changed only where this run changed it, and only if it is still the same instance. The warnings name what
    is not as before and cannot be restored.
    """
    actions: dict[int, set[str]] = {}
    for entry in journal.entries:
        actions.setdefault(id(entry.step), set()).add(entry.action)
    back: list[Step[Nic]] = []
    warnings: list[str] = []
    for step in reversed(journal.steps):
        try:
            step_back, messages = _undo_one(step, frozenset(actions[id(step)]), host)
        except MacvtapError as exc:
            # For example, another interface with this address was added. The others are restored nevertheless.
            step_back, messages = None, [str(exc)]
        back += [step_back] if step_back else []
        warnings += messages
    return Plan(tuple(back), tuple(dict.fromkeys(warnings)))


def _undo_one(step: Step[Nic], actions: frozenset[str], host: Host) -> tuple[Step[Nic] | None, list[str]]:
    before, applied = step.before, step.after
    if before is None or applied is None:
        return None, []
    domain = _same_domain(before, host)
    undefined = domain is not None and bool(before.document) and not domain.persistent
    current = Nic(before.domain, before.mac) if domain is None else selection.current_nic(domain, before, step.path)
    current = replace(current, has_orphan_rule=before.has_orphan_rule and before.mac in host.rules)
    stored = None if undefined else _stored(current, before, applied, actions, domain)
    warnings = rollback_warnings.of_domain(before, domain, actions, undefined=undefined)
    live, of_live = current.live, list[Change]()
    if domain is not None:
        if domain.running and before.instance == domain.instance:
            live, of_live = _live(current, before, applied, actions, host)
        warnings += rollback_warnings.of_guest(before, current, stored, actions, host)
        if STORED in actions and not undefined and _differ(stored, before.stored):
            warnings.append(f"{target(before)} was changed by another editor while this ran, and is left as it is now")
    changes = [*_rule_changes(current, before, actions, host), *_stored_changes(current, stored), *of_live]
    has_rule = before.has_orphan_rule if RULE in actions else current.has_orphan_rule
    after = replace(before, stored=stored, live=live, has_orphan_rule=has_rule)
    return (Step(target(before), current, after, tuple(changes), path=step.path) if changes else None), warnings


def _rule_changes(current: Nic, before: Nic, actions: frozenset[str], host: Host) -> list[Change]:
    """Return the change that writes the rule of an interface that is no longer stored, if this run has removed it."""
    removed = RULE in actions and before.has_orphan_rule and not current.has_orphan_rule
    if not removed or host.managed_rules is None:
        return []
    return [_change(current, "allmulticast", None, True, Impact.CONFIG)]


def _same_domain(before: Nic, host: Host) -> Domain | None:
    """Return the domain that ``before`` was read of, unless it is gone or another one has its name."""
    domain = host.domains.get(before.domain)
    return None if domain is not None and before.uuid and domain.uuid != before.uuid else domain


def _stored(current: Nic, before: Nic, applied: Nic, actions: frozenset[str], domain: Domain | None) -> Iface | None:
    """Return the ``current`` stored interface without this run's changes."""
    if domain is None:
        return None
    stored = current.stored
    if STORED in actions:
        # As libvirt stored it, where that is known: it drops values and changes their spelling.
        read = selection.find_in(domain.defined, before) if domain.defined is not None else None
        written = applied.stored if domain.defined is None else _written(applied.stored, read)
        ours = domain.defined is not None and written is read and _alike(current.stored, read)
        stored = before.stored if ours else _without(current.stored, before.stored, written)
    if stored is None or current.stored is None:
        return stored
    # Fields outside of the XML are restored where this run wrote the rule. Otherwise they stay.
    kept = {name: text for name, text in stored.values.items() if name not in OUTSIDE_XML}
    for name in OUTSIDE_XML:
        one = current.stored.get(name)
        is_ours = RULE in actions and (applied.stored is None or one == applied.stored.get(name))
        if is_ours and before.stored is not None:
            one = before.stored.get(name)
        kept.update({name: one} if one is not None else {})
    return stored if kept == stored.values else replace(stored, values=kept)


def _written(asked: Iface | None, read: Iface | None) -> Iface | None:
    """Return what libvirt stored for ``asked``; ``read`` was read right afterwards.

    libvirt omits what does not apply, chooses defaults, and has its own spelling. Any other value comes from another
    editor, before the read.
    """
    if asked is None or read is None:
        return asked
    if asked.type != read.type:
        return asked
    foreign = {
        name: value
        for name, value in asked.values.items()
        if name in read.values and read.values[name].casefold() != value.casefold()
    }
    return replace(read, values={**read.values, **foreign}) if foreign else read


def _alike(one: Iface | None, other: Iface | None) -> bool:
    return one is other if one is None or other is None else one.xml == other.xml


def _without(current: Iface | None, before: Iface | None, applied: Iface | None) -> Iface | None:
    """Return the ``current`` stored interface without the changes from ``before`` to ``applied``."""
    if current == applied:
        return before
    if before is None or applied is None or current is None:
        ours = (
            current is None
            if applied is None
            else current is not None and applied.values.items() <= current.values.items()
        )
        return before if ours else current
    if before.type != applied.type:
        return before if current.type == applied.type else current
    values = {
        field.name: text
        for field in FIELDS
        if (text := (before if current.get(field.name) == applied.get(field.name) else current).get(field.name))
        is not None
    }
    return current if values == current.values else replace(current, values=values)


def _differ(one: Iface | None, other: Iface | None) -> bool:
    if one is None or other is None:
        return one is not other
    inside = [{n: v for n, v in iface.values.items() if n not in OUTSIDE_XML} for iface in (one, other)]
    return one.type != other.type or inside[0] != inside[1]


def _live(
    current: Nic, before: Nic, applied: Nic, actions: frozenset[str], host: Host
) -> tuple[Iface | None, list[Change]]:
    """Return the running guest's interface to restore, and the changes."""
    if DETACHED in actions and before.live is not None and current.live is None:
        return before.live, [_change(current, "live", "absent", "present", Impact.LIVE)]
    if actions & {DETACHED, PAUSED} and before.live is not None and current.live is not None:
        # No difference if the guest has not released it. The keeper may have attached it as it was stored.
        return _live_restored(current, before.live, host, Impact.PAUSE if PAUSED in actions else Impact.REPLUG)
    if ATTACHED in actions and before.live is None and current.live is not None:
        return None, [_change(current, "live", "present", "absent", Impact.LIVE)]
    if actions & {UPDATED, LINK} and current.live and before.live and applied.live:
        return _updates_undone(current, before.live, applied.live, host)
    return current.live, []


def _live_restored(current: Nic, before: Iface, host: Host, impact: Impact) -> tuple[Iface, list[Change]]:
    live = t.cast("Iface", current.live)
    names = differing(live, before, host)
    changes = [_change(current, f"live.{name}", _value(live, name), _value(before, name), impact) for name in names]
    return (before if changes else live), changes


def _updates_undone(current: Nic, before: Iface, applied: Iface, host: Host) -> tuple[Iface | None, list[Change]]:
    live = t.cast("Iface", current.live)
    names = [
        n for n in differing(live, before, host) if before.get(n) != applied.get(n) and live.get(n) == applied.get(n)
    ]
    values = {**live.values, **{name: before.get(name) for name in names}}
    back = replace(live, values={name: text for name, text in values.items() if text is not None})
    changes = [
        _change(current, f"live.{n}", live.get(n), before.get(n), impact_of(n, live, before, host)) for n in names
    ]
    return back, changes


def _stored_changes(current: Nic, stored: Iface | None) -> list[Change]:
    if current.stored == stored:
        return []
    if current.stored is None or stored is None:
        return [_change(current, "stored", _presence(current.stored), _presence(stored), Impact.CONFIG)]
    names = ["type", *(field.name for field in FIELDS)]
    pairs = [(name, _value(current.stored, name), _value(stored, name)) for name in names]
    return [_change(current, name, one, other, Impact.CONFIG) for name, one, other in pairs if one != other] or [
        # Only the element's text differs, such as a comment in it.
        _change(current, "stored", "changed", "as before", Impact.CONFIG)
    ]


def _presence(iface: Iface | None) -> str:
    return "absent" if iface is None else "present"


def _value(iface: Iface, name: str) -> str | None:
    return iface.type if name == "type" else iface.get(name)


def _change(nic: Nic, field: str, before: t.Any, after: t.Any, impact: Impact) -> Change:
    return Change(target(nic), field, before, after, impact)
