# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where elements lie in an XML text, to the byte.

An XML library that writes a document back changes its quotes, white space and character references.
Here a text is changed only where it is meant to change: expat says at which byte each element begins
and ends, and what is new is spliced in there.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# A ">" may stand unescaped in an attribute's value.
_START_TAG = re.compile(rb"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
_ATTRIBUTE = re.compile(rb"""(\s+)([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")


@dataclass
class Element:
    """An element's bytes: ``start`` to ``end``, of which ``start`` to ``opened`` are its start tag."""

    name: str
    start: int
    attributes: t.Mapping[str, str] = field(default_factory=dict)
    opened: int = 0
    end: int = 0
    children: list[Element] = field(default_factory=list)

    def child(self, name: str) -> Element | None:
        return next((child for child in self.children if child.name == name), None)


def locate(text: bytes, depth: int) -> Element:
    """Return the root element of ``text`` (UTF-8) with its descendants down to ``depth`` levels below it.

    :raises MacvtapError: ``text`` is not well formed, or has a DOCTYPE: libvirt writes none, and refusing
        it rules out entities of every kind.
    """
    document = Element("", 0)
    path = [document]
    level = 0
    parser = expat.ParserCreate("utf-8")

    def started(name: str, attributes: t.Mapping[str, str]) -> None:
        nonlocal level
        level += 1
        if level <= depth + 1:
            at = parser.CurrentByteIndex
            tag = _START_TAG.match(text, at)
            element = Element(name, at, attributes, tag.end() if tag else at)
            path[-1].children.append(element)
            path.append(element)

    def ended(_name: str) -> None:
        nonlocal level
        if level <= depth + 1:
            element = path.pop()
            at = parser.CurrentByteIndex
            # For <a/> expat reports the end where the tag ends, for <a></a> where the end tag begins.
            element.end = element.opened if _is_empty_tag(text, element) else text.index(b">", at) + 1
        level -= 1

    def doctype(*_: t.Any) -> None:
        raise MacvtapError("the XML has a DOCTYPE, which a domain's XML has no use for: refused")

    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as exc:
        raise MacvtapError(f"the XML is not well formed: {exc}") from exc
    return document.children[0]


def splice(text: bytes, edits: t.Iterable[tuple[int, int, bytes]]) -> bytes:
    """Replace the bytes from start to end of each (start, end, new) of ``edits``, all positions those of ``text``.

    Of several insertions at one place the first goes first.
    """
    pieces = []
    at = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        pieces += [text[at:start], new]
        at = end
    return b"".join([*pieces, text[at:]])


def set_attributes(tag: bytes, values: t.Mapping[str, str]) -> bytes:
    """Return the start tag ``tag`` with these attributes set, and everything else in it as it was."""
    left = dict(values)

    def changed(match: re.Match[bytes]) -> bytes:
        value = left.pop(match[2].decode(), None)
        return match[0] if value is None else match[1] + match[2] + b"=" + quote(value)

    tag = _ATTRIBUTE.sub(changed, tag)
    closing = re.search(rb"\s*/?>\Z", tag)
    at = closing.start() if closing else len(tag)
    return tag[:at] + b"".join(b" " + name.encode() + b"=" + quote(value) for name, value in left.items()) + tag[at:]


def quote(value: str) -> bytes:
    """Return ``value`` as an attribute's value in libvirt's own single quotes."""
    return b"'" + escape(value, {"'": "&apos;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}).encode() + b"'"


def indent_of(text: bytes, element: Element) -> bytes:
    """Return the line break and indentation before ``element``, b"" where it does not begin its line."""
    match = re.search(rb"\r?\n[ \t]*\Z", text[max(0, element.start - 200) : element.start])
    return match[0] if match else b""


def _is_empty_tag(text: bytes, element: Element) -> bool:
    return text[element.opened - 2 : element.opened] == b"/>"
