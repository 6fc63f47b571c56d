# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The way back: the inverse of what the journal has about domains' interfaces, and of nothing else. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS, OUTSIDE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import differing, need, unsettled
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    ATTACHED,
    DETACHED,
    LINK,
    LINK_DOWN,
    LINK_MAC,
    RULE,
    STORED,
    UPDATED,
    Domain,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import target
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step


def undo(journal: Journal[Nic], host: Host) -> Plan[Nic]:
    """Plan the inverse of what the ``journal`` has against ``host`` as it is now.

    The stored configuration goes back where this run stored it, but for what others have changed in it since. A
    running guest is touched only where this run touched it, and only if it is still the same instance. The warnings
    say what is not as it was although no step can mend it.
    """
    actions: dict[int, set[str]] = {}
    for entry in journal.entries:
        actions.setdefault(id(entry.step), set()).add(entry.action)
    back: list[Step[Nic]] = []
    warnings: list[str] = []
    for step in reversed(journal.steps):
        try:
            found, said = _undo_one(step, frozenset(actions[id(step)]), host)
        except MacvtapError as exc:
            # Another interface of this address has been added, say: that is no reason to leave the others.
            found, said = None, [str(exc)]
        back += [found] if found else []
        warnings += said
    return Plan(tuple(back), tuple(dict.fromkeys(warnings)))


def _undo_one(step: Step[Nic], actions: frozenset[str], host: Host) -> tuple[Step[Nic] | None, list[str]]:
    was, made = step.before, step.after
    if was is None or made is None:
        return None, []
    domain = host.domains.get(was.domain)
    if domain is not None and was.uuid and domain.uuid != was.uuid:
        domain = None
    warnings = _overwritten(domain) if STORED in actions else []
    if domain is None:
        if actions - {RULE}:
            warnings.append(
                f"domain {was.domain!r} was undefined or renamed while this ran, and nothing of it is put back"
            )
        now = Nic(was.domain, was.mac)
    else:
        now = selection.again(domain, was, step.path)
    undefined = domain is not None and bool(was.document) and not domain.persistent
    if undefined and STORED in actions:
        warnings.append(
            f"domain {was.domain!r} was undefined while this ran, and goes on without a stored configuration, of which "
            "there is nothing to put back"
        )
    now = replace(now, left=was.left and was.mac in host.rules)
    stored = None if undefined else _stored(now, was, made, actions, domain)
    changes = []
    if RULE in actions and was.left and not now.left and host.kept is not None:
        changes.append(_change(now, "allmulticast", None, True, Impact.CONFIG))
    if now.stored != stored:
        changes += _stored_changes(now, stored)
    live = now.live
    if domain is not None and domain.running and was.instance == domain.instance:
        live, of_live = _live(now, was, made, actions, host)
        changes += of_live
        warnings += _mended(now, was) if LINK in actions else []
        if now.live is not None and now.mac in domain.pending and actions & {DETACHED, ATTACHED}:
            then = "attached again as it is stored" if stored is not None else "gone"
            then = then if domain.persistent else "attached again"
            warnings.append(
                f"{target(was)}: the guest was asked to release this NIC and may still do so. It is then {then}"
            )
    elif domain is not None and domain.running and STORED in actions:
        warnings += _started_meanwhile(now, stored, host)
    if STORED in actions and domain is not None and not undefined and _differ(stored, was.stored):
        warnings.append(f"{target(was)} was changed by another editor while this ran, and is left as it is now")
    after = replace(was, stored=stored, live=live, left=was.left if RULE in actions else now.left)
    return (Step(target(was), now, after, tuple(changes), path=step.path) if changes else None), warnings


def _overwritten(domain: Domain | None) -> list[str]:
    if domain is None or not domain.overwritten:
        return []
    return [f"What the other editor of domain {domain.name!r} has stored may be lost: look for it there"]


def _mended(now: Nic, was: Nic) -> list[str]:
    """Say what was wrong with the link of a running guest and stays right: back would be to cut the guest off."""
    if now.live is None or was.live is None:
        return []
    said = {LINK_DOWN: "was down", LINK_MAC: f"had the address {was.live.get(LINK_MAC)}"}
    mended = [text for name, text in said.items() if name in was.live.values and name not in now.live.values]
    return (
        [f"{target(was)}: the guest's link {' and '.join(mended)}, and is left as the guest needs it"] if mended else []
    )


def _stored(now: Nic, was: Nic, made: Nic, actions: frozenset[str], domain: Domain | None) -> Iface | None:
    """Return the stored interface as it is ``now`` without what this run has done to it."""
    if domain is None:
        return None
    stored = now.stored
    if STORED in actions:
        # As libvirt has made it, where that is known: it drops and respells values.
        read = selection.among(domain.defined, was) if domain.defined is not None else None
        written = made.stored if domain.defined is None else _written(made.stored, read)
        ours = domain.defined is not None and written is read and _alike(now.stored, read)
        stored = was.stored if ours else _without(now.stored, was.stored, written)
    if stored is None or now.stored is None:
        return stored
    # What is outside of the element goes back where the rule was this run's doing, else it stays.
    kept = {name: text for name, text in stored.values.items() if name not in OUTSIDE}
    for name in OUTSIDE:
        one = now.stored.get(name)
        if RULE in actions and was.stored is not None and (made.stored is None or one == made.stored.get(name)):
            one = was.stored.get(name)
        kept.update({name: one} if one is not None else {})
    return stored if kept == stored.values else replace(stored, values=kept)


def _written(asked: Iface | None, read: Iface | None) -> Iface | None:
    """Return what libvirt has stored, ``read`` right after it was ``asked`` for.

    It leaves out what does not apply, chooses what was not said, and has its own spelling; a third value is another
    editor's, who was quicker than the look.
    """
    if asked is None or read is None:
        return asked
    if asked.type != read.type:
        return asked
    theirs = {
        name: value
        for name, value in asked.values.items()
        if name in read.values and read.values[name].casefold() != value.casefold()
    }
    return replace(read, values={**read.values, **theirs}) if theirs else read


def _alike(one: Iface | None, other: Iface | None) -> bool:
    return one is other if one is None or other is None else one.xml == other.xml


def _without(now: Iface | None, was: Iface | None, made: Iface | None) -> Iface | None:
    """Return the stored interface as it is ``now`` without what a step has done that led from ``was`` to ``made``."""
    if now == made:
        return was
    if was is None or made is None or now is None:
        ours = now is None if made is None else now is not None and made.values.items() <= now.values.items()
        return was if ours else now
    if was.type != made.type:
        return was if now.type == made.type else now
    values = {
        field.name: text
        for field in FIELDS
        if (text := (was if now.get(field.name) == made.get(field.name) else now).get(field.name)) is not None
    }
    return now if values == now.values else replace(now, values=values)


def _differ(one: Iface | None, other: Iface | None) -> bool:
    if one is None or other is None:
        return one is not other
    inside = [{n: v for n, v in iface.values.items() if n not in OUTSIDE} for iface in (one, other)]
    return one.type != other.type or inside[0] != inside[1]


def _live(now: Nic, was: Nic, made: Nic, actions: frozenset[str], host: Host) -> tuple[Iface | None, list[Change]]:
    """Return the running guest's interface as it is to be again, and what changes of it."""
    if DETACHED in actions and was.live is not None:
        if now.live is None:
            return was.live, [_change(now, "live", "absent", "present", Impact.LIVE)]
        # None where the guest has not released it. The keeper may have attached what was stored until now.
        names = differing(now.live, was.live, host.links)
        changes = [_change(now, f"live.{n}", _value(now.live, n), _value(was.live, n), Impact.REPLUG) for n in names]
        return (was.live if changes else now.live), changes
    if ATTACHED in actions and was.live is None and now.live is not None:
        return None, [_change(now, "live", "present", "absent", Impact.LIVE)]
    if actions & {UPDATED, LINK} and now.live and was.live and made.live:
        return _not_updated(now, was.live, made.live, host)
    return now.live, []


def _not_updated(now: Nic, was: Iface, made: Iface, host: Host) -> tuple[Iface | None, list[Change]]:
    live = t.cast("Iface", now.live)
    names = [n for n in differing(live, was, host.links) if was.get(n) != made.get(n) and live.get(n) == made.get(n)]
    values = {**live.values, **{name: was.get(name) for name in names}}
    back = replace(live, values={name: text for name, text in values.items() if text is not None})
    changes = [_change(now, f"live.{n}", live.get(n), was.get(n), need(n, live, was, host)) for n in names]
    return back, changes


def _started_meanwhile(now: Nic, stored: Iface | None, host: Host) -> list[str]:
    """Say where a guest that was started while this ran has what this run had stored."""
    if now.live is None or stored is None:
        differs = now.live is not stored
    else:
        differs = bool(unsettled(now.live, stored, host.links))
    if not differs:
        return []
    return [
        f"{target(now)}: the guest was started while this ran. It has this NIC otherwise than it is stored until it is "
        "stopped and started"
    ]


def _stored_changes(now: Nic, stored: Iface | None) -> list[Change]:
    if now.stored is None or stored is None:
        return [_change(now, "stored", _presence(now.stored), _presence(stored), Impact.CONFIG)]
    names = ["type", *(field.name for field in FIELDS)]
    pairs = [(name, _value(now.stored, name), _value(stored, name)) for name in names]
    return [_change(now, name, one, other, Impact.CONFIG) for name, one, other in pairs if one != other] or [
        # The text of the element alone, such as a comment in it.
        _change(now, "stored", "changed", "as before", Impact.CONFIG)
    ]


def _presence(iface: Iface | None) -> str:
    return "absent" if iface is None else "present"


def _value(iface: Iface, name: str) -> str | None:
    return iface.type if name == "type" else iface.get(name)


def _change(nic: Nic, field: str, before: t.Any, after: t.Any, impact: Impact) -> Change:
    return Change(target(nic), field, before, after, impact)
