# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the migration of one guest, and what a migration that broke off has left. Pure.

A guest is here, there, or on its way. A domain that is stored here while its guest runs there is what a run leaves that
ended between libvirt's last two steps.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import INCOMING, MIGRATION
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import look, nics, parity, sources, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    ENDED,
    UNDEFINED,
    Along,
    Both,
    Desired,
    Guest,
    Side,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, join_names, suggest


def plan(desired: Desired, both: Both, along: t.Sequence[Along] = ()) -> Plan[Guest]:
    """Return what brings the guest to the destination, and leaves nothing of it here.

    ``along`` is what this host keeps for its NICs.

    :raises MacvtapError: it cannot move, or it is not known where it is. The option's path is in it.
    """
    validate.identities(both, desired)
    here, there = both.source.domain, both.destination.domain
    if here is None and there is None:
        raise _missing(desired, both)
    if (here is not None and here.job == MIGRATION) or (there is not None and there.job in (MIGRATION, INCOMING)):
        raise MacvtapError(
            f"domain {desired.domain!r} is migrating already: {_where(both)}. Run again when that has ended",
            path="domain",
        )
    if there is not None and (there.running or here is None):
        return _rest(desired, both, there)
    if here is None:  # pragma: no cover  # for type checkers: see above
        raise _missing(desired, both)
    if both.source.stands_by:
        raise MacvtapError(
            f"the guest of domain {desired.domain!r} is paused here for a migration, and does not run on "
            f"{both.destination.name}. Either it is on its way to this host, or its migration broke off. If no host "
            f"runs it, virsh resume {desired.domain} lets it go on here",
            path="domain",
        )
    validate.movable(here, both, desired)
    planned = _move(desired, both, here)
    validate.prepared(both, desired, along)
    return planned


def is_complete(both: Both) -> bool:
    """Whether the guest is on the destination, and nothing of it here."""
    there = both.destination.domain
    return both.source.domain is None and there is not None and not both.destination.stands_by


def interfaces(plan: Plan[Guest]) -> list[dict[str, t.Any]]:
    """Return what the NICs that a plan changes are connected to on the destination."""
    guests = [t.cast("Guest", step.after) for step in plan.steps]
    edits = [edit for guest in guests for edit in (guest.live if guest.running else guest.stored)]
    return [{"mac": after.mac, **nics.place(after)} for _before, after in edits]


def misconnected(guest: Guest, both: Both) -> str:
    """Return which NICs of a guest that has moved are not connected as planned, "" if all are."""
    there = both.destination.domain
    found = {iface.mac: nics.place(iface) for iface in (there.live if there is not None else ())}
    wrong = []
    for _before, after in guest.live:
        planned, actual = nics.place(after), found.get(after.mac)
        if actual is None:
            wrong.append(f"{after.mac} is missing")
        elif any(text is not None and actual[name] != text for name, text in planned.items() if name != "type"):
            wrong.append(f"{after.mac} is on {actual['network'] or actual['source']} in mode {actual['mode']}")
    return ", ".join(wrong)


def _move(desired: Desired, both: Both, here: Domain) -> Plan[Guest]:
    seen = look.read(desired.destination_host)
    there = seen.links if seen is not None else None
    desired = sources.named(desired, (*both.live, *both.stored), both.links or None, there, both.destination.name)
    if desired.apply_stored:
        validate.appliable(both, desired)
        direct = [name for name, network in (both.destination.networks or {}).items() if network.direct]
        desired = nics.as_stored(desired, both.live, both.stored, direct)
    own = {name for name, network in (both.source.networks or {}).items() if network.direct}
    live = nics.edits(both.live, desired, both.modes, own)
    stored = nics.edits(both.stored, desired, direct=own)
    planned = {id(before): after for before, after in (*live, *stored)}
    ifaces = [tuple(planned.get(id(iface), iface) for iface in of) for of in (both.live, both.stored)]
    guest = Domain(here.name, here.uuid, running=here.running, live=ifaces[0], stored=ifaces[1])
    warnings = validate.interfaces(here, both, desired, guest)
    lost = [nics.lost(old, new, both.destination.name) for old, new in (*live, *stored)]
    warnings += [text for text in dict.fromkeys(lost) if text]
    doubts = parity.check(desired, both, [(one, planned.get(id(one), one)) for one in both.live or both.stored])
    validate.fits(both)
    validate.storage(here, both, desired)
    source, destination = both.source, both.destination
    before = Guest(here.name, here.uuid, source.name, here.instance, running=here.running)
    after = replace(
        before, host=destination.name, live=live, stored=stored, was_stored_there=destination.domain is not None
    )
    changes = [Change(here.name, "host", source.name, destination.name, Impact.MIGRATE)]
    shown = live if here.running else stored
    for old, new in shown:
        one, other = nics.place(old), nics.place(new)
        changes += [
            Change(f"{here.name} {old.mac}", name, one[name], other[name], Impact.MIGRATE)
            for name in nics.PLACE
            if one[name] != other[name]
        ]
    step = Step(
        here.name,
        before,
        after,
        tuple(changes),
        _view(source.name, [old for old, _new in shown]),
        _view(destination.name, [new for _old, new in shown]),
        path="domain",
    )
    return Plan((step,), (*validate.warnings(here, both), *warnings, *doubts))


def _rest(desired: Desired, both: Both, there: Domain) -> Plan[Guest]:
    """Return what is left to do for a guest that is on the destination."""
    here, source = both.source.domain, both.source
    if here is None:
        return Plan()
    if here.running and not source.stands_by:
        raise MacvtapError(
            f"domain {desired.domain!r} runs both here and on {both.destination.name}. Neither is touched: find out "
            "which one its users see, and stop the other",
            path="domain",
        )
    if here.saved is not None:
        raise MacvtapError(
            f"domain {desired.domain!r} runs on {both.destination.name}, and has a managed save here, with another "
            f"state of the guest. Discard that first: virsh managedsave-remove {desired.domain}",
            path="domain",
        )
    if here.running and (there.paused or there.state):
        raise MacvtapError(
            f"the guest of domain {desired.domain!r} is paused here for a migration, and is "
            f"{state_on(both.destination)} on {both.destination.name}. Neither is touched: find out which one is to go "
            "on",
            path="domain",
        )
    if here.persistent and not there.persistent and desired.persistent is not False:
        raise MacvtapError(
            f"domain {desired.domain!r} runs on {both.destination.name}, and is stored here alone. Store it there "
            "first (virsh define), or set persistent: false",
            path="domain",
        )
    before = Guest(here.name, here.uuid, source.name, here.instance, running=here.running)
    action = ENDED if here.running else UNDEFINED
    what = "paused" if here.running else "stored"
    change = Change(here.name, f"state on {source.name}", what, "absent", Impact.CONFIG)
    after = replace(before, host=both.destination.name, action=action, running=there.running)
    views = {"hosts": [source.name, both.destination.name]}, {"hosts": [both.destination.name]}
    return Plan((Step(here.name, before, after, (change,), *views, path="domain"),))


def _where(both: Both) -> str:
    return ", ".join(f"{state_on(side)} on {side.name}" for side in (both.source, both.destination))


def state_on(side: Side) -> str:
    """Return the state of the guest on one of the hosts, for messages."""
    domain = side.domain
    if domain is None:
        return "absent"
    return (
        domain.job or domain.state or ("shut off" if not domain.running else "paused" if domain.paused else "running")
    )


def whereabouts(before: Both, now: Both) -> str:
    """Return in words where the guest is, after a run that has failed; "" if both hosts have it as ``before``."""
    if all(_presence(was) == _presence(side) for was, side in zip(_sides(before), _sides(now))):
        return ""
    here, there = now.source.domain, now.destination.domain
    arrived = there is not None and there.running and not there.job and (here is None or not here.running)
    if arrived or (here is None and there is not None and not there.running):
        return f"The guest is on {now.destination.name} ({state_on(now.destination)}), and stays there"
    return f"The guest is {_where(now)}"


def _sides(both: Both) -> tuple[Side, Side]:
    return both.source, both.destination


def _presence(side: Side) -> tuple[t.Any, ...]:
    one = side.domain
    return () if one is None else (one.running, one.instance, one.persistent, one.job, one.paused)


def _view(host: str, ifaces: t.Sequence[Iface]) -> dict[str, t.Any]:
    shown = {
        iface.mac: {name: text for name, text in nics.place(iface).items() if text is not None} for iface in ifaces
    }
    return {"host": host, **({"interfaces": shown} if shown else {})}


def _missing(desired: Desired, both: Both) -> MacvtapError:
    names = {*both.source.known, *both.destination.known}
    hint = did_you_mean(suggest(desired.domain, names))
    known = "" if hint or not both.source.known else f". {both.source.name} has {join_names(sorted(both.source.known))}"
    return MacvtapError(
        f"neither {both.source.name} nor {both.destination.name} has a domain {desired.domain!r}{hint}{known}",
        path="domain",
    )
