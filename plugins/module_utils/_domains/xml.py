# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A domain's XML: reading its interfaces, and changing one of them with nothing else changed.

Text in, text out; no libvirt. lxml reads what elements mean, spans.py where they lie.
"""

from __future__ import annotations

import textwrap
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

Edit = t.Tuple[t.Optional[Iface], t.Optional[Iface]]

# The element and attribute that hold each field.
_PLACES = {"source": ("source", "dev"), "mode": ("source", "mode"), "model": ("model", "type")}
# What libvirt takes a direct interface for that does not say.
_IMPLIED = {"mode": "vepa"}
# libvirt's order within <interface>; a child that is new goes behind the last of those before it.
_ORDER = ("mac", "source", "target", "model", "driver")


def interfaces(document: str) -> tuple[Iface, ...]:
    """Return the interfaces of a domain's XML, of every type, in its order.

    :raises MacvtapError: it is not the XML of a domain.
    """
    text = document.encode()
    located = _interface_elements(spans.locate(text, 2))
    etree = _deps.load("lxml", "etree").etree
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, load_dtd=False, no_network=True)
    try:
        elements = etree.fromstring(text, parser).findall("devices/interface")
    except etree.XMLSyntaxError as exc:
        raise MacvtapError(f"the XML is not well formed: {exc}") from exc
    if len(elements) != len(located):
        raise MacvtapError("the XML has its elements in a namespace, which a domain's XML does not")
    return tuple(
        _read(element, text[where.start : where.end].decode(), index)
        for index, (element, where) in enumerate(zip(elements, located))
    )


def edit(document: str, edits: t.Sequence[Edit]) -> str:
    """Return ``document`` with each (before, after) of ``edits`` done: changed, removed (after is None) or added.

    An element that is added goes to its ``index`` among the interfaces, or behind the last of them.

    :raises MacvtapError: an element that is to be changed or removed is not as ``before`` says.
    """
    text = document.encode()
    root = spans.locate(text, 2)
    located = _interface_elements(root)
    splices = []
    for before, after in edits:
        if before is None:
            if after is not None:
                splices.append(_insertion(text, root, located, after))
            continue
        where = next((e for e in located if text[e.start : e.end].decode() == before.xml), None)
        if where is None:
            raise MacvtapError(
                f"the stored configuration of interface {before.mac} changed while this ran. "
                "Somebody else is editing the domain: run again"
            )
        if after is None:
            splices.append((where.start - len(spans.indent_of(text, where)), where.end, b""))
        else:
            splices.append((where.start, where.end, render(after).encode()))
    return spans.splice(text, splices).decode()


def render(iface: Iface) -> str:
    """Return the element's text: ``iface.xml`` with only what ``iface`` has otherwise changed in it."""
    if not iface.xml:
        return _new(iface)
    text = iface.xml.encode()
    element = spans.locate(text, 1)
    values: dict[str, dict[str, str]] = {}
    for field, (child, attribute) in _PLACES.items():
        value = getattr(iface, field)
        found = element.child(child)
        if value not in (None, (found.attributes if found else {}).get(attribute, _IMPLIED.get(field))):
            values.setdefault(child, {})[attribute] = value
    return spans.splice(text, [_child_splice(text, element, child, new) for child, new in values.items()]).decode()


def pluggable(iface: Iface, *, address: bool = True) -> str:
    """Return the element as it can be plugged into a running guest.

    Without the names that libvirt gave to this NIC when it ran before: another may have them by now, and
    libvirt 9.0 then fails with "File exists" and deletes that other NIC's link. With ``address`` false
    libvirt is left to choose the slot.
    """
    text = render(iface).encode()
    element = spans.locate(text, 1)
    names = set()
    if iface.target and iface.target.startswith(("macvtap", "vnet")):
        names.add("target")
    if iface.alias and not iface.alias.startswith("ua-"):
        names.add("alias")
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


def _read(element: t.Any, text: str, index: int) -> Iface:
    def attribute(child: str, name: str) -> str | None:
        found = element.find(child)
        return None if found is None else found.get(name)

    kind = element.get("type", "")
    return Iface(
        mac=(attribute("mac", "address") or "").lower(),
        type=kind,
        source=attribute("source", "dev"),
        mode=attribute("source", "mode") or (_IMPLIED["mode"] if kind == "direct" else None),
        model=attribute("model", "type"),
        target=attribute("target", "dev"),
        alias=attribute("alias", "name"),
        xml=text,
        index=index,
    )


def _interface_elements(root: spans.Element) -> list[spans.Element]:
    if root.name != "domain":
        raise MacvtapError(f"the XML is not that of a domain: its root is <{root.name}>")
    return [
        e for devices in root.children if devices.name == "devices" for e in devices.children if e.name == "interface"
    ]


def _new(iface: Iface) -> str:
    lines = ["<interface type='direct'>"]
    tags = {"mac": spans.set_attributes(b"<mac/>", {"address": iface.mac})}
    for field, (child, attribute) in _PLACES.items():
        value = getattr(iface, field)
        if value is not None:
            tags[child] = spans.set_attributes(tags.get(child, f"<{child}/>".encode()), {attribute: value})
    lines += [f"  {tags[name].decode()}" for name in _ORDER if name in tags]
    return "\n".join([*lines, "</interface>"])


def _insertion(
    text: bytes, root: spans.Element, located: t.Sequence[spans.Element], iface: Iface
) -> tuple[int, int, bytes]:
    new = render(iface).encode()
    if iface.index is not None and iface.index < len(located):
        where = located[iface.index]
        indent = spans.indent_of(text, where)
        return where.start, where.start, _shifted(new, indent, iface) + indent
    if located:
        indent = spans.indent_of(text, located[-1])
        return located[-1].end, located[-1].end, indent + _shifted(new, indent, iface)
    devices = root.child("devices")
    if devices is None:
        raise MacvtapError("the domain's XML has no <devices>")
    outer = spans.indent_of(text, devices)
    indent = outer + b"  " if outer else b""
    new = indent + _shifted(new, indent, iface)
    if devices.end == devices.opened:
        tag = text[devices.start : devices.end]
        return devices.start, devices.end, tag[: tag.rindex(b"/")].rstrip() + b">" + new + outer + b"</devices>"
    close = text.rindex(b"</", 0, devices.end)
    at = close - len(spans.indent_of(text, spans.Element("", close)))
    return at, at, new


def _shifted(element: bytes, indent: bytes, iface: Iface) -> bytes:
    # An element that was in the document before has its own indentation already.
    return element if iface.xml else element.replace(b"\n", indent or b"\n")


def _child_splice(
    text: bytes, element: spans.Element, name: str, values: t.Mapping[str, str]
) -> tuple[int, int, bytes]:
    child = element.child(name)
    if child is not None:
        return child.start, child.opened, spans.set_attributes(text[child.start : child.opened], values)
    tag = spans.set_attributes(f"<{name}/>".encode(), values)
    before = [c for c in element.children if c.name in _ORDER[: _ORDER.index(name)]]
    if before:
        return before[-1].end, before[-1].end, spans.indent_of(text, before[-1]) + tag
    if element.opened < element.end:
        return element.opened, element.opened, tag
    opening = text[element.start : element.end]
    return element.start, element.end, opening[: opening.rindex(b"/")].rstrip() + b">" + tag + b"</interface>"
