# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the rollback: the inverse of the journal's actions on networks, and of nothing else. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import comparable, plain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    AUTOSTART,
    DEFINED,
    RESTARTED,
    STARTED,
    STOPPED,
    UNDEFINED,
    UPDATED,
    Definition,
    Host,
    Network,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.planner import (
    Path,
    fields_of,
    state_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def undo(journal: Journal[Network], host: Host) -> Plan[Network]:
    """Plan the inverse of the ``journal`` for ``host`` as it is now.

    A network is known by its UUID. What others have changed of it since stays, and the warnings say so.
    """
    actions: dict[int, set[str]] = {}
    for entry in journal.entries:
        actions.setdefault(id(entry.step), set()).add(entry.action)
    back: list[Step[Network]] = []
    warnings: list[str] = []
    for step in reversed(journal.steps):
        done = frozenset(actions[id(step)])
        one, messages = _undo_one(step, done, host)
        back += [one] if one is not None else []
        warnings += messages
        using = _running(step.target, host)
        if done & {STOPPED, RESTARTED} and step.before is not None and using:
            warnings.append(
                f"network {step.target!r} was stopped meanwhile, so libvirt no longer knows that these guests are on "
                f"it, until they have stopped: {using}"
            )
    return Plan(tuple(back), tuple(dict.fromkeys(warnings)))


def _undo_one(step: Step[Network], actions: frozenset[str], host: Host) -> tuple[Step[Network] | None, list[str]]:
    before, after = step.before, step.after
    known = after or before
    if known is None:
        return None, []
    current = host.by_uuid(known.uuid)
    name = known.name
    if before is None:
        return _undo_new(step, current, host)
    if current is None:
        if UNDEFINED not in actions and STOPPED not in actions:
            return None, [f"network {name!r} was removed by another editor while this ran, and is not put back"]
        if name in host.networks:
            return None, [f"another network has the name {name!r} meanwhile, so the former one is not put back"]
        return _step(step, None, before), []
    return _undo_change(step, current, actions, host)


def _undo_new(step: Step[Network], current: Network | None, host: Host) -> tuple[Step[Network] | None, list[str]]:
    after = step.after
    if current is None or after is None:
        return None, []
    if not _is_ours(current, after, host):
        return None, [_changed_by_others(after.name)]
    using = _running(after.name, host)
    if using:
        return None, [f"network {after.name!r} is new, and stays because guests have started on it: {using}"]
    return _step(step, current, None), []


def _undo_change(
    step: Step[Network], current: Network, actions: frozenset[str], host: Host
) -> tuple[Step[Network] | None, list[str]]:
    before = step.before
    if before is None:
        return None, []
    after = step.after or before
    target, warnings = _stored(before, after, current, actions, host)
    if STOPPED in actions and before.active and not current.active:
        target = replace(target, active=True, live=before.live, live_xml=before.live_xml)
    if actions & {STOPPED, RESTARTED} and _differs_from_stored(before):
        warnings.append(
            f"network {after.name!r} had other values than its stored ones, and has those since it was started again"
        )
    if STARTED in actions and not before.active and current.active:
        using = _running(after.name, host)
        if using:
            warnings.append(f"network {after.name!r} was inactive, and stays active because guests use it: {using}")
        else:
            target = replace(target, active=False, live=None, live_xml="")
    if actions & {RESTARTED, UPDATED} and before.live is not None and current.live is not None:
        if comparable(current.live) != comparable(_restartable(before, actions)):
            live, message = _live_before(step, current, restarted=RESTARTED in actions, host=host)
            warnings += [message] if message else []
            target = replace(target, live=live, live_xml=before.live_xml)
    elif RESTARTED in actions and before.active and not current.active:
        # It was stopped, and did not start.
        target = replace(target, active=True, live=before.live, live_xml=before.live_xml)
    if (AUTOSTART in actions or UNDEFINED in actions) and target.persistent:
        target = replace(target, autostart=before.autostart)
    return _step(step, current, target), warnings


def _stored(
    before: Network, after: Network, current: Network, actions: frozenset[str], host: Host
) -> tuple[Network, list[str]]:
    """Return ``current`` with what was stored before, and warnings."""
    target, warnings = current, []
    if actions & {DEFINED, UNDEFINED}:
        if UNDEFINED in actions or _is_ours(current, after, host):
            target = replace(target, xml=before.xml, persistent=before.persistent, **vars(plain(before)))
        elif plain(current) != plain(before):
            warnings.append(_changed_by_others(after.name))
        if current.uuid in host.overwritten:
            warnings.append(f"What the other editor has stored of network {after.name!r} may be lost. Check it")
    return target, warnings


def _live_before(step: Step[Network], current: Network, *, restarted: bool, host: Host) -> tuple[t.Any, str]:
    """Return the live network to restore, and a warning if it is not the former one."""
    before, after = step.before, step.after
    name = current.name
    running = [user for user in host.users_of(name) if user.live]
    if before is None or before.live is None or current.live is None:
        return current.live, ""
    if restarted and running:
        message = f"network {name!r} is not restarted once more, because guests use it: {_running(name, host)}"
        return current.live, f"{message}. It is as declared until it is stopped and started"
    if not restarted and after is not None and after.live is not None:
        foreign = set(_items(current)) ^ set(_items(replace(current, live=after.live)))
        if foreign - set(_items(before)):
            # A part of the updates may be missing; anything else comes from others.
            return current.live, _changed_by_others(name)
    if running and current.live.mode == "passthrough":
        return current.live, f"network {name!r} is left as it is, because guests use it: {_running(name, host)}"
    if restarted and _differs_from_stored(before):
        # By a start of what is stored then.
        return plain(before), ""
    lost = {user.uplink for user in running} - set(before.live.interfaces)
    kept = tuple(one for one in current.live.interfaces if one in lost)
    message = ""
    if kept:
        using = join_names([user.label for user in running if user.uplink in kept])
        message = f"network {name!r} keeps the uplink {join_names(kept)}, because guests have started on it: {using}"
    return replace(plain(before.live), interfaces=(*before.live.interfaces, *kept)), message


def _restartable(before: Network, actions: frozenset[str]) -> Definition:
    """Return what the network had, or the nearest that a restart gives it."""
    if RESTARTED in actions and _differs_from_stored(before):
        return before
    return before.live or before


def _differs_from_stored(before: Network) -> bool:
    """Whether a start does not give an active network what it had."""
    return before.persistent and before.live is not None and comparable(before) != comparable(before.live)


def _items(network: Network) -> list[tuple[Path, str]]:
    """Return what a live network has, part by part."""
    if network.live is None:
        return []
    fields = fields_of(network.live)
    uplinks: list[tuple[Path, str]] = [(("interface",), one) for one in fields.pop(("interfaces",), ())]
    return [*uplinks, *((name, str(value)) for name, value in fields.items())]


def _is_ours(current: Network, after: Network, host: Host) -> bool:
    """Whether the stored network is what this run has stored."""
    if current.uuid in host.overwritten:
        return False
    return current.xml == current.defined if current.defined else plain(current) == plain(after)


def _changed_by_others(name: str) -> str:
    return f"network {name!r} was changed by another editor while this ran, and is left as it is now"


def _running(name: str, host: Host) -> str:
    return join_names([user.label for user in host.users_of(name) if user.live])


def _step(step: Step[Network], current: Network | None, target: Network | None) -> Step[Network] | None:
    changes = _changes(step, current, target)
    return Step(step.target, current, target, changes, path=step.path) if changes else None


def _changes(step: Step[Network], current: Network | None, target: Network | None) -> tuple[Change, ...]:
    name = step.target
    found = []
    if (current is None) != (target is None) or state_of(current) != state_of(target):
        found.append(Change(name, "state", state_of(current), state_of(target), Impact.CONFIG))
    if current is None or target is None:
        return tuple(found)
    if current.xml != target.xml:
        found.append(Change(name, "stored", "changed", "as before", Impact.CONFIG))
    if current.persistent != target.persistent:
        found.append(Change(name, "persistent", current.persistent, target.persistent, Impact.CONFIG))
    if current.autostart != target.autostart:
        found.append(Change(name, "autostart", current.autostart, target.autostart, Impact.CONFIG))
    if current.live is not None and target.live is not None and comparable(current.live) != comparable(target.live):
        one, other = current.live, target.live
        restarts = (one.mode, one.pf, one.values) != (other.mode, other.pf, other.values) or one.pf is not None
        found.append(Change(name, "live", "changed", "as before", Impact.RECREATE if restarts else Impact.LIVE))
    return tuple(found)
