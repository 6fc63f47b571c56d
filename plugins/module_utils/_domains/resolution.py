# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Compares declared interfaces with the host: each NIC before and after. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from types import MappingProxyType

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import multicast, network_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import Assigned, assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.desired import live_iface, stored_iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import without_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import (
    Level,
    allowed,
    differing,
    due_at_restart,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    LINK_FAULTS,
    LINK_GONE,
    NO_HOST,
    Desired,
    Host,
    Iface,
    Nic,
    target,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.networks import NAMES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import (
    nic_of,
    pairs,
    same_source,
    stored_or_live,
    unknown_domain,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# The field that is not in libvirt's XML.
_ALLMULTICAST = "allmulticast"
# NICs (domain, MAC address) that this run has asked a guest to release, and that it still holds.
Unanswered = t.Collection[t.Tuple[str, str]]
# What a running guest may be put through.
_Impacts = t.FrozenSet[Impact]
_NO_WAYS: t.Mapping[str, Impact] = MappingProxyType({})


@dataclass(frozen=True)
class Resolved:
    """One declared interface, compared with the host."""

    desired: Desired
    before: Nic
    after: Nic
    running: bool
    # The impact of each field that this run changes in the running guest.
    live_changes: t.Mapping[str, Impact]
    warnings: tuple[str, ...] = ()
    host: Host = NO_HOST
    # The desired NIC of a transient domain, which stores nothing.
    transient: bool = False
    desired_iface: Iface | None = None

    def restart_fields(self) -> tuple[str, ...]:
        """Return the fields in which the running guest's NIC will still differ from the stored one."""
        live, stored = self.after.live, self.after.stored
        if not self.running or self.transient or (live is None and stored is None):
            return ()
        if live is None or stored is None:
            return ("state",)
        faults = (name for name in (*LINK_FAULTS, LINK_GONE) if name in live.values)
        return (*due_at_restart(live, stored, self.host, self.desired.given), *faults)


def resolve(  # noqa: PLR0913  # each is independent of the others
    declared: t.Sequence[Desired],
    host: Host,
    unanswered: Unanswered = frozenset(),
    *,
    level: Level = "update",
    ways: t.Mapping[str, Impact] = _NO_WAYS,
    purge: bool = False,
) -> tuple[Resolved, ...]:
    """Compare each declared interface with the host, in order of declaration; purged ones come last.

    ``ways`` has the way that was chosen for a domain's guest, PAUSE or REPLUG, where ``level`` allows both.
    """
    assigned = assign(declared, host, purge=purge)
    impacts = {name: allowed(level, ways.get(name)) for name in {one.domain for one in declared}}
    found = [
        _resolve_one(desired, assigned.get(place), host, unanswered, impacts[desired.domain])
        for place, desired in enumerate(declared)
    ]
    if purge:
        found += _purged(found, host, unanswered, impacts)
    leaving = {(one.before.domain, one.before.mac) for one in found if not one.desired.present}
    return tuple(_without_others_rule(one, host, leaving) for one in found)


def needs_all_macs(declared: t.Sequence[Desired], host: Host, *, purge: bool = False) -> bool:
    """Whether the MAC addresses of all domains are needed: to add an interface, or to remove a rule."""
    if not purge and not host.rules and all(_is_as_placed(one, host) for one in declared):
        return False
    # Ambiguous selectors do not matter here.
    assigned = {place: nic for place, nic in assign(declared, host).items() if isinstance(nic, Nic)}
    if any(
        declared[place].present and _is_placed(declared[place], nic.stored, host) for place, nic in assigned.items()
    ):
        return True
    for place, one in enumerate(declared):
        mac = assigned[place].mac if place in assigned else one.mac
        given = multicast.with_default(one, assigned.get(place), host).given
        if mac in host.rules and (not one.present or given.get(_ALLMULTICAST) == "no"):
            return True
    named = [host.domains[name] for name in {one.domain for one in declared} & host.domains.keys()] if purge else []
    return any(iface.mac in host.rules for domain in named for iface in (*domain.stored, *domain.live))


def _is_as_placed(desired: Desired, host: Host) -> bool:
    """Whether a declaration clearly is of a NIC that stays where it is: most are, and assigning them takes longer."""
    domain = host.domains.get(desired.domain)
    if domain is None or desired.by != "mac" or desired.nic is not None:
        return False
    stored, live = ([one for one in side if one.mac == desired.key] for side in (domain.stored, domain.live))
    return len(stored) == 1 and len(live) <= 1 and not (desired.present and _is_placed(desired, stored[0], host))


def _is_placed(desired: Desired, stored: Iface | None, host: Host) -> bool:
    """Whether a NIC that is stored so, if at all, is new on its source, or changes its mode there."""
    mode = desired.given.get("mode")
    if stored is None or stored.type != "direct":
        return True
    source, network = desired.given.get("source"), desired.given.get("network")
    if network is not None:
        return network != stored.get("network")
    moved = source is not None and not same_source(source, stored.get("source"), host.links)
    return moved or mode not in {None, "auto", stored.get("mode")}


def _resolve_one(
    desired: Desired, assigned: Assigned | None, host: Host, unanswered: Unanswered, impacts: _Impacts
) -> Resolved:
    domain = host.domains.get(desired.domain)
    if domain is None or assigned is None:
        return _of_unknown(desired, host)
    if isinstance(assigned, MacvtapError):
        raise assigned
    before = assigned
    desired = multicast.with_default(desired, before, host)
    if not domain.persistent:
        return _of_transient(desired, before, host, unanswered, impacts)
    only_live = before.live if before.stored is None else None
    if not desired.present and only_live is not None and only_live.type != "direct":
        # It was attached by other means, or the guest was asked to release it and still holds it.
        message = f"the running guest has it as an interface of type {only_live.type!r}, which is left alone"
        return Resolved(desired, before, before, domain.running, {}, (f"{target(before)}: {message}",))
    _validate_type(desired, before if only_live is None else replace(before, stored=only_live), host)
    if desired.present:
        return _present(desired, before, host, unanswered, impacts)
    if before.stored is not None and before.stored.type != "direct":
        # It was never converted, so there is no direct interface to remove.
        return Resolved(desired, before, before, domain.running, {})
    return _removed(desired, before, host, unanswered, impacts)


def _of_unknown(desired: Desired, host: Host) -> Resolved:
    """Compare a declaration with a domain that does not exist, of which at most a rule is left."""
    message = unknown_domain(desired.domain, host)
    if desired.present:
        message += ". Correct the name, or define the domain first"
        raise MacvtapError(message, path=join_path(desired.path, "domain"))
    nothing = Nic(desired.domain, desired.mac or "")
    orphan = replace(nothing, has_orphan_rule=nothing.mac in host.rules and not multicast.others(nothing, host, ()))
    what = (
        "only the rule for its address is removed"
        if orphan.has_orphan_rule
        else f"nothing to remove {desired.key} from"
    )
    return Resolved(desired, orphan, nothing, False, {}, (f"{message}: {what}",))


def _present(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, impacts: _Impacts) -> Resolved:
    domain = host.domains[before.domain]
    stored, warnings = stored_iface(desired, before, host)
    # A running guest's NIC is identified by its MAC address. If two share it, only the stored one is changed.
    untouchable = (domain.name, before.mac) in unanswered or before.shared
    live, live_changes = live_iface(desired, before, stored, host, frozenset() if untouchable else impacts)
    if host.managed_rules is None and _ALLMULTICAST in stored.values:
        # Only the running link can have it.
        stored = replace(stored, values={n: text for n, text in stored.values.items() if n != _ALLMULTICAST})
        if desired.given.get(_ALLMULTICAST) == "yes":
            warnings.append(f"{target(before)}: {multicast.unsupported_warning(host, live, running=domain.running)}")
    after = Nic(domain.name, before.mac, stored, live, shared=before.shared)
    return Resolved(desired, before, after, domain.running, live_changes, tuple(warnings), host)


def _of_transient(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, impacts: _Impacts) -> Resolved:
    """Compare a declaration with a transient domain, of which only the running guest can be changed.

    What a running guest cannot get is only a warning: an error would stop the task's other domains too.
    """
    known = before.live
    _validate_type(desired, replace(before, stored=known), host)
    # libvirt saves no transient domain.
    impacts -= {Impact.PAUSE}
    if (before.domain, before.mac) in unanswered or before.shared:
        impacts = frozenset()
    warnings: list[str] = []
    desired_iface: Iface | None = None
    live, live_changes = known, dict[str, Impact]()
    if desired.present:
        stored = known and replace(known, values=without_generated(known.values))
        desired_iface, warnings = stored_iface(desired, replace(before, stored=stored), host)
        live, live_changes = live_iface(desired, before, desired_iface, host, impacts)
        due = ["state"] if live is None else [n for n in differing(live, desired_iface, host) if n in desired.given]
        if due:
            warnings.append(
                f"{target(before)}: the domain is transient, so nothing of it is stored (virsh define would store "
                f"it). The running guest does not get {', '.join(due)}"
            )
    elif known is not None and known.type == "direct":
        live = None if Impact.LIVE in impacts else known
        if live is not None:
            warnings.append(f"{target(before)}: the domain is transient, and its guest keeps this NIC until it stops")
    after = Nic(before.domain, before.mac, None, live, shared=before.shared)
    return Resolved(
        desired,
        before,
        after,
        True,
        live_changes,
        tuple(warnings),
        host,
        transient=True,
        desired_iface=desired_iface,
    )


def _validate_type(desired: Desired, before: Nic, host: Host) -> None:
    stored = before.stored
    if stored is None or stored.type == "direct" or desired.convert:
        return
    if desired.given.get("network") == stored.get("network"):
        # It may be none that gives macvtap links.
        network_validate.validate(desired, stored, NAMES, host)
    hint = ". Set convert: true to convert it" if desired.present else ""
    raise MacvtapError(
        f"domain {before.domain!r} has {before.mac} as an interface of type {stored.type!r}; this module "
        f"changes only interfaces of type 'direct'{hint}",
        path=join_path(desired.path, desired.by),
    )


def _removed(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, impacts: _Impacts) -> Resolved:
    domain = host.domains[before.domain]
    before = replace(before, has_orphan_rule=multicast.has_orphan_rule(desired, before, host))
    # A guest that has not released it yet may still do so; this run cannot do more.
    stays = (domain.name, before.mac) in unanswered or not impacts or before.shared
    live = before.live if stays else None
    return Resolved(desired, before, Nic(domain.name, before.mac, None, live), domain.running, {})


def _without_others_rule(one: Resolved, host: Host, leaving: t.Collection[tuple[str, str]]) -> Resolved:
    """Keep the rule of a removed interface if another domain has its address."""
    if one.after.stored is not None or one.before.mac not in host.rules:
        return one
    others = multicast.others(one.before, host, leaving)
    if not others:
        return one
    # If the NIC was not stored, the rule belongs only to the others.
    message = () if one.before.stored is None else (f"{target(one.before)}: {multicast.shared_rule_warning(others)}",)
    return replace(one, before=multicast.without_rule(one.before), warnings=(*one.warnings, *message))


def _purged(
    found: t.Sequence[Resolved], host: Host, unanswered: Unanswered, impacts: t.Mapping[str, _Impacts]
) -> t.Iterator[Resolved]:
    declared = {id(iface) for one in found for iface in (one.before.stored, one.before.live) if iface is not None}
    for name in dict.fromkeys(one.desired.domain for one in found):
        domain = host.domains.get(name)
        if domain is None:
            continue
        for pair in pairs(domain):
            nic = nic_of(domain, pair)
            if stored_or_live(pair).type != "direct" or any(id(iface) in declared for iface in pair):
                continue
            absent = Desired("purge", name, key=nic.mac, mac=nic.mac, present=False)
            if nic.shared:
                # The running guest's NIC is identified by its MAC address, so the other one might be detached.
                message = f"{target(nic)}: not purged: another interface of the domain has the same MAC address"
                yield Resolved(replace(absent, present=True), nic, nic, domain.running, {}, (message,))
            else:
                # If the guest has it as another type, it keeps it until it stops.
                other = nic.live is not None and nic.live.type != "direct"
                yield _removed(absent, nic, host, unanswered, frozenset() if other else impacts[name])
