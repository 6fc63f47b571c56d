# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What versions of the library of nftables take in different words.

It is a part of the program of loader.py, so it imports the standard library alone.
"""

from __future__ import annotations

import typing as t

Object = t.Dict[str, t.Any]
# The target of neighbour discovery: by its place in the packet, as it is stored, and by its name.
TARGET: Object = {"payload": {"base": "th", "offset": 64, "len": 128}}
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


def _named(expression: Object) -> Object:
    learned = expression.get("set")
    if learned is None or learned["elem"] != TARGET:
        return expression
    return {"set": {**learned, "elem": _NAMED_TARGET}}
