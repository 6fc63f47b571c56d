# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A line with what each host declares, and the result of the comparison. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import names
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.declared import Values, Variables

# The maximum number of hosts in a line.
_LIMIT = 12
_LISTS = (
    ("macvtap_domains_interfaces", "NIC"),
    ("macvtap_links_links", "link"),
    ("macvtap_links_vlans", "VLAN"),
    ("macvtap_networks_networks", "network"),
    ("macvtap_guard_guards", "guard"),
    ("macvtap_host_access_shims", "host interface"),
)


def lines(fleet: t.Mapping[str, Values], conflicts: t.Sequence[Values]) -> list[str]:
    """Return what the hosts of ``fleet`` declare, grouped by equal lines, and the number of ``conflicts``."""
    alike: dict[str, list[str]] = {}
    for name, data in fleet.items():
        alike.setdefault(_declarations(name, data), []).append(name)
        for other in names.unknown(data.get("names") or ()):
            alike.setdefault(f"{other} is set, but is not a variable of this collection", []).append(name)
    return [*(f"{host_names(hosts)}: {text}" for text, hosts in alike.items()), _conclusion(fleet, conflicts)]


def _declarations(name: str, data: Values) -> str:
    if data.get("unreadable"):
        return "its variables cannot be read"
    variables = Variables(name, data.get("declared") or {})
    counted = [(_count(variables.get(variable)), what) for variable, what in _LISTS]
    parts = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in counted if number]
    return ", ".join(parts) or "declares nothing"


def _count(entries: t.Any) -> int:
    return len(entries) if isinstance(entries, (list, tuple)) else 0


def _conclusion(fleet: t.Sized, conflicts: t.Sequence[Values]) -> str:
    on = f"on {len(fleet)} {'host' if len(fleet) == 1 else 'hosts'}"
    allowed = sum(bool(one.get("allowed")) for one in conflicts)
    remaining = len(conflicts) - allowed
    also = f", {allowed} allowed" if allowed else ""
    return f"{remaining or 'No'} {'conflict' if remaining == 1 else 'conflicts'} {on}{also}"


def host_names(hosts: t.Sequence[str]) -> str:
    """Return the first twelve of ``hosts``, and how many more there are."""
    more = f" and {len(hosts) - _LIMIT} hosts more" if len(hosts) > _LIMIT else ""
    return ", ".join(hosts[:_LIMIT]) + more
