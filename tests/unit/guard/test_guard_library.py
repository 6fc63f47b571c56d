# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether listed rules have the addresses that they should: in whatever words a version of the library lists them."""

from __future__ import annotations

import json
import typing as t

import pytest
from guard_library_fake import CHAIN, GUARD, LOADED, A, Library, filled, library

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_library, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

__all__ = ["library"]

Object = t.Dict[str, t.Any]


def rule(right: t.Any, protocol: str = "ip", field: str = "saddr", op: str = "!=") -> Object:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"comment": "address", "expr": [{"match": {"op": op, "left": left, "right": right}}, {"drop": None}]}


def same(one: Object, other: Object) -> bool:
    return guard_library.has_addresses([one], [other])


def prefix(addr: str, length: int) -> Object:
    return {"prefix": {"addr": addr, "len": length}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", {"set": ["192.0.2.1"]}),
        ({"set": ["192.0.2.2", "192.0.2.9"]}, {"set": ["192.0.2.9", "192.0.2.2"]}),
        (prefix("192.0.2.0", 24), {"range": ["192.0.2.0", "192.0.2.255"]}),
        ({"set": [prefix("192.0.2.0", 25), prefix("192.0.2.128", 25)]}, prefix("192.0.2.0", 24)),
        ({"set": [prefix("192.0.2.0", 24), "192.0.2.7"]}, {"set": [prefix("192.0.2.0", 24)]}),
        (prefix("192.0.2.7", 24), prefix("192.0.2.0", 24)),
        # Words of a later version, which cannot be judged.
        ("192.0.2.1", {"interval": ["192.0.2.1"]}),
        ("192.0.2.1", "@allowed"),
    ],
)
def test_addresses_are_the_same_in_other_words(one: t.Any, other: t.Any) -> None:
    assert same(rule(one), rule(other))
    assert same(rule(other), rule(one))


@pytest.mark.parametrize(
    ("protocol", "one", "other"),
    [
        ("ip", "192.0.2.1", "192.0.2.2"),
        ("ip", "192.0.2.1", {"set": ["192.0.2.1", "192.0.2.3"]}),
        ("ip", prefix("192.0.2.0", 24), prefix("192.0.2.0", 23)),
        ("ip", prefix("192.0.2.0", 24), {"range": ["192.0.2.1", "192.0.2.255"]}),
        ("ip6", "2001:db8::1", "2001:db8::2"),
        ("ip6", prefix("fe80::", 10), prefix("fe80::", 9)),
        ("ether", "52:54:00:00:0a:01", "52:54:00:00:0a:02"),
    ],
)
def test_other_addresses_are_others(protocol: str, one: t.Any, other: t.Any) -> None:
    assert not same(rule(one, protocol), rule(other, protocol))
    assert same(rule(one, protocol), rule(one, protocol))
    for how in ({"field": "daddr"}, {"op": "=="}, {"protocol": "arp"}):
        assert not same(rule(one, protocol), rule(one, **{"protocol": protocol, **how}))


def changed(former: str, new: str) -> list[Object]:
    found: list[Object] = json.loads(json.dumps(LOADED[CHAIN]).replace(former, new))
    assert found != LOADED[CHAIN]
    return found


@pytest.mark.parametrize("known", [True, False], ids=["load", "start"])
@pytest.mark.parametrize(
    ("former", "new"),
    [("192.0.2.10", "192.0.2.99"), (A, "52:54:00:00:0a:09"), ('"rate": 5', '"rate": 500000'), ('"!="', '"=="')],
    ids=["address", "mac", "rate", "operator"],
)
def test_rules_with_values_of_others_are_loaded_again(library: Library, former: str, new: str, known: bool) -> None:
    library.chains = {**LOADED, CHAIN: changed(former, new)}
    assert filled(library, known=known) == [CHAIN]


@pytest.mark.parametrize(
    "options",
    [
        {"addresses": ("10.0.0.0/8", "192.0.2.1", "2001:db8::/48", "fe80::/10")},
        {"addresses": ("0.0.0.0/0", "::/0")},
        {"peers": ("192.0.2.1", "2001:db8::1", "52:54:00:00:00:01")},
        {"addresses": ("learned",), "rate": 100},
        {"other_macs": True, "ethertypes": ("any",)},
    ],
)
def test_each_guard_has_its_own_addresses(options: dict[str, t.Any]) -> None:
    found = rules.render(Guard(A, **options))
    assert guard_library.has_addresses(found, json.loads(json.dumps(found)))
    values = [one for each in found for one in guard_library._values(each)]
    assert None not in values
    assert values or options.get("other_macs")
    assert rules.render(GUARD) != found
