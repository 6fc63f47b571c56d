# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads and renders one ``<interface>`` element; everything that is not a field stays unchanged.

Text in, text out. expat reads it without entities, and it is edited in place: see spans.py.
"""

from __future__ import annotations

import functools
import textwrap
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface

# libvirt's order within <interface>. A new child goes behind the last of its predecessors.
_ORDER = (
    "mac",
    "source",
    "virtualport",
    "vlan",
    "bandwidth",
    "target",
    "model",
    "driver",
    "link",
    "boot",
    "alias",
    "rom",
    "acpi",
    "address",
)
# Children of other interface types that type direct does not support, or does not use.
_FOREIGN = (
    *("vlan", "virtualport", "filterref", "mtu", "port", "coalesce", "script", "downscript", "ip", "route", "guest"),
    *("backend", "backenddomain", "portForward"),
)
# Children that belong to a host device: its own driver, and its part in a teaming pair.
_FOREIGN_OF = {"hostdev": ("driver", "teaming")}
# The depth of the fields below <interface>.
_DEPTH = 2
_Element = t.Tuple[str, ...]


def read(text: str, index: int | None = None) -> Iface:
    """Parse an element; ``index`` is its position among the interfaces of its domain."""
    iface = _located(text)[1]
    return iface if index is None else replace(iface, index=index)


@functools.lru_cache(maxsize=1024)
def _located(text: str) -> tuple[spans.Element, Iface]:
    """Return an element, parsed; it is read first, and rendered later."""
    element = spans.locate(text.encode(), _DEPTH)
    return element, _parse(element, text)


def _parse(element: spans.Element, text: str) -> Iface:
    found: dict[_Element, t.Mapping[str, str]] = {(): element.attributes}
    for child in element.children:
        found.setdefault((child.name,), child.attributes)
        for inner in child.children:
            found.setdefault((child.name, inner.name), inner.attributes)
    source = found.get(("source",), {})
    kind, network = element.attributes.get("type", ""), source.get("network")
    if network is not None and kind != "network":
        # A running NIC of a libvirt network also shows what the network assigned, such as a link in mode bridge. Its
        # type is network all the same.
        kind = "network"
        for element_path in (("source",), ("virtualport",), ("virtualport", "parameters"), ("vlan", "tag")):
            found.pop(element_path, None)
    values = {}
    for field in fields.IN_XML:
        attributes = found.get(field.element)
        value = field.read(attributes) if attributes is not None else None
        if value is None and (kind == "direct" or field.name != "mode"):
            value = field.implied
        if value is not None:
            values[field.name] = value
    vlan = element.child("vlan")
    if vlan is not None and ("vlan" in values) and ("trunk" in vlan.attributes or len(vlan.children) > 1):
        values["vlan"] = _trunk_of(vlan)
    return Iface(
        mac=found.get(("mac",), {}).get("address", "").lower(),
        type=kind,
        values=values,
        origin=None if kind == "direct" else network or source.get("bridge") or source.get("dev"),
        xml=text,
    )


def _trunk_of(vlan: spans.Element) -> str:
    """Return the VLAN IDs of a trunk, which no declaration can equal: ``42,47`` or ``trunk 42``."""
    tags = [tag.attributes.get("id", "") for tag in vlan.children if tag.name == "tag"]
    return ("trunk " if len(tags) == 1 else "") + ",".join(tags)


def render(iface: Iface) -> str:
    """Return the element's text: ``iface.xml``, changed only where ``iface`` differs from it."""
    if not iface.xml:
        return _new(iface)
    text = iface.xml.encode()
    element, current = _located(iface.xml)
    if current.type != iface.type:
        return _converted(text, element, iface)
    changes: dict[_Element, dict[str, str | None]] = {}
    cleared = False
    for field in fields.IN_XML:
        value = iface.get(field.name)
        if value != current.get(field.name):
            names = field.write(value if value is not None else current.values[field.name])
            changes.setdefault(field.element, {}).update(names if value is not None else dict.fromkeys(names))
            cleared = cleared or value is None
    if not changes:
        return iface.xml
    # A child that loses all its fields is removed, with everything else in it.
    kept = [f.element for f in fields.IN_XML if f.name in iface.values] if cleared else changes
    remaining = {part for path in kept for part in _prefixes(path)}
    removed = {part for path in changes for part in _prefixes(path) if part not in remaining}
    if any(not (one.get("vlan") or "0").isdigit() for one in (current, iface)) and current.get("vlan") != iface.get(
        "vlan"
    ):
        # A trunk is removed as a whole.
        removed.add(("vlan",))
    located: spans.Element | None = element
    if removed:
        text, located = spans.splice(text, _removals(text, element, removed)), None
    for path, values in changes.items():
        if path in remaining or not path:
            text, located = _set(text, path, values, located), None
    return text.decode()


def same(one: Iface | None, other: Iface | None) -> bool:
    """Whether libvirt would see no difference."""
    if one is None or other is None:
        return one is other
    equal = all(one.get(field.name) == other.get(field.name) for field in fields.IN_XML)
    return equal and (one.mac, one.type, one.xml) == (other.mac, other.type, other.xml)


def for_hotplug(iface: Iface, *, address: bool = True) -> str:
    """Return the element as it can be attached to a running guest.

    It omits names that libvirt generated in an earlier run. Another NIC may have them by now: libvirt 9.0 then fails
    with "File exists" and deletes that NIC's link. With ``address`` false libvirt chooses the slot.
    """
    text = render(iface).encode()
    element = spans.locate(text, 1)
    names = {name for name in fields.GENERATED_PREFIXES if fields.is_libvirts(name, iface.get(name) or "")}
    if not address:
        names.add("address")
    removed = [child for child in element.children if child.name in names]
    return spans.splice(
        text, [(child.start - len(spans.indent_of(text, child)), child.end, b"") for child in removed]
    ).decode()


def view(iface: Iface | None) -> str:
    """Return the element for display, without indentation; "" for None."""
    if iface is None:
        return ""
    text = render(iface)
    last = text.rsplit("\n", 1)[-1]
    return textwrap.dedent(last[: len(last) - len(last.lstrip())] + text)


def lost_by_conversion(iface: Iface) -> list[str]:
    """Return the names of the elements that an interface loses when it is converted to type direct."""
    element = spans.locate(iface.xml.encode(), _DEPTH)
    foreign = _foreign(element)
    lost = [child.name for child in element.children if child.name in foreign]
    limits = [inner for child in element.children if child.name == "bandwidth" for inner in child.children]
    return list(dict.fromkeys([*lost, *("bandwidth floor" for inner in limits if "floor" in inner.attributes)]))


def _foreign(element: spans.Element) -> tuple[str, ...]:
    return (*_FOREIGN, *_FOREIGN_OF.get(element.attributes.get("type", ""), ()))


def _new(iface: Iface) -> str:
    tree: dict[_Element, dict[str, str]] = {("mac",): {"address": iface.mac}}
    own: dict[str, str] = {"type": iface.type}
    for field in fields.IN_XML:
        value = iface.get(field.name)
        if value is None or (value == field.implied and field.name != "mode"):
            continue
        (tree.setdefault(field.element, {}) if field.element else own).update(field.write(value))
    opening = spans.set_attributes(b"<interface>", own).decode()
    lines = [f"  {_tag((name,), tree).decode()}" for name in _ORDER if any(path[0] == name for path in tree)]
    return "\n".join([opening, *lines, "</interface>"])


def _tag(path: _Element, tree: t.Mapping[_Element, t.Mapping[str, str]]) -> bytes:
    """Return a whole new element with its children, in one line."""
    name = path[-1].encode()
    inner = b"".join(
        _tag(below, tree)
        for below in dict.fromkeys(other[: len(path) + 1] for other in tree if len(other) > len(path))
        if below[: len(path)] == path
    )
    opening = spans.set_attributes(b"<" + name + (b">" if inner else b"/>"), tree.get(path, {}))
    return opening + inner + b"</" + name + b">" if inner else opening


def _prefixes(path: _Element) -> list[_Element]:
    return [path[:length] for length in range(1, len(path) + 1)]


def _removals(
    text: bytes, element: spans.Element, removed: t.Collection[_Element], above: _Element = ()
) -> t.Iterator[tuple[int, int, bytes]]:
    for child in element.children:
        path = (*above, child.name)
        if path in removed:
            yield child.start - len(spans.indent_of(text, child)), child.end, b""
        elif len(path) < _DEPTH:
            yield from _removals(text, child, removed, path)


def _set(
    text: bytes, path: _Element, values: t.Mapping[str, str | None], located: spans.Element | None = None
) -> bytes:
    """Set attributes of the element at ``path``, created if missing; ``located`` is ``text``, parsed."""
    found = located or spans.locate(text, _DEPTH)
    for depth, name in enumerate(path):
        inner = found.child(name)
        if inner is None:
            new_attributes = {attribute: value for attribute, value in values.items() if value is not None}
            return spans.splice(text, [_child(text, found, name, _tag(path[: depth + 1], {path: new_attributes}))])
        found = inner
    tag = spans.set_attributes(text[found.start : found.opened], values)
    return spans.splice(text, [(found.start, found.opened, tag)])


def _child(text: bytes, element: spans.Element, name: str, new: bytes) -> tuple[int, int, bytes]:
    """Insert a new child at libvirt's position, or at the end if its position is unknown."""
    order = _ORDER[: _ORDER.index(name)] if name in _ORDER else None
    before = [c for c in element.children if order is None or c.name in order]
    if before:
        return before[-1].end, before[-1].end, spans.indent_of(text, before[-1]) + new
    return _inside(text, element, new)


def _inside(text: bytes, element: spans.Element, new: bytes) -> tuple[int, int, bytes]:
    """Insert a child at the beginning of an element."""
    if element.opened < element.end:
        return element.opened, element.opened, new
    opening = text[element.start : element.end]
    name = element.name.encode()
    return element.start, element.end, opening[: opening.rindex(b"/")].rstrip() + b">" + new + b"</" + name + b">"


def _converted(text: bytes, element: spans.Element, iface: Iface) -> str:
    """Return the element converted to another type, without what only the old type has."""
    foreign = _foreign(element)
    edits = [
        (child.start - len(spans.indent_of(text, child)), child.end, b"")
        for child in element.children
        if child.name in foreign
    ]
    for child in element.children:
        if child.name == "bandwidth":
            edits += _without_floor(text, child)
        if child.name == "target":
            # managed is whether libvirt creates the link. For type direct it always does.
            tag = spans.set_attributes(text[child.start : child.opened], {"managed": None})
            edits.append((child.start, child.opened, tag))
    old = element.child("source")
    if old is not None:
        edits.append((old.start, old.end, b"<source/>"))
    text = _set(spans.splice(text, edits), (), {"type": iface.type, "managed": None})
    text = _set(text, ("source",), {"dev": iface.get("source") or "", "mode": iface.get("mode") or ""})
    # The other declared fields are set in the converted element.
    return render(Iface(iface.mac, iface.type, iface.values, None, text.decode()))


def _without_floor(text: bytes, bandwidth: spans.Element) -> list[tuple[int, int, bytes]]:
    """Remove floors, which only libvirt networks support, and elements that have nothing else."""
    only = [inner for inner in bandwidth.children if inner.attributes.keys() == {"floor"}]
    if only == bandwidth.children:
        only = [bandwidth] if only else []
    return [
        *((removed.start - len(spans.indent_of(text, removed)), removed.end, b"") for removed in only),
        *(
            (inner.start, inner.opened, spans.set_attributes(text[inner.start : inner.opened], {"floor": None}))
            for inner in bandwidth.children
            if inner.attributes.keys() != {"floor"}
        ),
    ]
