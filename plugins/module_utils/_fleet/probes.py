# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which switches a host's declarations make it necessary to probe. Pure."""

from __future__ import annotations

import itertools
import typing as t

_LISTS = ("macvtap_links_links", "macvtap_networks_networks", "macvtap_domains_interfaces")
_MODES = ("macvtap_links_mode", "macvtap_networks_mode", "macvtap_domains_mode")
_PARENTS = ("macvtap_uplink", "macvtap_links_parent", "macvtap_domains_source", "macvtap_networks_uplink")


def wanted(declared: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return ``relay`` and ``relay_vepa`` of macvtap_host_info: a switch is probed only if the answer matters.

    Values of other types than lists and dictionaries are left to the comparison of the fleet, which reports them.
    """
    entries = [entry for name in _LISTS for entry in _listed(declared.get(name)) if isinstance(entry, dict)]
    modes = {declared.get(name) for name in _MODES if isinstance(declared.get(name), str)}
    modes |= {entry["mode"] for entry in entries if isinstance(entry.get("mode"), str)}
    parents: t.Iterable[t.Any] = itertools.chain.from_iterable(
        [
            *(_listed(declared.get(name)) for name in _PARENTS),
            *(_listed(entry.get(option)) for entry in entries for option in ("parent", "source", "interfaces")),
        ]
    )
    names = dict.fromkeys(name for name in parents if isinstance(name, str) and name)
    # Existing interfaces may be in mode vepa without a declared parent or mode, or by auto.
    return {"relay": list(names) if "vepa" in modes else [], "relay_vepa": bool(entries)}


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]
