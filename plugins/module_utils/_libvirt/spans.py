# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Locates elements in an XML text, to the byte.

An XML library that rewrites a document changes its quotes, white space and character references. Here only the intended
bytes change: expat reports where each element begins and ends, and edits are spliced in there.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.parsers import expat

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# A ">" may stand unescaped in an attribute's value.
_START_TAG = re.compile(rb"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
# Matched only from where white space begins; from each position in it would take quadratic time.
_ATTRIBUTE = re.compile(rb"""(?<!\s)(\s+)([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")
_TAG_END = re.compile(rb"(?<!\s)\s*/?>\Z")
# xml.sax.saxutils has the first three as well, and imports urllib.request: 15 ms.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}
)
# The limit of libxml2, and so of libvirt.
_DEEPEST = 257


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

    :raises MacvtapError: ``text`` is not well formed, or nested too deep, or has a DOCTYPE: libvirt writes none, and
        refusing it rules out entities of every kind.
    """
    document = Element("", 0)
    path = [document]
    level = 0
    parser = _parser()

    def started(name: str, attributes: t.Mapping[str, str]) -> None:
        nonlocal level
        level += 1
        if level > _DEEPEST:
            _refuse_depth()
        if level <= depth + 1:
            at = parser.CurrentByteIndex
            element = Element(name, at, attributes, _opened(text, at))
            path[-1].children.append(element)
            path.append(element)

    def ended(_name: str) -> None:
        nonlocal level
        if level <= depth + 1:
            element = path.pop()
            element.end = _ended(text, element.opened, parser.CurrentByteIndex)
        level -= 1

    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    _parse(parser, text)
    return document.children[0]


def plain_slices(text: bytes, root: str, parent: str, name: str) -> list[tuple[int, int]] | None:
    """As :func:`slices` for XML that libvirt itself has written, which is well formed; None if it may be other XML.

    Several times faster: without comments, CDATA and the like, each "<" begins a tag. libvirt begins a line with each,
    two spaces for a level.
    """
    if b"<!" in text or b"<?" in text or not re.match(rb"<%s[ >]" % root.encode(), text):
        return None
    opening, closing = (f"\n  <{slash}{parent}>\n".encode() for slash in ("", "/"))
    # What others have put there may look like anything.
    start = text.find(opening, text.rfind(b"</metadata>") + 1)
    end = text.find(closing, start)
    if min(start, end) < 0 or text.find(opening, end) >= 0:
        return None
    # Whole lines.
    start, end = start + 1, end + 1
    inside = text[start:end]
    if b"xmlns" in inside or b" xmlns=" in text.partition(b">")[0]:
        return None
    begins = [one.start() + start + 5 for one in re.finditer(rb"\n    <%s[ >]" % name.encode(), inside)]
    tag = f"</{name}>".encode()
    ends = [one.end() + start for one in re.finditer(rb"\n    " + tag, inside)]
    whole = len(begins) == len(ends) == inside.count(tag) == len(re.findall(rb"<%s[\s/>]" % name.encode(), inside))
    return list(zip(begins, ends)) if whole else None


def slices(text: bytes, parent: str, name: str) -> tuple[Element, list[tuple[int, int]]]:
    """Return the root element, and (start, end) of each element ``name`` in the root's ``parent``.

    Several times faster than :func:`locate`, because it ignores all other elements.
    """
    roots: list[Element] = []
    found: list[tuple[int, int]] = []
    level = 0
    # In the parent; and in it or in an element of the name, where a namespace hides things from libvirt.
    inside = within = False
    start = 0
    parser = _parser()

    def started(tag: str, attributes: t.Mapping[str, str]) -> None:
        nonlocal level, inside, within, start
        level += 1
        if level == 1:
            roots.append(Element(tag, parser.CurrentByteIndex, attributes))
        elif level == 2:
            inside = within = tag == parent
        elif level == 3:
            within = inside and tag == name
            start = parser.CurrentByteIndex
        if within and "xmlns" in attributes:
            _refuse_namespace(tag)
        if level > _DEEPEST:
            _refuse_depth()

    def ended(tag: str) -> None:
        nonlocal level
        if level == 3 and inside and tag == name:
            found.append((start, _ended(text, _opened(text, start), parser.CurrentByteIndex)))
        level -= 1

    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    _parse(parser, text)
    return roots[0], found


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_: t.Any) -> None:
    raise MacvtapError("the XML has a DOCTYPE, which a domain's XML does not need: refused")


def _refuse_namespace(tag: str) -> None:
    raise MacvtapError(f"the XML has <{tag}> in a namespace (xmlns), where libvirt does not see it")


def _refuse_depth() -> None:
    raise MacvtapError(f"the XML has more than {_DEEPEST} levels of elements, which libvirt refuses too")


def _parse(parser: expat.XMLParserType, text: bytes) -> None:
    try:
        parser.Parse(text, True)
    except expat.ExpatError as exc:
        raise MacvtapError(f"the XML is not well formed: {exc}") from exc


def _opened(text: bytes, start: int) -> int:
    """Return where the start tag at ``start`` ends."""
    tag = _START_TAG.match(text, start)
    return tag.end() if tag else start


def _ended(text: bytes, opened: int, at: int) -> int:
    """Return where an element ends, if expat reports its end ``at``."""
    # For <a/> that is where the tag ends, for <a></a> where the end tag begins.
    return opened if text.endswith(b"/>", 0, opened) else text.index(b">", at) + 1


def splice(text: bytes, edits: t.Iterable[tuple[int, int, bytes]]) -> bytes:
    """Replace the bytes from start to end of each (start, end, new) of ``edits``, all positions those of ``text``.

    Several insertions at one position keep their order.
    """
    pieces = []
    at = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        if start < at:
            raise ValueError(f"two edits meet at byte {start}")
        pieces += [text[at:start], new]
        at = end
    return b"".join([*pieces, text[at:]])


def set_attributes(tag: bytes, values: t.Mapping[str, str | None]) -> bytes:
    """Return the start tag ``tag`` with these attributes set or removed (None), otherwise unchanged."""
    remaining = dict(values)

    def changed(match: re.Match[bytes]) -> bytes:
        name = match[2].decode()
        if name not in remaining:
            return match[0]
        value = remaining.pop(name)
        return b"" if value is None else match[1] + match[2] + b"=" + quote(value)

    tag = _ATTRIBUTE.sub(changed, tag)
    closing = _TAG_END.search(tag)
    at = closing.start() if closing else len(tag)
    new = b"".join(b" " + name.encode() + b"=" + quote(value) for name, value in remaining.items() if value is not None)
    return tag[:at] + new + tag[at:]


def bytes_of(text: bytes, element: Element) -> bytes:
    """Return the bytes of ``element``."""
    start, end = element.start, element.end
    return text[start:end]


def start_tag(text: bytes, element: Element) -> bytes:
    """Return the bytes of the start tag of ``element``."""
    start, end = element.start, element.opened
    return text[start:end]


def content(text: bytes, element: Element) -> str:
    """Return the text in ``element``, which has no elements in it."""
    words: list[str] = []
    parser = _parser()
    parser.CharacterDataHandler = words.append
    _parse(parser, bytes_of(text, element))
    return "".join(words)


def quote(value: str) -> bytes:
    """Return ``value`` as an attribute's value in libvirt's own single quotes."""
    return b"'" + escaped(value).encode() + b"'"


def escaped(value: str) -> str:
    """Return ``value`` as XML writes it, in an attribute or in an element."""
    return value.translate(_ESCAPES)


def indent_of(text: bytes, element: Element) -> bytes:
    """Return the line break and indentation before ``element``, b"" where it does not begin its line."""
    first, end = max(0, element.start - 200), element.start
    match = re.search(rb"\r?\n[ \t]*\Z", text[first:end])
    return match[0] if match else b""
