# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One ``<interface>`` element: reading it, and writing it with nothing else in it changed.

Text in, text out. Read by expat with no entities, and changed in place: see spans.py.
"""

from __future__ import annotations

import textwrap
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface

# libvirt's order within <interface>; a child that is new goes behind the last of those before it.
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
# What an interface of another type has that one of type direct cannot have, or has no use for.
_FOREIGN = (
    *("vlan", "virtualport", "filterref", "mtu", "port", "coalesce", "script", "downscript", "ip", "route", "guest"),
    *("backend", "backenddomain", "portForward"),
)
# What binds a device of the host: a driver of its own, and its part in a pair.
_FOREIGN_OF = {"hostdev": ("driver", "teaming")}
# How deep below <interface> its fields are.
_DEPTH = 2
_Element = t.Tuple[str, ...]


def read(text: str, index: int | None = None) -> Iface:
    """Return what the element says; ``index`` is its place among the interfaces of its domain."""
    return _said(spans.locate(text.encode(), _DEPTH), text, index)


def _said(element: spans.Element, text: str, index: int | None = None) -> Iface:
    found: dict[_Element, t.Mapping[str, str]] = {(): element.attributes}
    for child in element.children:
        found.setdefault((child.name,), child.attributes)
        for inner in child.children:
            found.setdefault((child.name, inner.name), inner.attributes)
    source = found.get(("source",), {})
    kind, network = element.attributes.get("type", ""), source.get("network")
    if network is not None and kind != "network":
        # libvirt shows what a running NIC of a network has got of it, such as a link in mode bridge. It is the
        # network's all the same.
        kind = "network"
        for lent in (("source",), ("virtualport",), ("virtualport", "parameters"), ("vlan", "tag")):
            found.pop(lent, None)
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
        index=index,
    )


def _trunk_of(vlan: spans.Element) -> str:
    """Return the numbers of several VLANs, of which no declaration asks for all: ``42,47``, or ``trunk 42``."""
    tags = [tag.attributes.get("id", "") for tag in vlan.children if tag.name == "tag"]
    return ("trunk " if len(tags) == 1 else "") + ",".join(tags)


def render(iface: Iface) -> str:
    """Return the element's text: ``iface.xml`` with only what ``iface`` has otherwise changed in it."""
    if not iface.xml:
        return _new(iface)
    text = iface.xml.encode()
    element = spans.locate(text, _DEPTH)
    was = _said(element, iface.xml)
    if was.type != iface.type:
        return _converted(text, element, iface)
    wanted: dict[_Element, dict[str, str | None]] = {}
    for field in fields.IN_XML:
        value = iface.get(field.name)
        if value != was.get(field.name):
            names = field.write(value if value is not None else was.values[field.name])
            wanted.setdefault(field.element, {}).update(names if value is not None else dict.fromkeys(names))
    if not wanted:
        return iface.xml
    # An element that loses all its fields goes, with whatever else is in it.
    kept = {part for f in fields.IN_XML if f.name in iface.values for part in _prefixes(f.element)}
    gone = {part for path in wanted for part in _prefixes(path) if part not in kept}
    if any(not (one.get("vlan") or "0").isdigit() for one in (was, iface)) and was.get("vlan") != iface.get("vlan"):
        # A trunk is not one of its tags.
        gone.add(("vlan",))
    located: spans.Element | None = element
    if gone:
        text, located = spans.splice(text, _removals(text, element, gone)), None
    for path, values in wanted.items():
        if path in kept or not path:
            text, located = _set(text, path, values, located), None
    return text.decode()


def same(one: Iface | None, other: Iface | None) -> bool:
    """Whether libvirt would see no difference."""
    if one is None or other is None:
        return one is other
    alike = all(one.get(field.name) == other.get(field.name) for field in fields.IN_XML)
    return alike and (one.mac, one.type, one.xml) == (other.mac, other.type, other.xml)


def pluggable(iface: Iface, *, address: bool = True) -> str:
    """Return the element as it can be plugged into a running guest.

    Without the names that libvirt gave to this NIC when it ran before: another may have them by now, and
    libvirt 9.0 then fails with "File exists" and deletes that other NIC's link. With ``address`` false
    libvirt is left to choose the slot.
    """
    text = render(iface).encode()
    element = spans.locate(text, 1)
    names = {name for name in fields.NAMED_BY_LIBVIRT if fields.is_libvirts(name, iface.get(name) or "")}
    if not address:
        names.add("address")
    gone = [child for child in element.children if child.name in names]
    return spans.splice(
        text, [(child.start - len(spans.indent_of(text, child)), child.end, b"") for child in gone]
    ).decode()


def view(iface: Iface | None) -> str:
    """Return the element for people to read: from the left margin, "" for None."""
    if iface is None:
        return ""
    text = render(iface)
    last = text.rsplit("\n", 1)[-1]
    return textwrap.dedent(last[: len(last) - len(last.lstrip())] + text)


def lost_by_conversion(iface: Iface) -> list[str]:
    """Return the names of the elements that an interface loses when it becomes one of type direct."""
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
    text: bytes, element: spans.Element, gone: t.Collection[_Element], above: _Element = ()
) -> t.Iterator[tuple[int, int, bytes]]:
    for child in element.children:
        path = (*above, child.name)
        if path in gone:
            yield child.start - len(spans.indent_of(text, child)), child.end, b""
        elif len(path) < _DEPTH:
            yield from _removals(text, child, gone, path)


def _set(
    text: bytes, path: _Element, values: t.Mapping[str, str | None], located: spans.Element | None = None
) -> bytes:
    """Set attributes of the element at ``path``, which is made where it is missing; ``located`` is what ``text`` is."""
    found = located or spans.locate(text, _DEPTH)
    for depth, name in enumerate(path):
        inner = found.child(name)
        if inner is None:
            said = {attribute: value for attribute, value in values.items() if value is not None}
            return spans.splice(text, [_child(text, found, name, _tag(path[: depth + 1], {path: said}))])
        found = inner
    tag = spans.set_attributes(text[found.start : found.opened], values)
    return spans.splice(text, [(found.start, found.opened, tag)])


def _child(text: bytes, element: spans.Element, name: str, new: bytes) -> tuple[int, int, bytes]:
    """Put a new child where libvirt has it, or behind those that this knows nothing of."""
    order = _ORDER[: _ORDER.index(name)] if name in _ORDER else None
    before = [c for c in element.children if order is None or c.name in order]
    if before:
        return before[-1].end, before[-1].end, spans.indent_of(text, before[-1]) + new
    return _inside(text, element, new)


def _inside(text: bytes, element: spans.Element, new: bytes) -> tuple[int, int, bytes]:
    """Put something into an element at its beginning."""
    if element.opened < element.end:
        return element.opened, element.opened, new
    opening = text[element.start : element.end]
    name = element.name.encode()
    return element.start, element.end, opening[: opening.rindex(b"/")].rstrip() + b">" + new + b"</" + name + b">"


def _converted(text: bytes, element: spans.Element, iface: Iface) -> str:
    """Return the element as one of another type, with what only the old type has taken out."""
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
            # Whether libvirt or somebody else makes the link: of one of type direct it is always libvirt.
            tag = spans.set_attributes(text[child.start : child.opened], {"managed": None})
            edits.append((child.start, child.opened, tag))
    old = element.child("source")
    if old is not None:
        edits.append((old.start, old.end, b"<source/>"))
    text = _set(spans.splice(text, edits), (), {"type": iface.type, "managed": None})
    text = _set(text, ("source",), {"dev": iface.get("source") or "", "mode": iface.get("mode") or ""})
    # What else was declared is set in the element that it has become.
    return render(Iface(iface.mac, iface.type, iface.values, None, text.decode()))


def _without_floor(text: bytes, bandwidth: spans.Element) -> list[tuple[int, int, bytes]]:
    """Take out the floors, which only the bridge of a libvirt network has, and with them what was only a floor."""
    only = [inner for inner in bandwidth.children if inner.attributes.keys() == {"floor"}]
    if only == bandwidth.children:
        only = [bandwidth] if only else []
    return [
        *((gone.start - len(spans.indent_of(text, gone)), gone.end, b"") for gone in only),
        *(
            (inner.start, inner.opened, spans.set_attributes(text[inner.start : inner.opened], {"floor": None}))
            for inner in bandwidth.children
            if inner.attributes.keys() != {"floor"}
        ),
    ]
