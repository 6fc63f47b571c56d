# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From listed rules of nftables to the guard that they are of: the inverse of rules.py. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_library,
    guard_recorders,
    model,
    rules,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import ETHERTYPES, Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.rules import Object


def parse(mac: str, listed: t.Sequence[Object], *, former: bool = False) -> Guard | None:
    """Return the guard of the ``listed`` rules of its chain, None if they are not those of :func:`rules.render`.

    With ``former``, they are as an earlier version wrote them.
    The library lists rules in another form than they were added: it sorts sets, and omits what follows from other
    matches. Its versions have other words for a field.
    """
    of_kind: dict[str, list[Object]] = {}
    try:
        listed = guard_library.in_our_words(list(listed))
        for rule in listed:
            of_kind.setdefault(rule.get("comment", ""), []).append(rule)
        guard = Guard(
            mac,
            policy=model.DROP if _drops(listed, former=former) else model.COUNT,
            other_macs=model.MAC not in of_kind,
            addresses=(model.LEARNED,)
            if any("set" in one for rule in listed for one in rule["expr"])
            else _parse_addresses(of_kind.get(model.ADDRESS, [])),
            ethertypes=_parse_ethertypes(of_kind.get(model.ETHERTYPE, [])),
            peers=_parse_peers(of_kind.get(model.PEER, [])),
            dhcp_server=model.DHCP not in of_kind,
            router_advertisements=model.ROUTER not in of_kind,
            rate=next((one["expr"][0]["limit"]["rate"] for one in of_kind.get(model.RATE, [])), 0),
            # The library lists a link that is gone by its index.
            mirror_to=next((one["expr"][0]["dup"]["addr"] for one in of_kind.get(model.MIRROR, [])), ""),
        )
        expected = as_formerly(guard) if former else rules.render(guard)
        is_same = guard_library.is_listed(expected, listed)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        # Rules that somebody else has written.
        return None
    return guard if is_same else None


def as_formerly(guard: Guard) -> list[Object]:
    """Return a guard's rules as an earlier version wrote them: each dropped by itself, and did not record when."""
    drop: list[Object] = [{"drop": None}] if guard.policy == model.DROP else []
    return [
        {**rule, "expr": [part for one in rule["expr"] for part in (drop if "jump" in one else [one])]}
        for rule in rules.render(guard)
    ]


def _drops(listed: t.Sequence[Object], *, former: bool) -> bool:
    if former:
        return any("drop" in one for rule in listed for one in rule["expr"])
    return bool(guard_recorders.used(listed) & rules.recorders(model.DROP))


def _parse_addresses(of_kind: t.Sequence[Object]) -> tuple[str, ...]:
    texts = [text for field in ("ip", "ip6") for text in _texts(_values(of_kind, rules.header(field, "saddr")))]
    return model.sort_addresses({*texts} - {rules.UNSPECIFIED4, rules.UNSPECIFIED6})


def _parse_peers(of_kind: t.Sequence[Object]) -> tuple[str, ...]:
    fields = (rules.header("ether", "daddr"), rules.header("ip", "daddr"), rules.header("ip6", "daddr"))
    texts = [text for field in fields for text in _texts(_values(of_kind, field))]
    return model.sort_addresses(text for text in texts if text not in (rules.BROADCAST, rules.MULTICAST))


def _parse_ethertypes(of_kind: t.Sequence[Object]) -> tuple[str, ...]:
    if not of_kind:
        return (model.ANY,)
    known = {number: name for name, number in ETHERTYPES.items()}
    words = {**{name: name for name in ETHERTYPES}, "vlan": "8021q"}
    elements = _values(of_kind, rules.header("ether", "type"))
    return tuple(sorted(words[one] if isinstance(one, str) else known.get(one, f"0x{one:04x}") for one in elements))


def _values(of_kind: t.Sequence[Object], left: Object) -> list[t.Any]:
    """Return what a field is compared with in these rules."""
    found: list[t.Any] = []
    for rule in of_kind:
        for one in rule["expr"]:
            if "match" in one and one["match"]["left"] == left and one["match"]["op"] == "!=":
                right = one["match"]["right"]
                found += right["set"] if isinstance(right, dict) and "set" in right else [right]
    return found


def _texts(elements: t.Iterable[t.Any]) -> list[str]:
    found: list[str] = []
    for one in elements:
        if isinstance(one, dict) and "range" in one:
            # Neighbours among prefixes are listed as one.
            networks = ipaddress.summarize_address_range(*map(ipaddress.ip_address, one["range"]))
            found += [model.short(network) for network in networks]
        else:
            found.append(f"{one['prefix']['addr']}/{one['prefix']['len']}" if isinstance(one, dict) else one)
    return found


def counters(listed: t.Sequence[Object]) -> dict[str, dict[str, int]]:
    """Return how many frames and bytes of each kind were dropped, or counted."""
    found: dict[str, dict[str, int]] = {}
    for rule in listed:
        for one in rule["expr"]:
            if isinstance(one.get("counter"), dict) and rule.get("comment") in model.KINDS:
                of_kind = found.setdefault(rule["comment"], {"packets": 0, "bytes": 0})
                for unit in of_kind:
                    of_kind[unit] += one["counter"].get(unit, 0)
    return found
