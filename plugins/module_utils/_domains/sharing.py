# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates that an interface in mode passthrough is the only one on its source. Pure.

This is more than a guest that does not start. libvirt 9.0 gives the source the guest's MAC address before it creates
the link. If attaching then fails, the source keeps that address, and the host uses it.
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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate as links_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, link_of

Case = t.Tuple[Desired, Nic, Nic]
_PLACE = {"source", "mode"}


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
    for desired, _before, after in placed:
        stored = after.stored or after.live
        source = _name(stored.get("source") if stored else None, host)
        own = _Use("", after.domain, after.mac, stored.get("mode") if stored else None, False)
        if own.mode not in links_validate.PASSTHRU and source not in alone:
            continue
        others = [use for use in uses.get(source, ()) if (use.domain, use.mac) != (own.domain, own.mac)]
        if links_validate.crowded([own.mode, *(use.mode for use in others)]):
            warnings += _validate_one(desired, own, others, source, host)
    return warnings


def _is_placed(case: Case, host: Host) -> bool:
    """Whether a NIC is new on its source or changes its mode there, now or at its next start."""
    _desired, before, after = case
    before_iface, after_iface = before.stored, after.stored
    if (
        before_iface is None
        or after_iface is None
        or before_iface.type != after_iface.type
        or (before.live is None) != (after.live is None)
    ):
        return True
    moved = not selection.same_source(before_iface.get("source"), after_iface.get("source"), host.links)
    return moved or before_iface.get("mode") != after_iface.get("mode")


def _validate_one(desired: Desired, own: _Use, others: t.Sequence[_Use], source: str, host: Host) -> list[str]:
    running = host.domains[own.domain].running
    clashing = [use for use in others if (use.active and running) or use.domain == own.domain]
    whose = f"{own.domain} {own.mac}"
    if links_validate.crowded([own.mode, *(use.mode for use in clashing)]):
        path = join_path(desired.path, "mode" if "mode" in desired.given else "source")
        raise MacvtapError(
            f"{links_validate.not_alone(source, whose, own.mode, [(use.name, use.mode) for use in clashing])}. libvirt "
            "would fail, and some versions leave the guest's address on the source. Use another source, or mode: "
            "bridge for all of them",
            path=path,
        )
    text = links_validate.not_alone(source, whose, own.mode, [(use.name, use.mode) for use in others])
    return [f"{whose}: {text}. The second of these guests or links does not start"]


def _uses(cases: t.Sequence[Case], host: Host) -> dict[str, list[_Use]]:
    """Return the users of each source after all of ``cases`` are applied."""
    found: dict[str, list[_Use]] = {}
    final: dict[tuple[str, str], list[Nic]] = {}
    for domain in host.domains.values():
        for pair in selection.pairs(domain):
            final.setdefault((domain.name, selection.stored_or_live(pair).mac), []).append(
                selection.nic_of(domain, pair)
            )
    for _desired, before, after in cases:
        final.setdefault((before.domain, before.mac), [])[:] = [after]
    links = host.links or {}
    observed = [iface for domain in host.domains.values() for iface in domain.live]
    # By name: a trusted guest may have given its link another address. A NIC of a libvirt network has no source.
    guests = {iface.get("target") for iface in observed if iface.type == "direct"}
    for link in links.values():
        if link.kind in MACVLAN_KINDS and link.parent and link.name not in guests:
            found.setdefault(link.parent, []).append(_Use(f"the link {link.name}", "", link.name, link.mode, True))
    for text, others in host.stored_by_source.items():
        for name, mac, mode in others:
            found.setdefault(_name(text, host), []).append(_Use(f"{name} {mac}", name, mac, mode, False))
    for (name, mac), nics in final.items():
        for nic in nics:
            ifaces: list[tuple[Iface | None, bool]] = [(nic.live, True), (nic.stored, False)]
            there = {
                _name(iface.get("source"), host): (iface.get("mode"), active)
                for iface, active in reversed(ifaces)
                if iface is not None and iface.type == "direct" and iface.get("source")
            }
            for source, (mode, active) in there.items():
                found.setdefault(source, []).append(_Use(f"{name} {mac}", name, mac, mode, active))
    return found


def _name(source: str | None, host: Host) -> str:
    link = link_of(source, host.links or {})
    return link.name if link is not None else source or ""
