# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Compares declared interfaces with the host: each NIC before and after. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import multicast, sources
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import Assigned, assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import IN_XML, without_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import (
    LEVELS,
    differing,
    due_at_restart,
    impact_of,
    is_set_by_guest,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.merging import (
    merged,
    removed_with,
    without_dropped,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    LINK_FAULTS,
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import (
    nic_of,
    pairs,
    same_source,
    stored_or_live,
    unknown_domain,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

DEFAULT_MODE = "vepa"
# libvirt's own default is rtl8139, an emulated NIC of 100 Mbit/s.
DEFAULT_MODEL = "virtio"
# Fields that mean something else for another interface type.
_OTHER_MEANING = ("source", "mode", "virtualport", "vlan")
# An ethernet interface names an existing link, so libvirt could not create one of that name. A host device has its own
# driver, and no model that the guest could keep.
_TYPE_SPECIFIC = {"ethernet": ("target",), "hostdev": ("driver", "model")}
# The field that is not in libvirt's XML.
_ALLMULTICAST = "allmulticast"
# NICs (domain, MAC address) that this run has asked a guest to release, and that it still holds.
Unanswered = t.Collection[t.Tuple[str, str]]


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
    links: Links | None = None
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
        faults = (name for name in LINK_FAULTS if name in live.values)
        return (*due_at_restart(live, stored, self.links, self.desired.given), *faults)


def resolve(
    declared: t.Sequence[Desired],
    host: Host,
    unanswered: Unanswered = frozenset(),
    *,
    level: str = "update",
    purge: bool = False,
) -> tuple[Resolved, ...]:
    """Compare each declared interface with the host, in order of declaration; purged ones come last."""
    assigned = assign(declared, host, purge=purge)
    found = [
        _resolve_one(desired, assigned.get(place), host, unanswered, level) for place, desired in enumerate(declared)
    ]
    if purge:
        found += _purged(found, host, unanswered, level)
    leaving = {(one.before.domain, one.before.mac) for one in found if not one.desired.present}
    return tuple(_without_others_rule(one, host, leaving) for one in found)


def needs_all_macs(declared: t.Sequence[Desired], host: Host, *, purge: bool = False) -> bool:
    """Whether the MAC addresses of all domains are needed: to add an interface, or to remove a rule."""
    # Ambiguous selectors do not matter here.
    assigned = {place: nic for place, nic in assign(declared, host).items() if isinstance(nic, Nic)}
    if any(declared[place].present and _is_placed(declared[place], nic, host) for place, nic in assigned.items()):
        return True
    for place, one in enumerate(declared):
        mac = assigned[place].mac if place in assigned else one.mac
        if mac in host.rules and (not one.present or one.given.get(_ALLMULTICAST) == "no"):
            return True
    named = [host.domains[name] for name in {one.domain for one in declared} & host.domains.keys()] if purge else []
    return any(iface.mac in host.rules for domain in named for iface in (*domain.stored, *domain.live))


def _is_placed(desired: Desired, nic: Nic, host: Host) -> bool:
    """Whether a NIC is new on its source, or changes its mode there."""
    stored, mode = nic.stored, desired.given.get("mode")
    if stored is None or stored.type != "direct":
        return True
    source = desired.given.get("source")
    moved = source is not None and not same_source(source, stored.get("source"), host.links)
    return moved or mode not in {None, "auto", stored.get("mode")}


def target(nic: Nic) -> str:
    return f"{nic.domain} {nic.mac}"


def _resolve_one(
    desired: Desired, assigned: Assigned | None, host: Host, unanswered: Unanswered, level: str
) -> Resolved:
    domain = host.domains.get(desired.domain)
    if domain is None or assigned is None:
        message = unknown_domain(desired.domain, host)
        if desired.present:
            raise MacvtapError(message, path=join_path(desired.path, "domain"))
        nothing = Nic(desired.domain, desired.mac or "")
        orphan = replace(nothing, has_orphan_rule=nothing.mac in host.rules and not multicast.others(nothing, host, ()))
        what = (
            "only the rule for its address is removed"
            if orphan.has_orphan_rule
            else f"nothing to remove {desired.key} from"
        )
        return Resolved(desired, orphan, nothing, False, {}, (f"{message}: {what}",))
    if isinstance(assigned, MacvtapError):
        raise assigned
    before = assigned
    if not domain.persistent:
        return _of_transient(desired, before, host, unanswered, level)
    only_live = before.live if before.stored is None else None
    if not desired.present and only_live is not None and only_live.type != "direct":
        # It was attached by other means, or the guest was asked to release it and still holds it.
        message = f"the running guest has it as an interface of type {only_live.type!r}, which is left alone"
        return Resolved(desired, before, before, domain.running, {}, (f"{target(before)}: {message}",))
    _validate_type(desired, before if only_live is None else replace(before, stored=only_live))
    if not desired.present and before.stored is not None and before.stored.type != "direct":
        # It was never converted, so there is no direct interface to remove.
        return Resolved(desired, before, before, domain.running, {})
    if not desired.present:
        return _removed(desired, before, host, unanswered, level)
    stored, warnings = _stored(desired, before, host)
    # A running guest's NIC is identified by its MAC address. If two share it, only the stored one is changed.
    untouchable = (domain.name, before.mac) in unanswered or before.shared
    live, live_changes = _live(desired, before, stored, host, frozenset() if untouchable else LEVELS[level])
    if host.managed_rules is None and _ALLMULTICAST in stored.values:
        # Only the running link can have it.
        stored = replace(stored, values={n: text for n, text in stored.values.items() if n != _ALLMULTICAST})
        if desired.given.get(_ALLMULTICAST) == "yes":
            warnings.append(f"{target(before)}: {multicast.unsupported_warning(host, live, running=domain.running)}")
    after = Nic(domain.name, before.mac, stored, live, shared=before.shared)
    return Resolved(desired, before, after, domain.running, live_changes, tuple(warnings), host.links)


def _of_transient(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, level: str) -> Resolved:
    """Compare a declaration with a transient domain, of which only the running guest can be changed.

    What a running guest cannot get is only a warning: an error would stop the task's other domains too.
    """
    known = before.live
    _validate_type(desired, replace(before, stored=known))
    allowed = frozenset() if (before.domain, before.mac) in unanswered or before.shared else LEVELS[level]
    warnings: list[str] = []
    desired_iface: Iface | None = None
    live, live_changes = known, dict[str, Impact]()
    if desired.present:
        stored = known and replace(known, values=without_generated(known.values))
        desired_iface, warnings = _stored(desired, replace(before, stored=stored), host)
        live, live_changes = _live(desired, before, desired_iface, host, allowed)
        due = (
            ["state"] if live is None else [n for n in differing(live, desired_iface, host.links) if n in desired.given]
        )
        if due:
            warnings.append(
                f"{target(before)}: the domain is transient, so nothing of it is stored (virsh define would store "
                f"it). The running guest does not get {', '.join(due)}"
            )
    elif known is not None and known.type == "direct":
        live = None if Impact.LIVE in allowed else known
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
        host.links,
        transient=True,
        desired_iface=desired_iface,
    )


def _validate_type(desired: Desired, before: Nic) -> None:
    stored = before.stored
    if stored is None or stored.type == "direct" or desired.convert:
        return
    hint = ". Set convert: true to convert it" if desired.present else ""
    raise MacvtapError(
        f"domain {before.domain!r} has {before.mac} as an interface of type {stored.type!r}; this module "
        f"changes only interfaces of type 'direct'{hint}",
        path=join_path(desired.path, desired.by),
    )


def _removed(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, level: str) -> Resolved:
    domain = host.domains[before.domain]
    before = replace(before, has_orphan_rule=multicast.has_orphan_rule(desired, before, host))
    # A guest that has not released it yet may still do so; this run cannot do more.
    stays = (domain.name, before.mac) in unanswered or level == "none" or before.shared
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


def _purged(found: t.Sequence[Resolved], host: Host, unanswered: Unanswered, level: str) -> t.Iterator[Resolved]:
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
                yield _removed(absent, nic, host, unanswered, "none" if other else level)


def _stored(desired: Desired, before: Nic, host: Host) -> tuple[Iface, list[str]]:
    """Return the interface to store, and warnings."""
    current = before.stored
    desired_values = sources.as_stored(desired, current, host.links)
    if current is not None and current.type == "direct":
        return replace(
            current, values=without_dropped(merged(current.values, desired_values), desired_values, current.values)
        ), []
    if desired_values.get("source") is None and (
        current is not None or before.live is None or before.live.type != "direct"
    ):
        what = (
            f"has no interface {desired.key} yet: adding it" if current is None else f"has {before.mac}: converting it"
        )
        raise MacvtapError(f"domain {desired.domain!r} {what} needs a source", path=join_path(desired.path, "source"))
    base: dict[str, str] = {}
    if current is not None:
        others = (*_OTHER_MEANING, *_TYPE_SPECIFIC.get(current.type, ()))
        base = {name: text for name, text in current.values.items() if name.split(".")[0] not in others}
    elif before.live is not None and before.live.type == "direct":
        others = ("address", _ALLMULTICAST)
        base = {name: value for name, value in without_generated(before.live.values).items() if name not in others}
    warnings = []
    if desired_values.get("mode") is None and "mode" not in base:
        warnings.append(
            f"{target(before)}: mode is not set, so it is {DEFAULT_MODE}, libvirt's default. That needs a "
            "switch port with reflective relay; bridge works with every switch"
        )
    if _ALLMULTICAST not in desired_values and before.mac in (host.managed_rules or ()):
        base[_ALLMULTICAST] = "yes"
        warnings.append(
            f"{target(before)}: a udev rule for this address exists already, so its link receives all "
            "multicast. Set allmulticast: false to remove the rule"
        )
    for direction in ("inbound", "outbound"):
        if f"bandwidth.{direction}.average" not in base:
            # This one had only a floor, which macvtap links do not support.
            base = {name: text for name, text in base.items() if not name.startswith(f"bandwidth.{direction}.")}
    implied = {field.name: field.implied for field in IN_XML if field.implied is not None}
    is_new = current is None or current.type == "hostdev"
    defaults = {**implied, "mode": DEFAULT_MODE, **({"model": DEFAULT_MODEL} if is_new else {})}
    values = without_dropped(
        merged({**defaults, **base}, desired_values), desired_values, current.values if current is not None else {}
    )
    if current is not None:
        return replace(current, type="direct", values=values, origin=None), warnings
    return Iface(before.mac, values=values), warnings


def _live(
    desired: Desired, before: Nic, stored: Iface, host: Host, allowed: frozenset[Impact]
) -> tuple[Iface | None, dict[str, Impact]]:
    """Return the desired interface of the running guest, and the impact of each change."""
    live = before.live
    running = host.domains[before.domain].running
    if not running or live is None:
        hotplugs = running and Impact.LIVE in allowed
        return (stored if hotplugs else None), {}
    declared, removed = {"type", *desired.given}, removed_with(live.values, dict(desired.given))
    due = {
        name: impact_of(name, live, stored, host)
        for name in differing(live, stored, host.links)
        if name in declared or (removed and name.startswith(removed))
    }
    if "type" in due and Impact.REPLUG not in allowed:
        # The running interface is of another type, and is not changed.
        return live, {}
    done = {name: impact for name, impact in due.items() if impact in allowed}
    if "trust_guest_rx_filters" not in done and is_set_by_guest(_ALLMULTICAST, live):
        done.pop(_ALLMULTICAST, None)
    if Impact.REPLUG in done.values():
        # After a replug it is entirely as stored.
        replugged = multicast.with_link_allmulticast(live, stored, desired)
        return replugged, dict.fromkeys(differing(live, replugged, host.links), Impact.REPLUG)
    values = merged(live.values, {name: stored.get(name) for name in done})
    if Impact.LIVE in allowed:
        # A link that is down or has another address cuts the guest off, whatever is declared.
        values = {name: text for name, text in values.items() if name not in LINK_FAULTS}
    return replace(live, values=values), done
