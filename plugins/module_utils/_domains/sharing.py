# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which other links a source has or would have, where one in mode passthrough must be the only one. Pure.

It is more than a guest that does not start. libvirt 9.0 gives the source the guest's MAC address before it makes the
link. If that fails at a plug, the source keeps the address, and the host with it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, link_of

Case = t.Tuple[Desired, Nic, Nic]
_PLACE = {"source", "mode"}


@dataclass(frozen=True)
class _Use:
    """What uses a source: a link that there is or will be (``now``), or only a NIC that is stored."""

    who: str
    domain: str
    mac: str
    mode: str | None
    now: bool


def check(cases: t.Sequence[Case], host: Host) -> list[str]:
    """Refuse what could not have its link beside the others that its source has, and return what to warn of.

    Refused is what a running guest is to have, or has to have when it starts again, and two NICs of one domain, which
    never starts with them. One that is stored beside others may be meant to take their place.

    :raises MacvtapError: with the path of the option.
    """
    placed = [case for case in cases if case[2].stored is not None and _is_placed(case, host)]
    if not placed:
        return []
    uses = _uses(cases, host)
    warnings = []
    for desired, _before, after in placed:
        stored = after.stored or after.live
        source = _name(stored.get("source") if stored else None, host)
        mine = _Use("", after.domain, after.mac, stored.get("mode") if stored else None, False)
        others = [use for use in uses.get(source, ()) if (use.domain, use.mac) != (mine.domain, mine.mac)]
        if refusals.crowded([mine.mode, *(use.mode for use in others)]):
            warnings += _tell(desired, mine, others, source, host)
    return warnings


def _is_placed(case: Case, host: Host) -> bool:
    """Whether a NIC is given its place on a source, now or for its next start."""
    _desired, before, after = case
    was, will_be = before.stored, after.stored
    if was is None or will_be is None or was.type != will_be.type or (before.live is None) != (after.live is None):
        return True
    moved = not selection.same_source(was.get("source"), will_be.get("source"), host.links)
    return moved or was.get("mode") != will_be.get("mode")


def _tell(desired: Desired, mine: _Use, others: t.Sequence[_Use], source: str, host: Host) -> list[str]:
    running = host.domains[mine.domain].running
    clashing = [use for use in others if (use.now and running) or use.domain == mine.domain]
    whose = f"{mine.domain} {mine.mac}"
    if refusals.crowded([mine.mode, *(use.mode for use in clashing)]):
        path = join_path(desired.path, "mode" if "mode" in desired.given else "source")
        raise MacvtapError(
            f"{refusals.not_alone(source, whose, mine.mode, [(use.who, use.mode) for use in clashing])}. libvirt "
            "would fail, and some versions leave the guest's address on the source. Use another source, or mode: "
            "bridge for all of them",
            path=path,
        )
    said = refusals.not_alone(source, whose, mine.mode, [(use.who, use.mode) for use in others])
    return [f"{whose}: {said}. Whichever of these guests or links comes second does not start"]


def _uses(cases: t.Sequence[Case], host: Host) -> dict[str, list[_Use]]:
    """Return what is on each source once all of ``cases`` is done."""
    found: dict[str, list[_Use]] = {}
    final: dict[tuple[str, str], list[Nic]] = {}
    for domain in host.domains.values():
        for pair in selection.pairs(domain):
            final.setdefault((domain.name, selection.of_pair(pair).mac), []).append(selection.nic_of(domain, pair))
    for _desired, before, after in cases:
        final.setdefault((before.domain, before.mac), [])[:] = [after]
    links = host.links or {}
    observed = [iface for domain in host.domains.values() for iface in domain.live]
    # By name: a guest that is trusted may have given its link another address. One of a libvirt network says no source.
    guests = {iface.get("target") for iface in observed if iface.type == "direct"}
    for link in links.values():
        if link.kind in MACVLAN_KINDS and link.parent and link.name not in guests:
            found.setdefault(link.parent, []).append(_Use(f"the link {link.name}", "", link.name, link.mode, True))
    for said, others in host.placed.items():
        for name, mac, mode in others:
            found.setdefault(_name(said, host), []).append(_Use(f"{name} {mac}", name, mac, mode, False))
    for (name, mac), nics in final.items():
        for nic in nics:
            ifaces: list[tuple[Iface | None, bool]] = [(nic.live, True), (nic.stored, False)]
            there = {
                _name(iface.get("source"), host): (iface.get("mode"), now)
                for iface, now in reversed(ifaces)
                if iface is not None and iface.type == "direct" and iface.get("source")
            }
            for source, (mode, now) in there.items():
                found.setdefault(source, []).append(_Use(f"{name} {mac}", name, mac, mode, now))
    return found


def _name(source: str | None, host: Host) -> str:
    link = link_of(source, host.links or {})
    return link.name if link is not None else source or ""
