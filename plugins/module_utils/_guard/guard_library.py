# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What versions of the library of nftables take in different words.

It is a part of the program of loader.py, so it imports the standard library alone.
"""

from __future__ import annotations

import socket
import typing as t
from itertools import zip_longest

Object = t.Dict[str, t.Any]
# The target of neighbour discovery: by its place in the packet, as it is stored, and by its name.
TARGET: Object = {"payload": {"base": "th", "offset": 64, "len": 128}}
# Of addresses, by the protocol of their field: 0 is that of MAC addresses.
_FAMILIES: t.Mapping[t.Any, int] = {"ether": 0, "ip": socket.AF_INET, "ip6": socket.AF_INET6}
_BITS = {0: 48, socket.AF_INET: 32, socket.AF_INET6: 128}
_NAMED_TARGET: Object = {"payload": {"protocol": "icmpv6", "field": "taddr"}}


def in_its_words(library: t.Any, rules: t.Sequence[Object]) -> list[Object]:
    """Return a guard's rules in words that the library takes. What it asks the kernel for is the same.

    Libraries that have a name for the target (1.1.3 and 1.1.7, not 1.0.6) refuse to learn an address that is given by
    its place: bytes at a place are an integer to them, which is no address.
    """
    code, _output, _error = library.cmd("describe icmpv6 taddr")
    return [*rules] if code else [{**rule, "expr": [_named(one) for one in rule["expr"]]} for rule in rules]


def in_our_words(listed: t.Any) -> t.Any:
    """Return listed rules in the words that all versions of the library take: the inverse of :func:`in_its_words`.

    A library that has a name for the target lists all of its uses by that, whatever they were added by.
    """
    if listed == _NAMED_TARGET:
        return TARGET
    if isinstance(listed, dict):
        return {key: in_our_words(value) for key, value in listed.items()}
    return [in_our_words(one) for one in listed] if isinstance(listed, list) else listed


def outline(rule: Object) -> tuple[t.Any, ...]:
    """Return what of a rule each version of the library lists alike: its kind, its fields and its verdict."""
    statements = [
        (key, one[key]["target"] if key == "jump" else one[key]["addr"] if key == "dup" else "")
        for one in rule["expr"]
        for key in one
        if key not in ("match", "counter")
    ]
    raw = [
        (left["payload"].get("offset"), left["payload"].get("len"), one["match"]["op"])
        for one in rule["expr"]
        if "match" in one
        for left in (one["match"]["left"],)
        if left.get("payload", {}).get("base") == "th"
    ]
    return rule.get("comment"), statements, raw


def is_listed(rules: t.Sequence[Object], listed: t.Sequence[Object]) -> bool:
    """Whether the ``listed`` rules, in our words, are these, as far as all versions of the library list them alike."""
    return len(rules) == len(listed) and list(map(outline, rules)) == list(map(outline, listed))


def has_addresses(rules: t.Sequence[Object], listed: t.Sequence[Object]) -> bool:
    """Whether the ``listed`` rules, which are these by :func:`is_listed`, have the same addresses and limits.

    Versions of the library list other values in words of their own. What is not understood counts as the same.
    """
    return all(
        one is None or other is None or one == other
        for pair in zip(rules, listed)
        for one, other in zip_longest(*map(_values, pair), fillvalue=())
    )


def _values(rule: Object) -> list[t.Any]:
    """Return what a rule compares addresses with, in the order of its expressions; None for what is not understood."""
    found: list[t.Any] = []
    for one in rule["expr"]:
        match = one.get("match", {})
        payload = match.get("left", {}).get("payload", {})
        family = _FAMILIES.get(payload.get("protocol"))
        if family is not None and payload.get("field") in ("saddr", "daddr") and match["op"] == "!=":
            ranges = _ranges(match["right"], family)
            found.append(None if ranges is None else (payload["protocol"], payload["field"], ranges))
        elif "limit" in one:
            found.append(one["limit"].get("rate"))
    return found


def _ranges(right: t.Any, family: int) -> list[tuple[int, int]] | None:
    """Return addresses as ranges: a set is listed in another order, and neighbours in it as one."""
    try:
        elements = right["set"] if isinstance(right, dict) and "set" in right else [right]
        ranges = sorted(_range(one, family) for one in elements)
    except (KeyError, TypeError, ValueError, OSError):
        return None
    found = ranges[:1]
    for first, last in ranges[1:]:
        if first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _range(element: t.Any, family: int) -> tuple[int, int]:
    if isinstance(element, str):
        return (_number(element, family),) * 2
    if "range" in element:
        first, last = element["range"]
        return _number(first, family), _number(last, family)
    first = _number(element["prefix"]["addr"], family)
    size = 1 << (_BITS[family] - element["prefix"]["len"])
    return first & ~(size - 1), first | (size - 1)


def _number(text: str, family: int) -> int:
    packed = socket.inet_pton(family, text) if family else bytes.fromhex(text.replace(":", ""))
    return int.from_bytes(packed, "big")


def _named(expression: Object) -> Object:
    learned = expression.get("set")
    if learned is None or learned["elem"] != TARGET:
        return expression
    return {"set": {**learned, "elem": _NAMED_TARGET}}
