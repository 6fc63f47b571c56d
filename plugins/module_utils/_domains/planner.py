# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What to change about domains' direct interfaces, and what it costs a running guest.

Pure: no libvirt, no lxml, no I/O.
"""

from __future__ import annotations

import difflib
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    FIELDS,
    Desired,
    Domain,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

DEFAULT_MODE = "vepa"
# libvirt's own default is rtl8139, an emulated card of 100 Mbit/s.
DEFAULT_MODEL = "virtio"


@dataclass(frozen=True)
class Resolved:
    """One declared interface held against the host."""

    desired: Desired
    before: Nic
    after: Nic
    running: bool
    warnings: tuple[str, ...] = ()

    def restart_fields(self) -> tuple[str, ...]:
        """The fields in which the running guest's NIC will still differ from the stored one."""
        if self.after.live is None or self.after.stored is None:
            return ()
        live, stored = self.after.live, self.after.stored
        return tuple(name for name in ("type", *FIELDS) if getattr(live, name) != getattr(stored, name))


def plan(
    declared: t.Sequence[Desired], host: Host, unanswered: t.Collection[tuple[str, str]] = frozenset()
) -> Plan[Nic]:
    """Plan the way from ``host`` to what is ``declared``.

    ``unanswered`` are the NICs (domain, MAC) that this run has asked a guest to let go of, and which it
    still holds: they are not planned again.

    :raises MacvtapError: something declared cannot be, with the path of the option.
    """
    resolved = resolve(declared, host, unanswered)
    steps = (
        Step(target(r.before), r.before, r.after, changes, path=r.desired.path)
        for r, changes in ((r, _changes(r)) for r in resolved)
        if changes
    )
    return Plan(tuple(steps), tuple(warning for r in resolved for warning in r.warnings))


def resolve(
    declared: t.Sequence[Desired], host: Host, unanswered: t.Collection[tuple[str, str]] = frozenset()
) -> tuple[Resolved, ...]:
    """Hold each declared interface against the host, in the order of declaration."""
    return tuple(_resolve_one(desired, host, (desired.domain, desired.mac) in unanswered) for desired in declared)


def undo(steps: t.Sequence[Step[Nic]], host: Host) -> Plan[Nic]:
    """Plan the way from ``host``, where any part of ``steps`` may have been done, to what they started from."""
    back = []
    for step in reversed(steps):
        was = step.before
        if was is None:
            continue
        domain = host.domains.get(was.domain)
        if domain is None:
            raise MacvtapError(f"domain {was.domain!r} is gone", path=step.path)
        now = _nic(domain, was.mac, step.path)
        changes = []
        if now.stored != was.stored:
            changes.append(_change(now, "stored", now.stored, was.stored, Impact.CONFIG))
        if domain.running and (now.live is None) != (was.live is None):
            changes.append(_change(now, "live", now.live, was.live, Impact.LIVE))
        if changes:
            back.append(Step(target(was), now, was, tuple(changes), path=step.path))
    return Plan(tuple(back))


def target(nic: Nic) -> str:
    return f"{nic.domain} {nic.mac}"


def _resolve_one(desired: Desired, host: Host, unanswered: bool) -> Resolved:
    domain = host.domains.get(desired.domain)
    if domain is None:
        said = _unknown(desired.domain, host)
        if desired.present:
            raise MacvtapError(said, path=join_path(desired.path, "domain"))
        nothing = Nic(desired.domain, desired.mac)
        return Resolved(desired, nothing, nothing, False, (f"{said}: nothing to remove {desired.mac} from",))
    if not domain.persistent:
        raise MacvtapError(
            f"domain {domain.name!r} is transient: libvirt stores no configuration that could be changed. "
            "Define it (virsh define) first",
            path=join_path(desired.path, "domain"),
        )
    before = _nic(domain, desired.mac, desired.path)
    if before.stored is not None and before.stored.type != "direct":
        raise MacvtapError(
            f"domain {domain.name!r} has {desired.mac} as an interface of type {before.stored.type!r}; "
            "this module changes interfaces of type 'direct' only",
            path=join_path(desired.path, "mac"),
        )
    if not desired.present:
        # A guest that has not answered may still do so: there is nothing more to do about it in this run.
        live = before.live if unanswered else None
        return Resolved(desired, before, Nic(domain.name, desired.mac, None, live), domain.running)
    stored, warnings = _stored(desired, before)
    live = (before.live or stored) if domain.running else None
    return Resolved(desired, before, Nic(domain.name, desired.mac, stored, live), domain.running, warnings)


def _stored(desired: Desired, before: Nic) -> tuple[Iface, tuple[str, ...]]:
    given = {name: getattr(desired, name) for name in FIELDS if getattr(desired, name) is not None}
    if before.stored is not None:
        return replace(before.stored, **given), ()
    if desired.source is None:
        raise MacvtapError(
            f"domain {desired.domain!r} has no interface {desired.mac} yet: adding it needs the host's link",
            path=join_path(desired.path, "source"),
        )
    warnings: tuple[str, ...] = ()
    if desired.mode is None:
        warnings = (
            f"{target(before)}: mode is not given, so it is {DEFAULT_MODE} as libvirt has it, which works only on "
            "a switch whose port reflects frames (reflective relay); bridge works on every switch",
        )
    return Iface(desired.mac, **{"mode": DEFAULT_MODE, "model": DEFAULT_MODEL, **given}), warnings


def _changes(resolved: Resolved) -> tuple[Change, ...]:
    before, after = resolved.before, resolved.after
    plugs = (before.live is None) != (after.live is None)
    if (before.stored is None) != (after.stored is None):
        impact = Impact.LIVE if plugs else Impact.CONFIG
        values = (before.stored or after.stored or Iface(before.mac)).given()
        added = after.stored is not None
        return (
            _change(before, "state", *(("absent", "present") if added else ("present", "absent")), impact),
            *(
                _change(before, name, None if added else value, value if added else None, impact)
                for name, value in values.items()
            ),
        )
    changes = []
    if before.stored is not None and after.stored is not None:
        for name in FIELDS:
            old, new = getattr(before.stored, name), getattr(after.stored, name)
            if old != new:
                held = before.live is not None and getattr(before.live, name) != new
                changes.append(_change(before, name, old, new, Impact.RESTART if held else Impact.CONFIG))
    if plugs:
        words = ("absent", "present") if before.live is None else ("present", "absent")
        changes.append(_change(before, "live", *words, Impact.LIVE))
    return tuple(changes)


def _change(nic: Nic, field: str, before: t.Any, after: t.Any, impact: Impact) -> Change:
    return Change(target(nic), field, _plain(before), _plain(after), impact)


def _plain(value: t.Any) -> t.Any:
    return value.given() if isinstance(value, Iface) else value


def _nic(domain: Domain, mac: str, path: str) -> Nic:
    return Nic(
        domain.name,
        mac,
        _only(domain.stored, domain, mac, path),
        _only(domain.live, domain, mac, path) if domain.running else None,
        domain.document,
    )


def _only(ifaces: t.Iterable[Iface], domain: Domain, mac: str, path: str) -> Iface | None:
    found = [iface for iface in ifaces if iface.mac == mac]
    if len(found) > 1:
        raise MacvtapError(
            f"domain {domain.name!r} has {len(found)} interfaces with {mac} "
            f"({', '.join(f'{i.type} {i.source or i.target}' for i in found)}): which one is meant cannot be told",
            path=join_path(path, "mac"),
        )
    return found[0] if found else None


def _unknown(name: str, host: Host) -> str:
    near = difflib.get_close_matches(name, host.known, n=5, cutoff=0.5) or sorted(host.known)[:5]
    more = len(host.known) - len(near)
    listed = ", ".join(near) + (f" and {more} more" if more else "") if near else "none"
    return f"no domain {name!r} on {host.uri} (known: {listed})"
