# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What to change about domains' direct interfaces, and what it costs a running guest.

Pure: no libvirt, no XML, no I/O.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fitness, sharing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, FIELDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import differing, is_the_guests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    LINK_DOWN,
    LINK_MAC,
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import (
    Resolved,
    Unanswered,
    resolve,
    target,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# What a live change of it does not do: seen with libvirt 11.3.
_OF_TRUST = {
    True: "libvirt sets the link as the guest's card is set when the guest next changes that: when it joins or leaves "
    "a multicast group, say. Until then nothing more is heard",
    False: "what the guest's card was set to stays on its link until the guest stops: groups, and being promiscuous",
}


def plan(
    declared: t.Sequence[Desired],
    host: Host,
    unanswered: Unanswered = frozenset(),
    *,
    level: str = "update",
    purge: bool = False,
) -> Plan[Nic]:
    """Plan the way from ``host`` to what is ``declared``.

    ``level`` is the most that a running guest may feel, one of LEVELS. With ``purge``, direct interfaces of the
    declared domains that are not declared are removed.

    :raises MacvtapError: something declared cannot be, with the path of the option.
    """
    resolved = resolve(declared, host, unanswered, level=level, purge=purge)
    cases = [_case(r) for r in resolved]
    fitness.check(cases, host)
    crowded = sharing.check(cases, host)
    steps = tuple(
        Step(target(r.before), r.before, r.after, changes, path=r.desired.path)
        for r, changes in ((r, _changes(r)) for r in resolved)
        if changes
    )
    told = (*(warning for r in resolved for warning in r.warnings), *_unread(steps, host), *crowded)
    return Plan(steps, (*told, *_caveats(steps)))


def _case(resolved: Resolved) -> sharing.Case:
    """Return what is declared, the NIC as it is and as it is to be: of a transient domain as if that were stored."""
    before, after = resolved.before, resolved.after
    if resolved.transient:
        before, after = replace(before, stored=before.live), replace(after, stored=resolved.wanted)
    return resolved.desired, before, after


def _unread(steps: t.Sequence[Step[Nic]], host: Host) -> t.Iterator[str]:
    """Say where it is not known whether another domain has the address of a new NIC."""
    new = [s.target for s in steps if s.before and s.after and s.before.stored is None and s.after.stored is not None]
    if new and host.unread:
        yield (
            f"this user may not read {join_names(host.unread)}, so that it is not known whether a domain there has the "
            f"address of {join_names(new)} already"
        )


def _caveats(steps: t.Sequence[Step[Nic]]) -> t.Iterator[str]:
    """What the user should know of what changes in running guests."""
    for step in steps:
        was, will_be = (nic.live if nic else None for nic in (step.before, step.after))
        for change in step.changes:
            # Of one that is unplugged or plugged in nothing is left, or all is as libvirt has it.
            if change.impact is not Impact.LIVE or was is None or will_be is None:
                continue
            if change.field == "mode" and change.after != (was.stale_mode or was.get("mode")):
                yield (
                    f"{step.target}: the mode of the running guest's link is changed, which libvirt does not notice: "
                    f"virsh dumpxml goes on showing another mode than {change.after} until the domain is stopped and "
                    "started"
                )
            elif change.field == "trust_guest_rx_filters":
                yield f"{step.target}: {_OF_TRUST[bool(change.after)]}"


def _changes(resolved: Resolved) -> tuple[Change, ...]:
    before, after = resolved.before, resolved.after
    plugs = (before.live is None) != (after.live is None)
    if (before.stored is None) != (after.stored is None):
        impact = Impact.LIVE if plugs else Impact.CONFIG
        if not plugs and resolved.restart_fields():
            impact = Impact.RESTART
        values = (before.stored or after.stored or Iface(before.mac)).values
        added = after.stored is not None
        said = [_change(before, "state", _presence(before.stored), _presence(after.stored), impact)]
        for field in FIELDS:
            text = values.get(field.name)
            if text is not None and (text != field.implied or field.name == "mode"):
                value, none = field.value(text), None
                said.append(_change(before, field.name, none if added else value, value if added else none, impact))
        return (*said, *_rule_changes(resolved), *_live_changes(resolved, {}))
    changes: dict[str, Change] = {}
    if before.stored is not None and after.stored is not None and before.stored != after.stored:
        for name in ("type", *BY_NAME):
            old, new = _value(before.stored, name), _value(after.stored, name)
            if old != new:
                changes[name] = _change(before, name, old, new, _impact(resolved, name))
    said = [*changes.values(), *_rule_changes(resolved), *_live_changes(resolved, changes)]
    if plugs:
        said.append(_change(before, "live", _presence(before.live), _presence(after.live), Impact.LIVE))
    return tuple(said)


def _rule_changes(resolved: Resolved) -> list[Change]:
    """What changes of a rule of which the stored interface does not tell."""
    gone = resolved.before.left and not resolved.after.left
    return [_change(resolved.before, "allmulticast", True, None, Impact.CONFIG)] if gone else []


def _live_changes(resolved: Resolved, told: t.Container[str]) -> list[Change]:
    """What changes in the running guest alone, because it is stored so already."""
    before, after = resolved.before.live, resolved.after.live
    if before is None or after is None or (resolved.after.stored is None and not resolved.transient):
        return []
    said = [
        _change(resolved.before, name, _value(before, name), _value(after, name), impact)
        for name, impact in resolved.live_changes.items()
        if name not in told
    ]
    if Impact.REPLUG not in resolved.live_changes.values():
        # One that is replugged gets another link anyway.
        mended = {LINK_DOWN: "up", LINK_MAC: before.mac}
        said += [
            _change(resolved.before, name, before.get(name), mended[name], Impact.LIVE)
            for name in mended
            if name in before.values and name not in after.values
        ]
    return said


def _impact(resolved: Resolved, name: str) -> Impact:
    live, stored = resolved.before.live, resolved.after.stored
    if live is None or stored is None or not resolved.running or name not in differing(live, stored, resolved.links):
        return Impact.CONFIG
    if is_the_guests(name, resolved.after.live or live):
        return Impact.CONFIG
    return resolved.live_changes.get(name, Impact.RESTART)


def _presence(iface: Iface | None) -> str:
    return "absent" if iface is None else "present"


def _value(iface: Iface, name: str) -> t.Any:
    return iface.type if name == "type" else BY_NAME[name].value(iface.get(name))


def _change(nic: Nic, field: str, before: t.Any, after: t.Any, impact: Impact) -> Change:
    return Change(target(nic), field, _plain(before), _plain(after), impact)


def _plain(value: t.Any) -> t.Any:
    return dict(value.values) if isinstance(value, Iface) else value
