# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads and edits the fields of an XML element by their table; everything that is not a field stays unchanged.

Text in, text out. expat reads it without entities, and it is edited in place: see spans.py.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import Table

# The depth of the fields below their element.
DEPTH = 2
# The start tag of an element.
_CHILD = re.compile(rb"<[^/!?]")
Path = t.Tuple[str, ...]
Values = t.Mapping[str, str]


def attributes(element: spans.Element) -> dict[Path, t.Mapping[str, str]]:
    """Return the attributes in an element by the path of their own; of several with one path, the first."""
    found: dict[Path, t.Mapping[str, str]] = {(): element.attributes}
    for child in element.children:
        found.setdefault((child.name,), child.attributes)
        for inner in child.children:
            found.setdefault((child.name, inner.name), inner.attributes)
    return found


def read(element: spans.Element, found: t.Mapping[Path, t.Mapping[str, str]], table: Table) -> dict[str, str]:
    """Return the fields of an element whose attributes are ``found``, without implied values."""
    values = {}
    for field in table.in_xml:
        attributes_there = found.get(field.element)
        value = field.read(attributes_there) if attributes_there is not None else None
        if value is not None:
            values[field.name] = value
    vlan = element.child("vlan")
    if vlan is not None and "vlan" in values and ("trunk" in vlan.attributes or len(vlan.children) > 1):
        values["vlan"] = _trunk_of(vlan)
    return values


def _trunk_of(vlan: spans.Element) -> str:
    """Return the VLAN IDs of a trunk, which no declaration can equal: ``42,47`` or ``trunk 42``."""
    tags = [tag.attributes.get("id", "") for tag in vlan.children if tag.name == "tag"]
    return ("trunk " if len(tags) == 1 else "") + ",".join(tags)


def changed(text: bytes, element: spans.Element, current: Values, desired: Values, table: Table) -> bytes:
    """Return ``text``, the ``element`` with the fields ``current``, with the fields ``desired`` instead."""
    changes: dict[Path, dict[str, str | None]] = {}
    cleared = False
    for field in table.in_xml:
        value = desired.get(field.name)
        if value != current.get(field.name):
            names = field.write(value if value is not None else current[field.name])
            changes.setdefault(field.element, {}).update(names if value is not None else dict.fromkeys(names))
            cleared = cleared or value is None
    if not changes:
        return text
    # A child that loses all its fields is removed, unless it has something else.
    kept = [field.element for field in table.in_xml if field.name in desired] if cleared else changes
    remaining = {part for path in kept for part in _prefixes(path)}
    removed = {part for path in changes for part in _prefixes(path) if part not in remaining}
    whole = table.meaningless(current, desired) if removed else set()
    vlans = current.get("vlan") or "0", desired.get("vlan") or "0"
    if vlans[0] != vlans[1] and (vlans[1] == "0" or not all(map(str.isdigit, vlans))):
        # A trunk is removed as a whole, and so is what has no tag.
        removed.add(("vlan",))
        whole.add(("vlan",))
    more = _with_more(text, element, removed, whole, table) if removed else set()
    removed -= more
    located: spans.Element | None = element
    if removed:
        text, located = spans.splice(text, _removals(text, element, removed)), None
    for path, values in changes.items():
        if path in remaining or path in more or not path:
            text, located = set_attributes(text, path, values, table, located), None
    return text


def set_attributes(
    text: bytes,
    path: Path,
    values: t.Mapping[str, str | None],
    table: Table,
    located: spans.Element | None = None,
) -> bytes:
    """Set attributes of the element at ``path``, created if missing; ``located`` is ``text``, parsed."""
    found = located or spans.locate(text, DEPTH)
    for depth, name in enumerate(path):
        inner = found.child(name)
        if inner is None:
            new_attributes = {attribute: value for attribute, value in values.items() if value is not None}
            new = tag(path[: depth + 1], {path: new_attributes})
            return spans.splice(text, [insertion(text, found, name, table, new)])
        found = inner
    opening = spans.set_attributes(spans.start_tag(text, found), values)
    return spans.splice(text, [(found.start, found.opened, opening)])


def tag(path: Path, tree: t.Mapping[Path, t.Mapping[str, str]]) -> bytes:
    """Return a whole new element with its children, in one line."""
    name = path[-1].encode()
    inner = b"".join(
        tag(below, tree)
        for below in dict.fromkeys(other[: len(path) + 1] for other in tree if len(other) > len(path))
        if below[: len(path)] == path
    )
    opening = spans.set_attributes(b"<" + name + (b">" if inner else b"/>"), tree.get(path, {}))
    return opening + inner + b"</" + name + b">" if inner else opening


def insertion(text: bytes, element: spans.Element, name: str, table: Table, new: bytes) -> tuple[int, int, bytes]:
    """Insert a new child at libvirt's position, or at the end if its position is unknown."""
    order = table.order[: table.order.index(name)] if name in table.order else None
    before = [c for c in element.children if order is None or c.name in order]
    if before:
        return before[-1].end, before[-1].end, spans.indent_of(text, before[-1]) + new
    return _inside(text, element, new)


def _inside(text: bytes, element: spans.Element, new: bytes) -> tuple[int, int, bytes]:
    """Insert a child at the beginning of an element."""
    if element.opened < element.end:
        return element.opened, element.opened, new
    opening = spans.bytes_of(text, element)
    name = element.name.encode()
    return element.start, element.end, opening[: opening.rindex(b"/")].rstrip() + b">" + new + b"</" + name + b">"


def _prefixes(path: Path) -> list[Path]:
    return [path[:length] for length in range(1, len(path) + 1)]


def _with_more(
    text: bytes, element: spans.Element, removed: t.Collection[Path], whole: t.Collection[Path], table: Table
) -> set[Path]:
    """Return which of the ``removed`` elements have something that is no field, unless they go as a ``whole``."""
    found: set[Path] = set()

    def stays(child: spans.Element, path: Path) -> bool:
        children = [stays(one, (*path, one.name)) for one in child.children]
        if path not in removed or path in whole:
            return path not in removed
        known = {field.attribute for field in table.in_xml if field.element == path}
        # What is below is not located.
        deeper = len(path) == DEPTH and _CHILD.search(text, child.opened, child.end)
        if any(children) or deeper or child.attributes.keys() - known:
            found.add(path)
        return path in found

    for child in element.children:
        stays(child, (child.name,))
    return found


def _removals(
    text: bytes, element: spans.Element, removed: t.Collection[Path], above: Path = ()
) -> t.Iterator[tuple[int, int, bytes]]:
    for child in element.children:
        path = (*above, child.name)
        if path in removed:
            yield child.start - len(spans.indent_of(text, child)), child.end, b""
        elif len(path) < DEPTH:
            yield from _removals(text, child, removed, path)
