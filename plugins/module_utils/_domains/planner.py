# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the changes of domains' direct interfaces, and their impact on running guests.

Pure: no libvirt, no XML, no I/O.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    multicast,
    network_validate,
    networks,
    sharing,
    validate,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, FIELDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import (
    Level,
    is_set_by_guest,
    noticeable,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    LINK_DOWN,
    LINK_MAC,
    Desired,
    Host,
    Iface,
    Nic,
    target,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import (
    Resolved,
    Unanswered,
    resolve,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# The limits of changing trust_guest_rx_filters live, as seen with libvirt 11.3.
_TRUST_WARNINGS = {
    True: "libvirt sets the link's filters when the guest next changes its own, for example when it joins or "
    "leaves a multicast group. Until then the link receives no more than before",
    False: "the filters that the guest has set stay on its link until the guest stops: multicast groups and "
    "promiscuous mode",
}


def plan(
    declared: t.Sequence[Desired],
    host: Host,
    unanswered: Unanswered = frozenset(),
    *,
    level: Level = "update",
    purge: bool = False,
) -> Plan[Nic]:
    """Plan the steps from ``host`` to what is ``declared``.

    ``level`` are words of LEVELS: how much a running guest may be disrupted. ``purge`` removes undeclared direct
    interfaces of the declared domains.

    :raises MacvtapError: a declaration is impossible, with the path of the option.
    """
    return plan_of(resolve(declared, host, unanswered, level=level, purge=purge), host)


def plan_of(resolved: t.Sequence[Resolved], host: Host) -> Plan[Nic]:
    """As :func:`plan`, of declarations that are compared with ``host`` already."""
    cases = [_case(r) for r in resolved]
    validate.validate_nics(cases, host)
    paused = {r.before.domain for r in resolved if Impact.PAUSE in r.live_changes.values()}
    sharing_warnings = sharing.validate(cases, host, paused)
    steps = tuple(
        Step(target(r.before), r.before, r.after, changes, path=r.desired.path)
        for r, changes in ((r, _changes(r)) for r in resolved)
        if changes
    )
    reported = (
        *(warning for r in resolved for warning in r.warnings),
        *multicast.default_warnings([(r.desired, r.after) for r in resolved], host),
        *_unreadable_warnings(steps, host),
        *network_validate.inactive_warnings(
            ((target(r.before), r.after.stored) for r in resolved if r.after.stored), host
        ),
        *sharing_warnings,
    )
    return Plan(steps, (*reported, *_live_warnings(steps)))


def _case(resolved: Resolved) -> sharing.Case:
    """Return the declaration, the NIC before and the NIC after; a transient domain's as if it were stored."""
    before, after = resolved.before, resolved.after
    if resolved.transient:
        before, after = replace(before, stored=before.live), replace(after, stored=resolved.desired_iface)
    return resolved.desired, before, after


def _unreadable_warnings(steps: t.Sequence[Step[Nic]], host: Host) -> t.Iterator[str]:
    """Warn if it is unknown whether another domain has the address of a new NIC."""
    new = [s.target for s in steps if s.before and s.after and s.before.stored is None and s.after.stored is not None]
    if new and host.unreadable:
        yield (
            f"this user may not read {join_names(host.unreadable)}, so a domain there may have the address of "
            f"{join_names(new)} already"
        )


def _live_warnings(steps: t.Sequence[Step[Nic]]) -> t.Iterator[str]:
    """Return warnings about changes in running guests."""
    for step in steps:
        current, planned = (nic.live if nic else None for nic in (step.before, step.after))
        for change in step.changes:
            # A NIC that is detached or attached is in sync with libvirt.
            if change.impact is not Impact.LIVE or current is None or planned is None:
                continue
            if change.field == "mode" and change.after != (current.stale_mode or current.get("mode")):
                yield (
                    f"{step.target}: the mode of the running guest's link changes, which libvirt does not notice. "
                    f"virsh dumpxml shows another mode than {change.after} until the domain is stopped and started"
                )
            elif change.field == "trust_guest_rx_filters":
                yield f"{step.target}: {_TRUST_WARNINGS[bool(change.after)]}"


def _changes(resolved: Resolved) -> tuple[Change, ...]:
    before, after = resolved.before, resolved.after
    hotplugs = (before.live is None) != (after.live is None)
    if (before.stored is None) != (after.stored is None):
        impact = Impact.LIVE if hotplugs else Impact.CONFIG
        if not hotplugs and resolved.restart_fields():
            impact = Impact.RESTART
        values = (before.stored or after.stored or Iface(before.mac)).values
        added = after.stored is not None
        listed = [_change(before, "state", _presence(before.stored), _presence(after.stored), impact)]
        for field in FIELDS:
            text = values.get(field.name)
            if text is not None and (text != field.implied or field.name == "mode"):
                value, none = field.value(text), None
                listed.append(_change(before, field.name, none if added else value, value if added else none, impact))
        return (*listed, *_rule_changes(resolved), *_live_changes(resolved, {}))
    changes: dict[str, Change] = {}
    if before.stored is not None and after.stored is not None and before.stored != after.stored:
        was, will_be = (networks.with_trust(one, resolved.host.networks) for one in (before.stored, after.stored))
        for name in ("type", *BY_NAME):
            old, new = _value(was, name), _value(will_be, name)
            if old != new:
                changes[name] = _change(before, name, old, new, _impact(resolved, name))
    listed = [*changes.values(), *_rule_changes(resolved), *_live_changes(resolved, changes)]
    if hotplugs:
        listed.append(_change(before, "live", _presence(before.live), _presence(after.live), Impact.LIVE))
    return tuple(listed)


def _rule_changes(resolved: Resolved) -> list[Change]:
    """Return the changes of a rule that the stored interface does not show."""
    removed = resolved.before.has_orphan_rule and not resolved.after.has_orphan_rule
    return [_change(resolved.before, "allmulticast", True, None, Impact.CONFIG)] if removed else []


def _live_changes(resolved: Resolved, reported: t.Container[str]) -> list[Change]:
    """Return the changes of the running guest alone, which are stored already."""
    before, after = resolved.before.live, resolved.after.live
    if before is None or after is None or (resolved.after.stored is None and not resolved.transient):
        return []
    changes = [
        _change(resolved.before, name, _value(before, name), _value(after, name), impact)
        for name, impact in resolved.live_changes.items()
        if name not in reported
    ]
    if {Impact.PAUSE, Impact.REPLUG}.isdisjoint(resolved.live_changes.values()):
        # Either creates a new link anyway.
        repaired = {LINK_DOWN: "up", LINK_MAC: before.mac}
        changes += [
            _change(resolved.before, name, before.get(name), repaired[name], Impact.LIVE)
            for name in repaired
            if name in before.values and name not in after.values
        ]
    return changes


def _impact(resolved: Resolved, name: str) -> Impact:
    live, stored = resolved.before.live, resolved.after.stored
    if live is None or stored is None or not resolved.running:
        return Impact.CONFIG
    after = resolved.after.live or live
    if is_set_by_guest(name, after):
        return Impact.CONFIG
    if name in resolved.live_changes:
        return resolved.live_changes[name]
    return Impact.RESTART if name in noticeable(after, stored, resolved.host) else Impact.CONFIG


def _presence(iface: Iface | None) -> str:
    return "absent" if iface is None else "present"


def _value(iface: Iface, name: str) -> t.Any:
    return iface.type if name == "type" else BY_NAME[name].value(iface.get(name))


def _change(nic: Nic, field: str, before: t.Any, after: t.Any, impact: Impact) -> Change:
    return Change(target(nic), field, _plain(before), _plain(after), impact)


def _plain(value: t.Any) -> t.Any:
    return dict(value.values) if isinstance(value, Iface) else value
