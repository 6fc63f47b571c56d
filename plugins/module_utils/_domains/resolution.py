# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Declared interfaces held against the host: what each is, and what it is to be. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import multicast
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import Assigned, assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import IN_XML, own
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import (
    LEVELS,
    differing,
    is_the_guests,
    need,
    unsettled,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.merging import (
    gone_with,
    merged,
    without_dropped,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import ASTRAY, Desired, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import (
    nic_of,
    of_pair,
    pairs,
    same_source,
    unknown,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

DEFAULT_MODE = "vepa"
# libvirt's own default is rtl8139, an emulated card of 100 Mbit/s.
DEFAULT_MODEL = "virtio"
# What an interface of another type has and means something else by.
_OF_THE_OTHER_TYPE = ("source", "mode", "virtualport", "vlan")
# The link that an interface of type ethernet is to find: libvirt could not make one of that name. And what binds a
# device of the host, which had no model that the guest could keep.
_ALSO_OF = {"ethernet": ("target",), "hostdev": ("driver", "model")}
# What libvirt has no word for.
_KEPT_OUTSIDE = "allmulticast"
# NICs, by domain and MAC, that this run has asked a guest to let go of, and which it still holds.
Unanswered = t.Collection[t.Tuple[str, str]]


@dataclass(frozen=True)
class Resolved:
    """One declared interface held against the host."""

    desired: Desired
    before: Nic
    after: Nic
    running: bool
    # What it takes to bring each field into the running guest, and is allowed.
    live_changes: t.Mapping[str, Impact]
    warnings: tuple[str, ...] = ()
    links: Links | None = None
    # What a NIC of a transient domain, of which nothing is stored, would have to be.
    transient: bool = False
    wanted: Iface | None = None

    def restart_fields(self) -> tuple[str, ...]:
        """The fields in which the running guest's NIC will still differ from the stored one."""
        live, stored = self.after.live, self.after.stored
        if not self.running or self.transient or (live is None and stored is None):
            return ()
        if live is None or stored is None:
            return ("state",)
        astray = (name for name in ASTRAY if name in live.values)
        return (*unsettled(live, stored, self.links, self.desired.given), *astray)


def resolve(
    declared: t.Sequence[Desired],
    host: Host,
    unanswered: Unanswered = frozenset(),
    *,
    level: str = "update",
    purge: bool = False,
) -> tuple[Resolved, ...]:
    """Hold each declared interface against the host, in the order of declaration; what is purged comes behind."""
    meant = assign(declared, host, purge=purge)
    found = [_resolve_one(desired, meant.get(place), host, unanswered, level) for place, desired in enumerate(declared)]
    if purge:
        found += _purged(found, host, unanswered, level)
    leaving = {(one.before.domain, one.before.mac) for one in found if not one.desired.present}
    return tuple(_without_others_rule(one, host, leaving) for one in found)


def needs_all(declared: t.Sequence[Desired], host: Host, *, purge: bool = False) -> bool:
    """Whether the addresses of all the host's domains matter: an interface is to be made, or a rule to be removed."""
    # Which one is meant where that cannot be told, does not matter.
    meant = {place: nic for place, nic in assign(declared, host).items() if isinstance(nic, Nic)}
    if any(declared[place].present and _is_placed(declared[place], nic, host) for place, nic in meant.items()):
        return True
    for place, one in enumerate(declared):
        mac = meant[place].mac if place in meant else one.mac
        if mac in host.rules and (not one.present or one.given.get(_KEPT_OUTSIDE) == "no"):
            return True
    named = [host.domains[name] for name in {one.domain for one in declared} & host.domains.keys()] if purge else []
    return any(iface.mac in host.rules for domain in named for iface in (*domain.stored, *domain.live))


def _is_placed(desired: Desired, nic: Nic, host: Host) -> bool:
    """Whether a NIC gets a place on a source, where others may be that have it for themselves."""
    stored, mode = nic.stored, desired.given.get("mode")
    if stored is None or stored.type != "direct":
        return True
    source = desired.given.get("source")
    moved = source is not None and not same_source(source, stored.get("source"), host.links)
    return moved or mode not in {None, "auto", stored.get("mode")}


def target(nic: Nic) -> str:
    return f"{nic.domain} {nic.mac}"


def _resolve_one(desired: Desired, meant: Assigned | None, host: Host, unanswered: Unanswered, level: str) -> Resolved:
    domain = host.domains.get(desired.domain)
    if domain is None or meant is None:
        said = unknown(desired.domain, host)
        if desired.present:
            raise MacvtapError(said, path=join_path(desired.path, "domain"))
        nothing = Nic(desired.domain, desired.mac or "")
        left = replace(nothing, left=nothing.mac in host.rules and not multicast.others(nothing, host, ()))
        what = "only the rule for its address is removed" if left.left else f"nothing to remove {desired.key} from"
        return Resolved(desired, left, nothing, False, {}, (f"{said}: {what}",))
    if isinstance(meant, MacvtapError):
        raise meant
    before = meant
    if not domain.persistent:
        return _of_transient(desired, before, host, unanswered, level)
    only_live = before.live if before.stored is None else None
    if not desired.present and only_live is not None and only_live.type != "direct":
        # Attached by somebody as something else, or still held by a guest that was asked for it.
        said = f"the running guest has it as an interface of type {only_live.type!r}, which is left alone"
        return Resolved(desired, before, before, domain.running, {}, (f"{target(before)}: {said}",))
    _check_type(desired, before if only_live is None else replace(before, stored=only_live))
    if not desired.present and before.stored is not None and before.stored.type != "direct":
        # It was to be converted and has not been: there is no direct one to remove.
        return Resolved(desired, before, before, domain.running, {})
    if not desired.present:
        return _removed(desired, before, host, unanswered, level)
    stored, warnings = _stored(desired, before, host)
    # What is asked of a running guest goes by the address. Where two have it, only what is stored is changed.
    barred = (domain.name, before.mac) in unanswered or before.shared
    live, live_changes = _live(desired, before, stored, host, frozenset() if barred else LEVELS[level])
    if host.kept is None and _KEPT_OUTSIDE in stored.values:
        # The running link can have it, and no more than that.
        stored = replace(stored, values={n: text for n, text in stored.values.items() if n != _KEPT_OUTSIDE})
        if desired.given.get(_KEPT_OUTSIDE) == "yes":
            warnings.append(f"{target(before)}: {multicast.unkept(host, live, running=domain.running)}")
    after = Nic(domain.name, before.mac, stored, live, shared=before.shared)
    return Resolved(desired, before, after, domain.running, live_changes, tuple(warnings), host.links)


def _of_transient(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, level: str) -> Resolved:
    """Hold a declaration against a domain of which nothing is stored: only the running guest can have it.

    What it cannot have as it runs is no error, which would keep all other domains of the task as they are.
    """
    known = before.live
    _check_type(desired, replace(before, stored=known))
    allowed = frozenset() if (before.domain, before.mac) in unanswered or before.shared else LEVELS[level]
    warnings: list[str] = []
    wanted: Iface | None = None
    live, live_changes = known, dict[str, Impact]()
    if desired.present:
        stored = known and replace(known, values=own(known.values))
        wanted, warnings = _stored(desired, replace(before, stored=stored), host)
        live, live_changes = _live(desired, before, wanted, host, allowed)
        due = ["state"] if live is None else [n for n in differing(live, wanted, host.links) if n in desired.given]
        if due:
            warnings.append(
                f"{target(before)}: the domain is transient, so that nothing is stored of it (virsh define would), "
                f"and the running guest does not get {', '.join(due)}"
            )
    elif known is not None and known.type == "direct":
        live = None if Impact.LIVE in allowed else known
        if live is not None:
            warnings.append(f"{target(before)}: the domain is transient, and its guest keeps this NIC until it stops")
    after = Nic(before.domain, before.mac, None, live, shared=before.shared)
    return Resolved(
        desired, before, after, True, live_changes, tuple(warnings), host.links, transient=True, wanted=wanted
    )


def _check_type(desired: Desired, before: Nic) -> None:
    stored = before.stored
    if stored is None or stored.type == "direct" or desired.convert:
        return
    hint = "; convert: true makes it one" if desired.present else ""
    raise MacvtapError(
        f"domain {before.domain!r} has {before.mac} as an interface of type {stored.type!r}; this module changes "
        f"interfaces of type 'direct' only{hint}",
        path=join_path(desired.path, desired.by),
    )


def _removed(desired: Desired, before: Nic, host: Host, unanswered: Unanswered, level: str) -> Resolved:
    domain = host.domains[before.domain]
    before = replace(before, left=multicast.is_left(desired, before, host))
    # A guest that has not answered may still do so: there is nothing more to do about it in this run.
    stays = (domain.name, before.mac) in unanswered or level == "none" or before.shared
    live = before.live if stays else None
    return Resolved(desired, before, Nic(domain.name, before.mac, None, live), domain.running, {})


def _without_others_rule(one: Resolved, host: Host, leaving: t.Collection[tuple[str, str]]) -> Resolved:
    """Leave the rule of what is removed where another domain has the address."""
    if one.after.stored is not None or one.before.mac not in host.rules:
        return one
    others = multicast.others(one.before, host, leaving)
    if not others:
        return one
    # Of what was gone before, the rule is the others' alone.
    said = () if one.before.stored is None else (f"{target(one.before)}: {multicast.left_to(others)}",)
    return replace(one, before=multicast.without_rule(one.before), warnings=(*one.warnings, *said))


def _purged(found: t.Sequence[Resolved], host: Host, unanswered: Unanswered, level: str) -> t.Iterator[Resolved]:
    declared = {id(iface) for one in found for iface in (one.before.stored, one.before.live) if iface is not None}
    for name in dict.fromkeys(one.desired.domain for one in found):
        domain = host.domains.get(name)
        if domain is None:
            continue
        for pair in pairs(domain):
            nic = nic_of(domain, pair)
            if of_pair(pair).type != "direct" or any(id(iface) in declared for iface in pair):
                continue
            unwanted = Desired("purge", name, key=nic.mac, mac=nic.mac, present=False)
            if nic.shared:
                # What is asked of a running guest goes by the address, and so might take the other one.
                said = f"{target(nic)}: not purged, since another interface of the domain has the same MAC address"
                yield Resolved(replace(unwanted, present=True), nic, nic, domain.running, {}, (said,))
            else:
                # What the guest still has as something else, it keeps until it stops.
                other = nic.live is not None and nic.live.type != "direct"
                yield _removed(unwanted, nic, host, unanswered, "none" if other else level)


def _stored(desired: Desired, before: Nic, host: Host) -> tuple[Iface, list[str]]:
    """Return the interface as it is to be stored, and what the user should know of that."""
    was = before.stored
    given = dict(desired.given)
    if was is not None and was.type == "direct":
        return replace(was, values=without_dropped(merged(was.values, given), given, was.values)), []
    if given.get("source") is None and (was is not None or before.live is None or before.live.type != "direct"):
        what = f"has no interface {desired.key} yet: adding it" if was is None else f"has {before.mac}: converting it"
        raise MacvtapError(
            f"domain {desired.domain!r} {what} needs the host's link", path=join_path(desired.path, "source")
        )
    base: dict[str, str] = {}
    if was is not None:
        others = (*_OF_THE_OTHER_TYPE, *_ALSO_OF.get(was.type, ()))
        base = {name: text for name, text in was.values.items() if name.split(".")[0] not in others}
    elif before.live is not None and before.live.type == "direct":
        others = ("address", _KEPT_OUTSIDE)
        base = {name: value for name, value in own(before.live.values).items() if name not in others}
    warnings = []
    if given.get("mode") is None and "mode" not in base:
        warnings.append(
            f"{target(before)}: mode is not given, so it is {DEFAULT_MODE} as libvirt has it, which works only on "
            "a switch whose port reflects frames (reflective relay); bridge works on every switch"
        )
    if _KEPT_OUTSIDE not in given and before.mac in (host.kept or ()):
        base[_KEPT_OUTSIDE] = "yes"
        warnings.append(
            f"{target(before)}: there is a rule for this address already, by which its link hears all multicast; "
            "allmulticast: false removes it"
        )
    for direction in ("inbound", "outbound"):
        if f"bandwidth.{direction}.average" not in base:
            # A floor, which is all that this one had: a link of its own has none.
            base = {name: text for name, text in base.items() if not name.startswith(f"bandwidth.{direction}.")}
    implied = {field.name: field.implied for field in IN_XML if field.implied is not None}
    makes = was is None or was.type == "hostdev"
    defaults = {**implied, "mode": DEFAULT_MODE, **({"model": DEFAULT_MODEL} if makes else {})}
    values = without_dropped(merged({**defaults, **base}, given), given, was.values if was is not None else {})
    if was is not None:
        return replace(was, type="direct", values=values, origin=None), warnings
    return Iface(before.mac, values=values), warnings


def _live(
    desired: Desired, before: Nic, stored: Iface, host: Host, allowed: frozenset[Impact]
) -> tuple[Iface | None, dict[str, Impact]]:
    """Return the interface as the running guest is to have it, and what each change of it takes."""
    live = before.live
    running = host.domains[before.domain].running
    if not running or live is None:
        plugs = running and Impact.LIVE in allowed
        return (stored if plugs else None), {}
    declared, gone = {"type", *desired.given}, gone_with(live.values, dict(desired.given))
    due = {
        name: need(name, live, stored, host)
        for name in differing(live, stored, host.links)
        if name in declared or (gone and name.startswith(gone))
    }
    if "type" in due and Impact.REPLUG not in allowed:
        # The running one is another thing, of which nothing is to be changed.
        return live, {}
    done = {name: impact for name, impact in due.items() if impact in allowed}
    if "trust_guest_rx_filters" not in done and is_the_guests(_KEPT_OUTSIDE, live):
        done.pop(_KEPT_OUTSIDE, None)
    if Impact.REPLUG in done.values():
        # It comes back as it is stored, in everything.
        back = multicast.hearing_as(live, stored, desired)
        return back, dict.fromkeys(differing(live, back, host.links), Impact.REPLUG)
    values = merged(live.values, {name: stored.get(name) for name in done})
    if Impact.LIVE in allowed:
        # A link that is down, or has another address, keeps the guest off the network, whatever is declared.
        values = {name: text for name, text in values.items() if name not in ASTRAY}
    return replace(live, values=values), done
