# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From listed rules of nftables to the guard that they are of: the inverse of rules.py. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import model, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import ETHERTYPES, Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.rules import Object


def parse(mac: str, listed: t.Sequence[Object]) -> Guard | None:
    """Return the guard of the ``listed`` rules of its chain, None if they are not those of :func:`rules.render`.

    The library lists rules in another form than they were added: it sorts sets, and omits what follows from other
    matches.
    """
    of_kind: dict[str, list[Object]] = {}
    for rule in listed:
        of_kind.setdefault(rule.get("comment", ""), []).append(rule)
    try:
        guard = Guard(
            mac,
            policy=model.DROP if any({"drop": None} in rule["expr"] for rule in listed) else model.COUNT,
            other_macs=model.MAC not in of_kind,
            addresses=_parse_addresses(of_kind.get(model.ADDRESS, [])),
            ethertypes=_parse_ethertypes(of_kind.get(model.ETHERTYPE, [])),
            peers=_parse_peers(of_kind.get(model.PEER, [])),
            dhcp_server=model.DHCP not in of_kind,
            router_advertisements=model.ROUTER not in of_kind,
            rate=next((one["expr"][0]["limit"]["rate"] for one in of_kind.get(model.RATE, [])), 0),
        )
        expected = rules.render(guard)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        # Rules that somebody else has written.
        return None
    return guard if [_outline(one) for one in expected] == [_outline(one) for one in listed] else None


def _outline(rule: Object) -> tuple[t.Any, ...]:
    """Return what of a rule each version of the library lists alike: its kind, its fields and its verdict."""
    statements = [key for one in rule["expr"] for key in one if key not in ("match", "counter")]
    raw = [
        (left["payload"].get("offset"), left["payload"].get("len"), one["match"]["op"])
        for one in rule["expr"]
        if "match" in one
        for left in (one["match"]["left"],)
        if left.get("payload", {}).get("base") == "th"
    ]
    return rule.get("comment"), statements, raw


def _parse_addresses(of_kind: t.Sequence[Object]) -> tuple[str, ...]:
    if any("set" in one for rule in of_kind for one in rule["expr"]):
        return (model.LEARNED,)
    found: list[str] = []
    for rule in of_kind:
        for field in ("ip", "ip6"):
            texts = _texts(_right(rule, rules.header(field, "saddr")))
            found += [] if texts in ([rules.UNSPECIFIED4], [rules.UNSPECIFIED6]) else texts
    return model.sort_addresses(set(found))


def _parse_peers(of_kind: t.Sequence[Object]) -> tuple[str, ...]:
    fields = (rules.header("ether", "daddr"), rules.header("ip", "daddr"), rules.header("ip6", "daddr"))
    found = [text for rule in of_kind for field in fields for text in _texts(_right(rule, field))]
    return model.sort_addresses(text for text in found if text not in (rules.BROADCAST, rules.MULTICAST))


def _parse_ethertypes(of_kind: t.Sequence[Object]) -> tuple[str, ...]:
    if not of_kind:
        return (model.ANY,)
    right = _right(of_kind[0], rules.header("ether", "type"))
    known = {number: name for name, number in ETHERTYPES.items()}
    words = {**{name: name for name in ETHERTYPES}, "vlan": "8021q"}
    elements = right["set"] if isinstance(right, dict) else [right]
    return tuple(sorted(words[one] if isinstance(one, str) else known.get(one, f"0x{one:04x}") for one in elements))


def _right(rule: Object, left: Object) -> t.Any:
    """Return the right side of the rule's match of a field, None without it."""
    return next(
        (one["match"]["right"] for one in rule["expr"] if "match" in one and one["match"]["left"] == left), None
    )


def _texts(right: t.Any) -> list[str]:
    if right is None:
        return []
    found: list[str] = []
    for one in right["set"] if isinstance(right, dict) and "set" in right else [right]:
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
