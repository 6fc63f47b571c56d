# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads and renders one ``<interface>`` element; everything that is not a field stays unchanged.

Text in, text out. expat reads it without entities, and it is edited in place: see spans.py.
"""

from __future__ import annotations

import functools
import re
import textwrap
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import markup, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import with_values

_MAC = re.compile(r"<mac address='([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})'")
# As long as any other.
_ANY_MAC = "xx:xx:xx:xx:xx:xx"
# Children of other interface types that type direct does not support, or does not use.
_FOREIGN = (
    *("vlan", "virtualport", "filterref", "mtu", "port", "coalesce", "script", "downscript", "ip", "route", "guest"),
    *("backend", "backenddomain", "portForward"),
)
# Children that belong to a host device: its own driver, and its part in a teaming pair.
_FOREIGN_OF = {"hostdev": ("driver", "teaming")}


def read(text: str, index: int | None = None) -> Iface:
    """Parse an element; ``index`` is its position among the interfaces of its domain."""
    iface = _located(text)[1]
    return iface if index is None else with_values(iface, index=index)


def _located(text: str) -> tuple[spans.Element, Iface]:
    """Return where an element's parts are in its text, and what they say."""
    # The interfaces of a host mostly differ in their addresses alone.
    mac = _MAC.search(text)
    if mac:
        element, iface = _parsed(f"{text[: mac.start(1)]}{_ANY_MAC}{text[mac.end(1) :]}")
        # It may have been in a comment.
        if iface.mac == _ANY_MAC:
            return element, with_values(iface, mac=mac[1].lower(), xml=text)
    return _parsed(text)


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[spans.Element, Iface]:
    """Return an element, parsed; it is read first, and rendered later."""
    element = spans.locate(text.encode(), markup.DEPTH)
    return element, _parse(element, text)


def _parse(element: spans.Element, text: str) -> Iface:
    found = markup.attributes(element)
    source = found.get(("source",), {})
    kind, network = element.attributes.get("type", ""), source.get("network")
    if network is None:
        found[("source",)] = {name: value for name, value in source.items() if name != "portgroup"}
    elif kind != "direct":
        # A running NIC of a libvirt network also shows what the network assigned, such as a bridge. Its type is
        # network all the same. On a direct network it is of type direct, like the link that it has.
        found[("source",)] = {name: source[name] for name in fields.OF_NETWORK if name in source}
        if kind != "network":
            for element_path in (("virtualport",), ("virtualport", "parameters"), ("vlan", "tag")):
                found.pop(element_path, None)
        kind = "network"
    # A network sets them, if the interface does not.
    left_out = {"trust_guest_rx_filters", "mode"} if network is not None else {"mode"} - {kind == "direct" and "mode"}
    implied = (f for f in fields.IN_XML if f.implied is not None and f.name not in left_out)
    values = {**{field.name: field.implied or "" for field in implied}, **markup.read(element, found, fields.TABLE)}
    return Iface(
        mac=found.get(("mac",), {}).get("address", "").lower(),
        type=kind,
        values=values,
        origin=None if kind == "direct" else network or source.get("bridge") or source.get("dev"),
        xml=text,
    )


def render(iface: Iface) -> str:
    """Return the element's text: ``iface.xml``, changed only where ``iface`` differs from it."""
    if not iface.xml:
        return _new(iface)
    text = iface.xml.encode()
    element, current = _located(iface.xml)
    if iface.type == "direct" and element.attributes.get("type") != xml_type(iface):
        return _converted(text, element, iface)
    return markup.changed(text, element, current.values, iface.values, fields.TABLE).decode()


def xml_type(iface: Iface) -> str:
    """Return the type that libvirt stores: a NIC on a direct network is of type network there."""
    return "network" if iface.type == "direct" and iface.get("network") is not None else iface.type


def for_update(iface: Iface) -> str:
    """Return the text of a running guest's interface with other values, of the type that libvirt shows."""
    element, current = _located(iface.xml)
    return markup.changed(iface.xml.encode(), element, current.values, iface.values, fields.TABLE).decode()


def same(one: Iface | None, other: Iface | None) -> bool:
    """Whether libvirt would see no difference."""
    if one is None or other is None:
        return one is other
    equal = all(one.get(field.name) == other.get(field.name) for field in fields.IN_XML)
    return equal and (one.mac, one.type, one.xml) == (other.mac, other.type, other.xml)


def for_hotplug(iface: Iface, *, address: bool = True, target: str = "") -> str:
    """Return the element as it can be attached to a running guest.

    It omits names that were generated for an earlier run. Another NIC may have them by now: libvirt 9.0 then fails
    with "File exists" and deletes that NIC's link. With ``address`` false libvirt chooses the slot. The link is to get
    the name ``target``, if there is one.
    """
    generated = {name for name in fields.GENERATED_PREFIXES if fields.is_generated(name, iface.get(name) or "")}
    if target:
        iface = replace(iface, values={**iface.values, "target": target})
    text = render(iface).encode()
    element = spans.locate(text, 1)
    names = generated - ({"target"} if target else set())
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


def lost_by_conversion(before: Iface, after: Iface) -> list[str]:
    """Return the names of the elements that an interface loses when it is converted to type direct."""
    element = spans.locate(before.xml.encode(), markup.DEPTH)
    foreign = _foreign(element)
    kept = {name.split(".")[0] for name in after.values} if before.type == after.type else set()
    lost = [child.name for child in element.children if child.name in foreign and child.name not in kept]
    limits = [inner for child in element.children if child.name == "bandwidth" for inner in child.children]
    return list(dict.fromkeys([*lost, *("bandwidth floor" for inner in limits if "floor" in inner.attributes)]))


def _foreign(element: spans.Element) -> tuple[str, ...]:
    return (*_FOREIGN, *_FOREIGN_OF.get(element.attributes.get("type", ""), ()))


def _new(iface: Iface) -> str:
    tree: dict[markup.Path, dict[str, str]] = {("mac",): {"address": iface.mac}}
    own: dict[str, str] = {"type": xml_type(iface)}
    for field in fields.IN_XML:
        value = iface.get(field.name)
        if value is None or (value == field.implied and field.name != "mode"):
            continue
        (tree.setdefault(field.element, {}) if field.element else own).update(field.write(value))
    opening = spans.set_attributes(b"<interface>", own).decode()
    children = [name for name in fields.TABLE.order if any(path[0] == name for path in tree)]
    lines = [f"  {markup.tag((name,), tree).decode()}" for name in children]
    return "\n".join([opening, *lines, "</interface>"])


def _converted(text: bytes, element: spans.Element, iface: Iface) -> str:
    """Return the element converted to another type of libvirt, without what only the old type has."""
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
            tag = spans.set_attributes(spans.start_tag(text, child), {"managed": None})
            edits.append((child.start, child.opened, tag))
    old = element.child("source")
    if old is not None:
        edits.append((old.start, old.end, b"<source/>"))
    own = {"type": xml_type(iface), "managed": None}
    text = markup.set_attributes(spans.splice(text, edits), (), own, fields.TABLE)
    names = fields.OF_NETWORK if iface.get("network") is not None else fields.OF_UPLINK
    attributes = {fields.BY_NAME[name].attribute: iface.get(name) for name in names}
    text = markup.set_attributes(text, ("source",), attributes, fields.TABLE)
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
            (inner.start, inner.opened, spans.set_attributes(spans.start_tag(text, inner), {"floor": None}))
            for inner in bandwidth.children
            if inner.attributes.keys() != {"floor"}
        ),
    ]
