# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Describes what a pattern of a RELAX NG schema allows. Pure."""

from __future__ import annotations

import re
import typing as t

NS = "{http://relaxng.org/ns/structure/1.0}"
Defines = t.Mapping[str, t.Sequence[t.Any]]

_LONGEST = 60
# Descriptions of named patterns in libvirt's schema, where a regular expression explains nothing.
_NAMED = {
    "uniMacAddr": "a unicast MAC address such as 52:54:00:10:00:01",
    "deviceName": "the name of a link",
    "UUID": "a UUID",
    "absFilePath": "an absolute path",
    "filePath": "a path",
    "aliasName": "a name of letters, digits and _ - .",
    "positiveInteger": "a whole number from 1",
    "ipAddr": "an IP address",
    "ipv4Addr": "an IPv4 address",
    "ipv6Addr": "an IPv6 address",
}
_NUMBERS = {
    "positiveInteger": 1,
    "unsignedInt": 0,
    "unsignedLong": 0,
    "unsignedShort": 0,
    "int": None,
    "integer": None,
    "long": None,
    "short": None,
}


def kind_of(pattern: t.Any) -> str:
    return str(pattern.tag).rpartition("}")[2]


def name_of(pattern: t.Any) -> str:
    return str(pattern.get("name") or pattern.findtext(f"{NS}name") or "")


def children(pattern: t.Any) -> list[t.Any]:
    return [one for one in pattern if isinstance(one.tag, str) and one.tag != f"{NS}name"]


def label(element: t.Any, path: t.Sequence[str], attribute: str | None = None) -> str:
    """Return the element's place in an ``<interface>``, with the attribute in question."""
    outer = "".join(f"<{_plain(name)}>" for name in path[1:])
    attribute_text = f" {_plain(attribute)}={short(element.get(attribute))}" if attribute is not None else ""
    return f"{outer}<{_plain(element.tag)}{attribute_text}>"


def short(text: str) -> str:
    """Quote ``text``, or the beginning of it."""
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def either(texts: t.Iterable[str]) -> str:
    """Join the allowed values to a text."""
    unique = list(dict.fromkeys(texts))
    if all(" " not in word for word in unique) and len(unique) > 1:
        return f"one of {', '.join(unique)}"
    return " or ".join(unique)


def values(pattern: t.Any, defines: Defines) -> list[str]:
    """Return the values that an attribute's pattern lists, [] if it does not list them."""
    found: list[str] = []
    for one in children(pattern):
        kind = kind_of(one)
        listed = re.fullmatch(r"\(?((?:[\w.-]+\|)+[\w.-]+)\)?", one.findtext(f"{NS}param") or "")
        if kind == "value":
            allowed = [one.text or ""]
        elif kind == "choice":
            allowed = values(one, defines)
        elif kind == "ref":
            allowed = [value for define in defines.get(one.get("name"), ()) for value in values(define, defines)]
        else:
            allowed = listed[1].split("|") if kind == "data" and listed else []
        if not allowed:
            return []
        found += allowed
    return found


def describe(pattern: t.Any, defines: Defines) -> str:
    """Describe what ``pattern`` of an attribute or a text accepts."""
    kind = kind_of(pattern)
    if kind == "value":
        return pattern.text or "empty"
    if kind == "data":
        return _data(pattern)
    if kind == "ref" and pattern.get("name") in _NAMED:
        return _NAMED[pattern.get("name")]
    listed = values(pattern, defines)
    if listed:
        return either(listed)
    inner = defines.get(pattern.get("name"), ()) if kind == "ref" else children(pattern)
    return either(describe(one, defines) for one in inner) or "empty"


def _data(pattern: t.Any) -> str:
    params = {one.get("name"): one.text or "" for one in pattern.iterchildren(f"{NS}param")}
    kind = pattern.get("type")
    if kind in _NUMBERS:
        least, most = params.get("minInclusive", _NUMBERS[kind]), params.get("maxInclusive")
        return (
            "a whole number"
            + (f" from {least}" if least is not None else "")
            + (f" to {most}" if most is not None else "")
        )
    if re.match(r"\(?0x", params.get("pattern", "")):
        return "a hexadecimal number (0x…)"
    if "pattern" in params:
        return f"of the form {params['pattern']}"
    if "maxLength" in params:
        return f"a text of up to {params['maxLength']} characters"
    return f"a {kind}"


def _plain(name: str) -> str:
    """Return a name without its namespace."""
    return str(name).rpartition("}")[2]
