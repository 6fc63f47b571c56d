# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads and edits the interfaces in a domain's XML; everything else stays unchanged.

Text in, text out; no libvirt. expat reads it without entities, and it is edited in place: see spans.py.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import spans

Edit = t.Tuple[t.Optional[Iface], t.Optional[Iface]]


class Identity(t.NamedTuple):
    """The domain of an XML document."""

    name: str
    uuid: str


def identity(document: str) -> Identity:
    """Return the domain's name and UUID, "" for a missing one."""
    text = document.encode()
    root = _domain_of(spans.locate(text, 1))
    texts = {c.name: spans.content(text, c) for c in root.children if c.name in {"name", "uuid"}}
    return Identity(texts.get("name", ""), texts.get("uuid", ""))


def interfaces(document: str, *, by_libvirt: bool = True) -> tuple[Iface, ...]:
    """Return the interfaces of a domain's XML, of every type, in its order.

    ``by_libvirt`` is whether libvirt itself has written it. Its own are read faster.

    :raises MacvtapError: it is not the XML of a domain.
    """
    text = document.encode()
    found = _interfaces_of(text, by_libvirt=by_libvirt)
    return tuple(element.read(text[start:end].decode(), index) for index, (start, end) in enumerate(found))


def edit(document: str, edits: t.Sequence[Edit], *, by_libvirt: bool = True) -> str:
    """Apply ``edits`` to ``document``; each is (before, after), with None for an element to add or remove.

    A new element goes to its ``index`` among the interfaces, or behind the last one.

    :raises MacvtapError: an element to change or remove differs from ``before``.
    """
    text = document.encode()
    located = [spans.Element("interface", start, end=end) for start, end in _interfaces_of(text, by_libvirt=by_libvirt)]
    splices = []
    for before, after in edits:
        if before is None:
            if after is not None:
                splices.append(_insertion(text, located, after))
            continue
        where = next((e for e in located if spans.bytes_of(text, e).decode() == before.xml), None)
        if where is None:
            raise StaleError(
                f"the stored configuration of interface {before.mac} changed while this ran. Another editor is "
                "changing the domain. Run again"
            )
        if after is None:
            splices.append((where.start - len(spans.indent_of(text, where)), where.end, b""))
        else:
            splices.append((where.start, where.end, element.render(after).encode()))
    return spans.splice(text, splices).decode()


def _interfaces_of(text: bytes, *, by_libvirt: bool) -> list[tuple[int, int]]:
    found = spans.plain_slices(text, "domain", "devices", "interface") if by_libvirt else None
    if found is None:
        root, found = spans.slices(text, "devices", "interface")
        _domain_of(root)
    return found


def without_pci_controllers(document: str) -> str:
    """Return ``document`` without PCI controllers, which libvirt adds when interfaces need them."""
    text = document.encode()
    found = [spans.Element("", start, end=end) for start, end in spans.slices(text, "devices", "controller")[1]]
    pci = [one for one in found if b"type='pci'" in spans.bytes_of(text, one).partition(b">")[0]]
    return spans.splice(text, [(one.start - len(spans.indent_of(text, one)), one.end, b"") for one in pci]).decode()


def _domain_of(root: spans.Element) -> spans.Element:
    if root.name != "domain":
        raise MacvtapError(f"the XML is not that of a domain: its root is <{root.name}>")
    if "xmlns" in root.attributes:
        raise MacvtapError("the XML has its elements in a namespace, which libvirt does not read")
    return root


def _insertion(text: bytes, located: t.Sequence[spans.Element], iface: Iface) -> tuple[int, int, bytes]:
    new = element.render(iface).encode()
    if iface.index is not None and iface.index < len(located):
        where = located[iface.index]
        indent = spans.indent_of(text, where)
        # Before its line break, which is removed together with that element.
        at = where.start - len(indent)
        return at, at, indent + _shifted(new, indent, iface)
    if located:
        indent = spans.indent_of(text, located[-1])
        return located[-1].end, located[-1].end, indent + _shifted(new, indent, iface)
    devices = spans.locate(text, 1).child("devices")
    if devices is None:
        raise MacvtapError("the domain's XML has no <devices>")
    outer = spans.indent_of(text, devices)
    indent = outer + b"  " if outer else b""
    new = indent + _shifted(new, indent, iface)
    if devices.end == devices.opened:
        tag = spans.bytes_of(text, devices)
        return devices.start, devices.end, tag[: tag.rindex(b"/")].rstrip() + b">" + new + outer + b"</devices>"
    close = text.rindex(b"</", 0, devices.end)
    at = close - len(spans.indent_of(text, spans.Element("", close)))
    return at, at, new


def _shifted(element: bytes, indent: bytes, iface: Iface) -> bytes:
    # An element from the document has its indentation already.
    return element if iface.xml else element.replace(b"\n", indent or b"\n")
