# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NIC each of several declarations means, seen together: what one changes, the next one no longer finds.

A NIC that is declared by its MAC address is known before any that is declared by something that can change. So the
selectors go in their order, each on what the domain will have by those before it. What a selector would find once all
is done must be the one NIC that it was meant for: another run would else mean another one, or several. Pure.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    SELECTORS,
    Desired,
    Domain,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

Assigned = t.Union[Nic, MacvtapError]


@dataclass
class _Slot:
    """One NIC of a domain: as it is, and what it will be known by (None: it goes), as the declaration says."""

    nic: Nic
    will_be: Iface | None
    by: int | None = None

    @property
    def leaves(self) -> bool:
        """Whether it is one that only the running guest has, until it is restarted or releases it."""
        return self.by is None and self.nic.stored is None and self.nic.live is not None


def assign(
    declared: t.Sequence[Desired],
    host: Host,
    domains: t.Mapping[str, Domain] | None = None,
    *,
    purge: bool = False,
) -> dict[int, Assigned]:
    """Return the NIC that each declaration means, by its place, or the error that it must fail with.

    A NIC with neither stored nor live is one that is still to be made. Declarations for domains that are not among
    ``domains`` (the host's, if left out) are left out.
    """
    domains = host.domains if domains is None else domains
    found: dict[int, Assigned] = {}
    taken = {desired.mac for desired in declared if desired.mac}
    places: dict[str, list[int]] = {}
    for place, desired in enumerate(declared):
        places.setdefault(desired.domain, []).append(place)
    for name, own in places.items():
        domain = domains.get(name)
        if domain is not None:
            found.update(_Assigner(domain, declared, host, taken).assign(own, purge=purge))
    return found


class _Assigner:
    """Finds the NICs of one domain."""

    def __init__(self, domain: Domain, declared: t.Sequence[Desired], host: Host, taken: set[str]) -> None:
        self._domain = domain
        self._declared = declared
        self._host = host
        self._taken = taken
        self._slots = [
            _Slot(selection.nic_of(domain, pair), selection.of_pair(pair)) for pair in selection.pairs(domain)
        ]
        self._found: dict[int, Assigned] = {}

    def assign(self, places: t.Sequence[int], *, purge: bool) -> dict[int, Assigned]:
        """Find those of the declarations at ``places``, all of this domain."""
        for selector in SELECTORS:
            now = [(slot, slot.will_be) for slot in self._slots if slot.will_be is not None]
            for place in places:
                if self._declared[place].by == selector:
                    self._assign_one(place, now)
        left = [slot for slot in self._slots if slot.will_be is not None and not (purge and slot.by is None)]
        for place in places:
            self._check_next_run(place, left)
        return self._found

    def _assign_one(self, place: int, now: t.Sequence[tuple[_Slot, Iface]]) -> None:
        desired = self._declared[place]
        try:
            slot = self._slot(desired, now)
        except MacvtapError as exc:
            self._found[place] = exc
            return
        self._found[place] = slot.nic
        if slot.by is not None:
            first, second = sorted((slot.by, place))
            self._found[second] = _twice(self._declared[second], self._declared[first], slot.nic)
            return
        if not any(slot is one for one in self._slots):
            self._slots.append(slot)
        slot.by, slot.will_be = place, _will_be(desired, slot)

    def _slot(self, desired: Desired, now: t.Sequence[tuple[_Slot, Iface]]) -> _Slot:
        # Another run is to find what is stored, whatever a run before it has left in the guest until that is restarted.
        lasting = [iface for slot, iface in now if desired.by != "mac" and not slot.leaves]
        there = [iface for _slot, iface in now]
        matching = selection.matching(desired, lasting, self._host.links) or selection.matching(
            desired, there, self._host.links
        )
        if desired.meant is not None:
            matching = [one for one in (selection.among(there, desired.meant),) if one is not None]
        others = [slot for slot, iface in now if slot.by is not None and any(iface is one for one in matching)]
        if len(matching) > 1 and others:
            raise MacvtapError(
                f"domain {desired.domain!r} is to have {len(matching)} direct interfaces with the {desired.by} "
                f"{desired.key}: {'; '.join(map(selection.describe, matching))}. That of "
                f"{', '.join(self._declared[slot.by or 0].path for slot in others)} will be one of them, so that "
                "the next run could not tell which one is meant here. Select it by its MAC address",
                path=join_path(desired.path, desired.by),
            )
        selection.refuse_several(desired, self._domain, matching)
        if matching:
            return next(slot for slot, iface in now if iface is matching[0])
        mac = desired.mac or _new_address(desired, self._domain, self._host, self._taken)
        self._taken.add(mac)
        for slot in self._slots:
            # Two that are still to be made cannot be told apart.
            if slot.nic.mac == mac and slot.by is not None and slot.nic.stored is None and slot.nic.live is None:
                return slot
        return _Slot(selection.none_yet(self._domain, mac), None)

    def _check_next_run(self, place: int, left: t.Sequence[_Slot]) -> None:
        """Have a declaration fail by which another run would find another NIC than its own."""
        desired = self._declared[place]
        if desired.by == "mac" or isinstance(self._found.get(place), MacvtapError):
            return
        for slot in left:
            if (
                slot.by != place
                and not (desired.present and slot.leaves)
                and slot.will_be is not None
                and selection.fits(slot.will_be, desired.by, desired.key, self._host.links)
            ):
                at = place if slot.by is None else max(place, slot.by)
                if not isinstance(self._found.get(at), MacvtapError):
                    self._found[at] = _found_later(self._declared, place, slot, at)
                return


def _will_be(desired: Desired, slot: _Slot) -> Iface | None:
    """Return what the NIC will be known by."""
    if not desired.present:
        return None
    base = slot.will_be or Iface(slot.nic.mac)
    values = {**(base.values if base.type == "direct" else {}), **desired.given}
    return replace(base, type="direct", values={name: text for name, text in values.items() if text is not None})


def _found_later(declared: t.Sequence[Desired], place: int, slot: _Slot, at: int) -> MacvtapError:
    desired = declared[place]
    other = declared[slot.by].path if slot.by is not None else "stored"
    what = f"the {desired.by} {desired.key}"
    if at == place:
        message = (
            f"domain {desired.domain!r} is to have {slot.nic.mac} with {what} as well ({other}), so that the next run "
            "could not tell which one this entry means"
        )
    else:
        message = (
            f"this interface is to have {what}, by which {desired.path} selects its own in domain {desired.domain!r}: "
            "the next run could not tell which one that entry means"
        )
    path = join_path(declared[at].path, declared[at].by if at == place else desired.by)
    return MacvtapError(f"{message}. Select both by their MAC addresses", path=path)


def _twice(desired: Desired, other: Desired, nic: Nic) -> MacvtapError:
    return MacvtapError(
        f"this is the same interface ({nic.domain} {nic.mac}) as {other.path} declares",
        path=join_path(desired.path, desired.by),
    )


def _new_address(desired: Desired, domain: Domain, host: Host, taken: t.Collection[str]) -> str:
    # Two hosts that have a domain of one UUID have one domain, which must keep its address when it moves.
    seed = f"{domain.uuid or domain.name}/{desired.given.get('source') or desired.key}"
    own = {iface.mac for other in host.domains.values() for iface in (*other.stored, *other.live)}
    return _mac.stable(seed, prefix=desired.prefix, taken={*own, *(host.macs or ()), *taken})
