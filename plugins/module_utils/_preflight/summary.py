# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What each host declares, in a line, and how the comparison has ended. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import names
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.declared import Said, Variables

# So many hosts are named in a line.
_MOST = 12
_LISTS = (
    ("macvtap_domains_interfaces", "NIC"),
    ("macvtap_links_links", "link"),
    ("macvtap_links_vlans", "VLAN"),
    ("macvtap_host_access_companions", "host interface"),
)


def lines(fleet: t.Mapping[str, Said], conflicts: t.Sequence[Said]) -> list[str]:
    """Return what the hosts of ``fleet`` declare, those alike in one line, and the number of ``conflicts``."""
    alike: dict[str, list[str]] = {}
    for name, said in fleet.items():
        alike.setdefault(_declares(name, said), []).append(name)
        for other in names.unknown(said.get("names") or ()):
            alike.setdefault(f"{other} is set, which is no variable of this collection", []).append(name)
    return [*(f"{_some(hosts)}: {words}" for words, hosts in alike.items()), _end(fleet, conflicts)]


def _declares(name: str, said: Said) -> str:
    if said.get("unreadable"):
        return "its variables cannot be read"
    variables = Variables(name, said.get("declared") or {})
    counted = [(_count(variables.get(variable)), what) for variable, what in _LISTS]
    words = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in counted if number]
    return ", ".join(words) or "declares nothing"


def _count(entries: t.Any) -> int:
    return len(entries) if isinstance(entries, (list, tuple)) else 0


def _end(fleet: t.Sized, conflicts: t.Sequence[Said]) -> str:
    on = f"on {len(fleet)} {'host' if len(fleet) == 1 else 'hosts'}"
    allowed = sum(bool(one.get("allowed")) for one in conflicts)
    left = len(conflicts) - allowed
    also = f", {allowed} allowed" if allowed else ""
    return f"{left or 'No'} {'conflict' if left == 1 else 'conflicts'} {on}{also}"


def _some(hosts: t.Sequence[str]) -> str:
    more = f" and {len(hosts) - _MOST} hosts more" if len(hosts) > _MOST else ""
    return ", ".join(hosts[:_MOST]) + more
