# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates that an interface in mode passthrough is the only one on its source. Pure.

This is more than a guest that does not start. libvirt 9.0 gives the source the guest's MAC address before it creates
the link. If attaching then fails, the source keeps that address, and the host uses it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate as links_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, link_of

Case = t.Tuple[Desired, Nic, Nic]


@dataclass(frozen=True)
class _Use:
    """A user of a source: a link that exists or will exist (``active``), or only a stored NIC."""

    name: str
    domain: str
    mac: str
    mode: str | None
    active: bool


def validate(cases: t.Sequence[Case], host: Host) -> list[str]:
    """Refuse interfaces whose link cannot exist beside others on the source, and return warnings.

    Refused are conflicts of running guests, and two NICs of one domain, which could never start. A stored NIC beside
    others is only a warning: it may be about to replace them.

    :raises MacvtapError: with the path of the option.
    """
    placed = [case for case in cases if case[2].stored is not None and _is_placed(case, host)]
    if not placed:
        return []
    uses = _uses(cases, host)
    alone = {source for source, those in uses.items() if any(use.mode in links_validate.PASSTHRU for use in those)}
    warnings = []
    for desired, before, after in placed:
        stored = after.stored or after.live
        if stored is None:
            continue
        if networks.is_pool(stored, host.networks):
            warnings += _validate_pool(desired, before, after, uses, host)
            continue
        own = _Use("", after.domain, after.mac, networks.mode(stored, host.networks), False)
        for source in (_name(name, host) for name in networks.uplinks(stored, host.networks)):
            if own.mode not in links_validate.PASSTHRU and source not in alone:
                continue
            others = [use for use in uses.get(source, ()) if (use.domain, use.mac) != (own.domain, own.mac)]
            if links_validate.crowded([own.mode, *(use.mode for use in others)]):
                warnings += _validate_one(desired, own, others, source, host)
    return list(dict.fromkeys(warnings))


def _is_placed(case: Case, host: Host) -> bool:
    """Whether a NIC is new on its source or changes its mode there, now or at its next start."""
    _desired, before, after = case
    before_iface, after_iface = before.stored, after.stored
    if before_iface is None or after_iface is None or before_iface.type != after_iface.type:
        return True
    if (before.live is None) != (after.live is None):
        return True
    if before_iface.get("network") != after_iface.get("network"):
        return True
    moved = not selection.same_source(before_iface.get("source"), after_iface.get("source"), host.links)
    return moved or before_iface.get("mode") != after_iface.get("mode")


def _validate_one(desired: Desired, own: _Use, others: t.Sequence[_Use], source: str, host: Host) -> list[str]:
    running = host.domains[own.domain].running
    clashing = [use for use in others if (use.active and running) or use.domain == own.domain]
    whose = f"{own.domain} {own.mac}"
    if links_validate.crowded([own.mode, *(use.mode for use in clashing)]):
        option = next((name for name in ("mode", "network") if desired.given.get(name) is not None), "source")
        path = join_path(desired.path, option)
        raise MacvtapError(
            f"{links_validate.not_alone(source, whose, own.mode, [(use.name, use.mode) for use in clashing])}. libvirt "
            "would fail, and some versions leave the guest's address on the source. Use another source, or mode: "
            "bridge for all of them",
            path=path,
        )
    text = links_validate.not_alone(source, whose, own.mode, [(use.name, use.mode) for use in others])
    return [f"{whose}: {text}. The second of these guests or links does not start"]


def _validate_pool(
    desired: Desired, before: Nic, after: Nic, uses: t.Mapping[str, t.Sequence[_Use]], host: Host
) -> list[str]:
    """Refuse to attach a NIC to a network whose uplinks are all taken, and warn if it has more NICs than uplinks."""
    stored = after.stored or after.live
    name = stored.get("network") if stored is not None else None
    pool = networks.uplinks(stored, host.networks)
    own = (after.domain, after.mac)
    taken = {
        source: others[0].name
        for source in pool
        if (others := [u for u in uses.get(_name(source, host), ()) if (u.domain, u.mac) != own and u.active])
    }
    if len(taken) == len(pool) and after.live is not None and after.live is not before.live:
        users = ", ".join(f"{source} by {user}" for source, user in taken.items())
        raise MacvtapError(
            f"the network {name!r} gives each NIC an uplink for itself, and all are taken: {users}. Add an uplink to "
            "it",
            path=join_path(desired.path, "network"),
        )
    waiting = [
        iface
        for domain in host.domains.values()
        for iface in domain.stored
        if iface.get("network") == name and (domain.name, iface.mac) != own and not domain.running
    ]
    if len(taken) + len(waiting) >= len(pool):
        return [
            f"{after.domain} {after.mac}: the network {name!r} gives each NIC an uplink for itself, and has "
            f"{len(pool)} for more NICs: {len(taken)} taken, {len(waiting) + 1} of guests that do not have one yet. "
            "The last of these guests does not start"
        ]
    return []


def _uses(cases: t.Sequence[Case], host: Host) -> dict[str, list[_Use]]:
    """Return the users of each source after all of ``cases`` are applied."""
    found: dict[str, list[_Use]] = {}
    for source, use in (*_uses_by_links(host), *_uses_by_others(host), *_uses_by_nics(cases, host)):
        found.setdefault(source, []).append(use)
    return found


def _uses_by_links(host: Host) -> t.Iterator[tuple[str, _Use]]:
    """Yield each link that no guest of ``host`` has, with the link that it is on."""
    observed = [iface for domain in host.domains.values() for iface in domain.live]
    # By name: a trusted guest may have given its link another address.
    guests = {iface.get("target") for iface in observed if iface.type == "direct"}
    for link in (host.links or {}).values():
        if link.kind in MACVLAN_KINDS and link.parent and link.name not in guests:
            yield link.parent, _Use(f"the link {link.name}", "", link.name, link.mode, True)


def _uses_by_others(host: Host) -> t.Iterator[tuple[str, _Use]]:
    """Yield each stored NIC of the domains that were not read, with its source."""
    for text, others in host.stored_by_source.items():
        for name, mac, mode in others:
            yield _name(text, host), _Use(f"{name} {mac}", name, mac, mode, False)


def _uses_by_nics(cases: t.Sequence[Case], host: Host) -> t.Iterator[tuple[str, _Use]]:
    """Yield each NIC as it is after all of ``cases``, with each link that it certainly uses."""
    final: dict[tuple[str, str], list[Nic]] = {}
    for domain in host.domains.values():
        for pair in selection.pairs(domain):
            final.setdefault((domain.name, selection.stored_or_live(pair).mac), []).append(
                selection.nic_of(domain, pair)
            )
    for _desired, before, after in cases:
        final.setdefault((before.domain, before.mac), [])[:] = [after]
    for (name, mac), nics in final.items():
        for nic in nics:
            for source, (mode, active) in _sources(nic, host).items():
                yield source, _Use(f"{name} {mac}", name, mac, mode, active)


def _sources(nic: Nic, host: Host) -> dict[str, tuple[str | None, bool]]:
    """Return the links that a NIC certainly uses, each with the mode and whether it runs there."""
    ifaces: list[tuple[Iface | None, bool]] = [(nic.live, True), (nic.stored, False)]
    return {
        _name(uplink, host): (networks.mode(iface, host.networks), active)
        for iface, active in reversed(ifaces)
        if iface is not None and iface.type == "direct"
        for uplink in networks.certain_uplinks(iface, host.networks)
        # One that runs has the uplink that its network gave it.
        if active or not _is_on(nic.live, iface)
    }


def _is_on(live: Iface | None, stored: Iface) -> bool:
    """Whether a running interface is on the network of the stored one."""
    return live is not None and live.get("network") is not None and live.get("network") == stored.get("network")


def _name(source: str | None, host: Host) -> str:
    link = link_of(source, host.links or {})
    return link.name if link is not None else source or ""
