# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Edits a network's XML, and writes that of a new one. Everything else in it stays as it is, to the byte. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import markup, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK, PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Portgroup


def new(name: str, uuid: str, definition: Definition) -> str:
    """Return the XML of a new network."""
    lines = [f"<name>{spans.escaped(name)}</name>", f"<uuid>{uuid}</uuid>", "<forward/>"]
    return edited("\n".join(["<network>", *(f"  {line}" for line in lines), "</network>\n"]), definition)


def edited(document: str, desired: Definition) -> str:
    """Return the XML of a direct network with what is ``desired``; portgroups that are not in there are removed."""
    current = xml.read(document)
    text = document.encode()
    for name in {one.name for one in current.portgroups} - {one.name for one in desired.portgroups}:
        text = _without(text, _portgroup_in(text, name))
    for portgroup in desired.portgroups:
        text = _with_portgroup(text, portgroup)
    text = _with_fields(text, desired)
    return _with_interfaces(text, desired.interfaces).decode()


def portgroup_element(portgroup: Portgroup) -> str:
    """Return the text of a portgroup's element; its ``xml``, changed only where the portgroup differs from it."""
    text = portgroup.xml or spans.set_attributes(b"<portgroup/>", {"name": portgroup.name}).decode()
    own = text.encode()
    element = spans.locate(own, markup.DEPTH)
    current = markup.read(element, markup.attributes(element), PORTGROUP)
    values = {**portgroup.values, **({"default": "yes"} if portgroup.default else {})}
    if not portgroup.default and current.get("default") == "no":
        values["default"] = "no"
    return markup.changed(own, element, current, values, PORTGROUP).decode()


def _root(text: bytes) -> spans.Element:
    return spans.locate(text, markup.DEPTH)


def _with_fields(text: bytes, desired: Definition) -> bytes:
    root = _root(text)
    current = markup.read(root, markup.attributes(root), NETWORK)
    values = {**desired.values, "mode": desired.mode, **({"pf": desired.pf} if desired.pf else {})}
    return markup.changed(text, root, current, values, NETWORK)


def _with_interfaces(text: bytes, devices: t.Sequence[str]) -> bytes:
    """Return ``text`` with these uplinks, in this order. The element of one that stays is kept."""
    root = _root(text)
    forward = root.child("forward")
    if forward is None:
        raise ValueError("a direct network has a <forward>")
    slots = [one for one in forward.children if one.name == "interface"]
    own = {one.attributes.get("dev", ""): spans.bytes_of(text, one) for one in slots}
    # libvirt's dev is the first uplink. It may be the only word of it.
    first = devices[0] if devices and "dev" in forward.attributes else None
    if not slots and first is not None and len(devices) == 1:
        return markup.set_attributes(text, ("forward",), {"dev": first}, NETWORK, root)
    elements = [own.get(device) or spans.set_attributes(b"<interface/>", {"dev": device}) for device in devices]
    both = min(len(slots), len(elements))
    pairs = zip(slots, elements)
    edits = [(slot.start, slot.end, new) for slot, new in pairs if spans.bytes_of(text, slot) != new]
    edits += [(one.start - len(spans.indent_of(text, one)), one.end, b"") for one in slots[both:]]
    text = spans.splice(text, edits)
    for element in elements[both:]:
        text = _with_child(text, element)
    if "dev" in forward.attributes and forward.attributes["dev"] != first:
        text = markup.set_attributes(text, ("forward",), {"dev": first}, NETWORK)
    return text


def _with_child(text: bytes, element: bytes) -> bytes:
    """Return ``text`` with another last child of <forward>."""
    forward = _root(text).child("forward")
    if forward is None:
        raise ValueError("a direct network has a <forward>")
    if forward.children:
        last = forward.children[-1]
        return spans.splice(text, [(last.end, last.end, spans.indent_of(text, last) + element)])
    outer = spans.indent_of(text, forward)
    inner = (outer + b"  " if outer else b"") + element + outer
    opening = spans.start_tag(text, forward)
    if opening.endswith(b"/>"):
        opening = opening[:-2].rstrip() + b">"
    return spans.splice(text, [(forward.start, forward.end, opening + inner + b"</forward>")])


def _portgroup_in(text: bytes, name: str) -> spans.Element | None:
    found = (one for one in _root(text).children if one.name == "portgroup" and one.attributes.get("name") == name)
    return next(found, None)


def _without(text: bytes, element: spans.Element | None) -> bytes:
    if element is None:
        return text
    return spans.splice(text, [(element.start - len(spans.indent_of(text, element)), element.end, b"")])


def _with_portgroup(text: bytes, portgroup: Portgroup) -> bytes:
    element = portgroup_element(portgroup).encode()
    there = _portgroup_in(text, portgroup.name)
    if there is not None:
        return spans.splice(text, [(there.start, there.end, element)])
    # Portgroups are the last in libvirt's order.
    return spans.splice(text, [markup.insertion(text, _root(text), "", NETWORK, element)])
