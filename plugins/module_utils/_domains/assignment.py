# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NIC each of several declarations selects, when all of them are applied together.

Selectors are applied in their order, each to what the domain will have after those before it. A MAC address comes
first, because the others can change. After the run each selector must still find the same NIC, and only that one.
Otherwise the next run would select another NIC, or several. Pure.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import with_values

Assigned = t.Union[Nic, MacvtapError]


@dataclass
class _Slot:
    """One NIC of a domain, as ``planned`` (None: removed) by the declaration with the index ``entry``."""

    nic: Nic
    planned: Iface | None
    entry: int | None = None

    @property
    def only_live(self) -> bool:
        """Whether only the running guest has it, until it restarts or releases the NIC."""
        return self.entry is None and self.nic.stored is None and self.nic.live is not None


def assign(
    declared: t.Sequence[Desired],
    host: Host,
    domains: t.Mapping[str, Domain] | None = None,
    *,
    purge: bool = False,
) -> dict[int, Assigned]:
    """Return the NIC that each declaration selects, or the error that it fails with, by its index.

    A NIC with neither stored nor live is a new one. The result has no declarations for domains that are not among
    ``domains`` (default: the host's).
    """
    domains = host.domains if domains is None else domains
    found: dict[int, Assigned] = {}
    taken = {desired.mac for desired in declared if desired.mac}
    indices: dict[str, list[int]] = {}
    for index, desired in enumerate(declared):
        indices.setdefault(desired.domain, []).append(index)
    for name, own in indices.items():
        domain = domains.get(name)
        if domain is None:
            continue
        plain = _by_address(domain, declared, own)
        if plain is not None:
            found.update(plain)
        else:
            found.update(_Assigner(domain, declared, host, taken, purge=purge).assign(own))
    return found


def _by_address(domain: Domain, declared: t.Sequence[Desired], indices: t.Sequence[int]) -> dict[int, Assigned] | None:
    """Return the NICs of declarations that all are by address, where no address is there twice; None for others.

    Then no declaration has a bearing on what another one selects.
    """
    macs = [declared[index].key for index in indices]
    if any(declared[index].by != "mac" or declared[index].nic is not None for index in indices):
        return None
    pairs = selection.pairs(domain)
    there = {selection.stored_or_live(pair).mac: pair for pair in pairs}
    if len(there) != len(pairs) or len(set(macs)) != len(macs):
        return None
    return {
        index: selection.nic_of(domain, there[mac]) if mac in there else selection.new_nic(domain, mac)
        for index, mac in zip(indices, macs)
    }


class _Assigner:
    """Assigns the NICs of one domain."""

    def __init__(
        self, domain: Domain, declared: t.Sequence[Desired], host: Host, taken: set[str], *, purge: bool
    ) -> None:
        self._domain = domain
        self._declared = declared
        self._host = host
        self._taken = taken
        self._purge = purge
        self._slots = [
            _Slot(selection.nic_of(domain, pair), selection.stored_or_live(pair)) for pair in selection.pairs(domain)
        ]
        self._assigned: dict[int, Assigned] = {}

    def assign(self, indices: t.Sequence[int]) -> dict[int, Assigned]:
        """Assign the declarations at ``indices``, all of this domain."""
        for selector in SELECTORS:
            now = [(slot, slot.planned) for slot in self._slots if slot.planned is not None]
            for index in indices:
                if self._declared[index].by == selector:
                    self._assign_one(index, now)
        left = [slot for slot in self._slots if slot.entry is not None or not self._purge]
        remaining = [slot for slot in left if slot.planned is not None]
        for index in indices:
            self._validate_next_run(index, remaining)
        return self._assigned

    def _assign_one(self, index: int, now: t.Sequence[tuple[_Slot, Iface]]) -> None:
        desired = self._declared[index]
        try:
            slot = self._find_slot(desired, now)
        except MacvtapError as exc:
            self._assigned[index] = exc
            return
        self._assigned[index] = slot.nic
        if slot.entry is not None:
            first, second = sorted((slot.entry, index))
            self._assigned[second] = _duplicate(self._declared[second], self._declared[first], slot.nic)
            return
        if not any(slot is one for one in self._slots):
            self._slots.append(slot)
        slot.entry, slot.planned = index, _planned(desired, slot)

    def _find_slot(self, desired: Desired, now: t.Sequence[tuple[_Slot, Iface]]) -> _Slot:
        matching = self._matching(desired, now)
        slots = [slot for slot, iface in now if any(iface is one for one in matching)]
        others = [self._declared[slot.entry].path for slot in slots if slot.entry is not None]
        if len(matching) > 1 and others:
            raise MacvtapError(
                f"domain {desired.domain!r} would have {len(matching)} direct interfaces with {desired.by} "
                f"{desired.key}: {'; '.join(map(selection.describe, matching))}. "
                f"{', '.join(others)} declares one of them, so {desired.by} would be ambiguous in the next run. Set "
                "mac instead",
                path=join_path(desired.path, desired.by),
            )
        if self._purge and not desired.present and all(slot.only_live for slot in slots):
            # An earlier run may have left them in the running guest. The purge removes those that this entry does not.
            matching = matching[:1]
        selection.validate_unique(desired, self._domain, matching)
        if matching:
            return next(slot for slot, iface in now if iface is matching[0])
        return self._new_slot(desired)

    def _matching(self, desired: Desired, now: t.Sequence[tuple[_Slot, Iface]]) -> list[Iface]:
        """Return the interfaces among ``now`` that a declaration selects."""
        present = [iface for _slot, iface in now]
        if desired.nic is not None:
            found = [one for one in (selection.find_in(present, desired.nic),) if one is not None]
        else:
            # The next run has to find what is stored, whatever an earlier run has left in the running guest.
            stored = [iface for slot, iface in now if desired.by != "mac" and not slot.only_live]
            links = self._host.links
            found = selection.matching(desired, stored, links) or selection.matching(desired, present, links)
        if found or not desired.present or desired.by not in {"source", "network"}:
            return found
        # One that is connected to the same uplink in another way moves: it is not to get a second NIC there.
        free = [iface for slot, iface in now if slot.entry is None and not slot.only_live]
        moving = [iface for iface in free if selection.on_uplink_of(desired, iface, self._host)]
        if len(moving) > 1:
            raise _several_on_uplink(desired, moving)
        return moving

    def _new_slot(self, desired: Desired) -> _Slot:
        mac = desired.mac or _new_address(desired, self._domain, self._host, self._taken)
        self._taken.add(mac)
        for slot in self._slots:
            # Two new NICs with one address are the same.
            if slot.nic.mac == mac and slot.entry is not None and slot.nic.stored is None and slot.nic.live is None:
                return slot
        return _Slot(selection.new_nic(self._domain, mac), None)

    def _validate_next_run(self, index: int, remaining: t.Sequence[_Slot]) -> None:
        """Refuse a declaration whose selector would find another NIC in the next run."""
        desired = self._declared[index]
        if desired.by == "mac" or isinstance(self._assigned.get(index), MacvtapError):
            return
        for slot in remaining:
            if slot.entry == index or slot.planned is None or (desired.present and slot.only_live):
                continue
            if selection.matches(slot.planned, desired.by, desired.key, self._host.links):
                at = index if slot.entry is None else max(index, slot.entry)
                if not isinstance(self._assigned.get(at), MacvtapError):
                    self._assigned[at] = _ambiguous_later(self._declared, index, slot, at)
                return


def _planned(desired: Desired, slot: _Slot) -> Iface | None:
    """Return the NIC's interface after the run, None if it is removed."""
    if not desired.present:
        return None
    base = slot.planned or Iface(slot.nic.mac)
    values = {**(base.values if base.type == "direct" else {}), **desired.given}
    return with_values(base, type="direct", values={name: text for name, text in values.items() if text is not None})


def _several_on_uplink(desired: Desired, found: t.Sequence[Iface]) -> MacvtapError:
    return MacvtapError(
        f"domain {desired.domain!r} has no interface with {desired.by} {desired.key}, but several on that uplink: "
        f"{'; '.join(map(selection.describe, found))}. Set mac to the address of the NIC to move, or to a new address "
        "to add a NIC",
        path=join_path(desired.path, desired.by),
    )


def _ambiguous_later(declared: t.Sequence[Desired], index: int, slot: _Slot, at: int) -> MacvtapError:
    desired = declared[index]
    other = declared[slot.entry].path if slot.entry is not None else "stored"
    what = f"{desired.by} {desired.key}"
    if at == index:
        message = (
            f"domain {desired.domain!r} would have {what} on {slot.nic.mac} as well ({other}), so this entry "
            "would be ambiguous in the next run"
        )
    else:
        message = (
            f"this interface would have {what}, by which {desired.path} selects another one in domain "
            f"{desired.domain!r}. That entry would be ambiguous in the next run"
        )
    path = join_path(declared[at].path, declared[at].by if at == index else desired.by)
    return MacvtapError(f"{message}. Set mac in both", path=path)


def _duplicate(desired: Desired, other: Desired, nic: Nic) -> MacvtapError:
    return MacvtapError(
        f"this selects the same interface ({nic.domain} {nic.mac}) as {other.path}",
        path=join_path(desired.path, desired.by),
    )


def _new_address(desired: Desired, domain: Domain, host: Host, taken: t.Collection[str]) -> str:
    # Hosts with the same UUID have the same domain, which must keep its address when it migrates.
    seed = f"{domain.uuid or domain.name}/{desired.given.get('source') or desired.given.get('network') or desired.key}"
    own = {iface.mac for other in host.domains.values() for iface in (*other.stored, *other.live)}
    return _mac.stable(seed, prefix=desired.mac_prefix, taken={*own, *(host.macs or ()), *taken})
