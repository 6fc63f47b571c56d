# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates one ``<interface>`` element against libvirt's schema, where that is installed.

libxml2 decides whether an element is valid. Its reasons do not help a user ("Extra element mac in interleave"), so they
are derived here from the schema, element by element.
"""

from __future__ import annotations

import functools
import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.schema_grammar import Content, Grammar
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.schema_text import NS, either, label, short
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MissingLibraryError

_DIRECTORIES = ("/usr/share/libvirt/schemas", "/usr/local/share/libvirt/schemas")
_FILE = "domaincommon.rng"
_Path = t.Tuple[str, ...]


def problems(element: str, directories: t.Sequence[str] = _DIRECTORIES) -> list[str] | None:
    """Return the schema violations of the text of an ``<interface>`` element, [] if it is valid.

    None if it cannot be validated, without a schema in ``directories`` or without lxml: see :func:`missing`.

    :raises MacvtapError: it is not well formed, or has a DOCTYPE.
    """
    if missing(directories) is not None:
        return None
    etree = _deps.load("lxml", "etree").etree
    spans.locate(element.encode(), 0)
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        root = etree.fromstring(element.encode(), parser)
    except etree.XMLSyntaxError as exc:
        return [_on_syntax(exc.msg)]
    grammar, interface = _schema(_find(directories) or "")
    if interface.validate(root):
        return []
    if root.tag != "interface":
        return [f"{label(root, ())}: this is not an <interface>"]
    patterns = [one for define in grammar.defines["interface"] for one in define.iterchildren(f"{NS}element")]
    return _explain(grammar, root, patterns, ())


def missing(directories: t.Sequence[str] = _DIRECTORIES) -> str | None:
    """Return why :func:`problems` cannot validate anything here, None if it can."""
    if _find(directories) is None:
        return f"libvirt's schema ({_FILE}) is not in {' or '.join(directories)}"
    try:
        _deps.load("lxml", "etree")
    except MissingLibraryError as exc:
        return exc.message
    return None


def _find(directories: t.Sequence[str]) -> str | None:
    paths = (os.path.join(directory, _FILE) for directory in directories)
    return next((path for path in paths if os.path.isfile(path)), None)


@functools.cache
def _schema(path: str) -> tuple[Grammar, t.Any]:
    grammar = Grammar(_deps.load("lxml", "etree").etree, path)
    return grammar, grammar.named("interface")


def _on_syntax(message: str) -> str:
    # expat has accepted it, because the prefix may be declared further out in the document.
    prefix = re.match(r"Namespace prefix (\S+) (?:for (\S+) )?on (\S+)", message)
    if prefix is None:
        return f"<interface>: {message}"
    if prefix[2]:
        return f"<{prefix[3]} {prefix[1]}:{prefix[2]}>: there is no such attribute"
    return f"<{prefix[1]}:{prefix[3]}>: there is no such element here"


def _explain(grammar: Grammar, element: t.Any, patterns: t.Sequence[t.Any], path: _Path) -> list[str]:
    """Return what is wrong with an element that matches none of ``patterns``, all of its name."""
    differences = [grammar.contradictions(one, element) for one in patterns]
    fitting = [one for one, difference in zip(patterns, differences) if not difference]
    known = {name for one in fitting for name in grammar.content(one, element).attributes}
    for name in element.attrib:
        values = [value for difference in differences for value in difference.get(name, ())]
        if values and name not in known:
            return [_on_value(element, path, name, values)]
    # The best match is the pattern with the fewest errors.
    message = min((_explain_by(grammar, element, one, path) for one in fitting or patterns), key=len)
    return message or [f"{label(element, path)}: libvirt's schema does not allow it as it is"]


def _explain_by(grammar: Grammar, element: t.Any, pattern: t.Any, path: _Path) -> list[str]:
    content = grammar.content(pattern, element)
    if content.contradictions:
        return [_on_value(element, path, name, descriptions) for name, descriptions in content.contradictions.items()]
    return [
        *_on_attributes(grammar, element, content, path),
        *_on_children(grammar, element, content, path),
        *_on_text(grammar, element, content, path),
    ]


def _on_attributes(grammar: Grammar, element: t.Any, content: Content, path: _Path) -> t.Iterator[str]:
    for name, value in element.attrib.items():
        patterns = content.attributes.get(name, [])
        if not patterns:
            known = f"; it can have {', '.join(sorted(content.attributes))}" if content.attributes else ""
            yield f"{label(element, path, name)}: there is no such attribute{known}"
        elif not any(grammar.takes(one, value) for one in patterns):
            yield _on_value(element, path, name, [grammar.describe(one) for one in patterns])
    for name in content.required_attributes:
        if name not in element.attrib:
            yield _on_value(element, path, name, ())


def _on_children(grammar: Grammar, element: t.Any, content: Content, path: _Path) -> t.Iterator[str]:
    inside = (*path, element.tag)
    children = [child for child in element if isinstance(child.tag, str)]
    names = [child.tag for child in children]
    for child in children:
        patterns = content.elements.get(child.tag, [])
        if not patterns:
            known = f"; <{element.tag}> can have {', '.join(sorted(content.elements))}" if content.elements else ""
            yield f"{label(child, inside)}: there is no such element here{known}"
        elif not grammar.is_one_of(child, patterns):
            yield from _explain(grammar, child, patterns, inside)
    for name in content.required_elements:
        if name not in names:
            yield f"{label(element, path)}: <{name}> is missing in it"
    for name in dict.fromkeys(names):
        if names.count(name) > 1 and name in content.elements and name not in content.repeatable:
            yield f"{label(element, path)}: <{name}> is in it {names.count(name)} times"


def _on_text(grammar: Grammar, element: t.Any, content: Content, path: _Path) -> t.Iterator[str]:
    text = "".join([element.text or "", *(child.tail or "" for child in element)]).strip()
    if content.texts and not any(grammar.takes(one, text) for one in content.texts):
        wanted = " or ".join(grammar.describe(one) for one in content.texts)
        yield f"{label(element, path)}: {short(text)} is not {wanted}"
    elif text and not content.texts:
        yield f"{label(element, path)}: has the text {short(text)}, where none belongs"


def _on_value(element: t.Any, path: _Path, name: str, descriptions: t.Sequence[str]) -> str:
    if name not in element.attrib:
        return f"{label(element, path)}: its attribute {name} is missing"
    return f"{label(element, path, name)}: not {either(descriptions)}"
