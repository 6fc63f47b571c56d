# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest's NICs on a host that it may go to, and what is against them, by what macvtap_host_info says. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import Segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import (
    inventory,
    nics,
    parity,
    reported,
    sharing,
    sources,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.look import There
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Desired, NicThere

Look = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Options:
    """How guests are spread.

    ``sources`` are the hosts to be emptied and ``targets`` those that take guests, in the order in which they are
    preferred. ``given`` has the hosts of single guests. ``declared`` has the NICs that the inventory declares, by
    host. The guests of each list in ``apart`` do not run on one host. ``uplinks`` and ``segments`` have the variables
    macvtap_uplink and macvtap_segment, by host, of those that have one. ``begun`` has the hosts that guests were to
    leave by a run that has not been completed.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    given: t.Mapping[str, str] = field(default_factory=dict)
    declared: t.Mapping[str, t.Sequence[Look]] = field(default_factory=dict)
    apart: tuple[frozenset[str], ...] = ()
    uplinks: t.Mapping[str, str] = field(default_factory=dict)
    segments: t.Mapping[str, t.Any] = field(default_factory=dict)
    begun: t.Mapping[str, str] = field(default_factory=dict)


def ground(name: str, look: Look, options: Options) -> parity.Ground:
    """Return what the NICs of a host are on."""
    links = look.get("links") or ()
    own = None
    if options.segments:
        try:
            own = Segments(*segments.read(options.segments.get(name)))
        except MacvtapError as exc:
            raise MacvtapError(exc.message, path=f"host {name}: {segments.VARIABLE}") from exc
    reflects = {link["name"]: link.get("reflective_relay") for link in links}
    return parity.ground(name, own, reported.links(links), reported.networks(look.get("networks") or ()), reflects)


def parted(domain: Look, here: parity.Ground, there: parity.Ground, options: Options) -> str:
    """Return why a guest would not reach on a host what it reaches now, "" if it would."""
    try:
        live, after = read(domain).live, _moved(domain, here, there, options).live
        found = parity.against(_desired(domain, here, there, options), list(zip(live, after)), here, there)
    except MacvtapError as exc:
        # Its uplink is not found.
        return exc.message
    return "; ".join([*found.segments, *found.modes])


def taking(domain: Look, here: parity.Ground, there: parity.Ground, seen: There | None, options: Options) -> str:
    """Return why a guest would cut off a host or others on it, with those that have come; "" if it would not."""
    return refusal(sharing.check, seen, arriving(domain, here, there, options))


def arriving(domain: Look, here: parity.Ground, there: parity.Ground, options: Options) -> sharing.Arriving:
    """Return a guest as it comes to a host."""
    return sharing.Arriving(there.name, _moved(domain, here, there, options), there.networks)


def refusal(
    check: t.Callable[[There | None, sharing.Arriving], object], there: There | None, coming: sharing.Arriving
) -> str:
    """Return why a check refuses a guest, "" if it does not."""
    try:
        check(there, coming)
    except MacvtapError as exc:
        return exc.message
    return ""


def read(domain: Look) -> Domain:
    """Return a domain with its NICs."""
    return reported.domains([domain])[domain["name"]]


def _moved(domain: Look, here: parity.Ground, there: parity.Ground, options: Options) -> Domain:
    """Return a guest as it is to be on a host."""
    guest, desired = read(domain), _desired(domain, here, there, options)
    live, stored = (nics.moved(ifaces, desired) for ifaces in (guest.live, guest.stored))
    return replace(guest, live=live, stored=stored)


def _desired(domain: Look, here: parity.Ground, there: parity.Ground, options: Options) -> Desired:
    uplinks = inventory.between(*(options.uplinks.get(ground.name) for ground in (here, there)))
    desired = Desired(domain["name"], _declared(domain["name"], there.name, options), uplinks)
    guest = read(domain)
    return sources.named(desired, (*guest.live, *guest.stored), here.links, there.links, there.name)


def _declared(domain: str, host: str, options: Options) -> tuple[NicThere, ...]:
    uplink = {"source": options.uplinks[host]} if options.uplinks.get(host) else {}
    entries = inventory.declared_of(options.declared.get(host, ()), uplink)
    given = [(inventory.mac(one["mac"]), one) for one in inventory.interfaces(domain, entries)]
    values = [(mac, {name: str(text) for name, text in one.items() if name != "mac"}) for mac, one in given]
    return tuple(NicThere("", mac, nics.spelt(one)) for mac, one in values)
