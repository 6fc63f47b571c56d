# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A RELAX NG schema, read by lxml, and the content of its patterns."""

from __future__ import annotations

import copy
import functools
import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import schema_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.schema_text import NS, children, kind_of

_GRAMMAR = (
    '<grammar xmlns="http://relaxng.org/ns/structure/1.0" '
    'datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes"><include href={}/><start/></grammar>'
)
_TEXT = ("data", "value", "text", "list")


class Content:
    """The allowed content of an element, by kind and name: what is required, and what is repeatable."""

    def __init__(self) -> None:
        self.attributes: dict[str, list[t.Any]] = {}
        self.elements: dict[str, list[t.Any]] = {}
        self.texts: list[t.Any] = []
        self.required_attributes: list[str] = []
        self.required_elements: list[str] = []
        self.repeatable: set[str] = set()
        # Attributes that contradict every branch of a choice, with the allowed values.
        self.contradictions: dict[str, list[str]] = {}

    def add(self, pattern: t.Any, *, required: bool, repeatable: bool) -> None:
        kind, name = kind_of(pattern), schema_text.name_of(pattern)
        if kind in _TEXT:
            self.texts.append(pattern)
        elif kind == "attribute":
            self.attributes.setdefault(name, []).append(pattern)
            self.required_attributes += [name] if required else []
        else:
            self.elements.setdefault(name, []).append(pattern)
            self.required_elements += [name] if required else []
            self.repeatable |= {name} if repeatable else set()


class Grammar:
    """The schema in the file ``path``, with those that it includes."""

    def __init__(self, etree: t.Any, path: str) -> None:
        self._etree = etree
        self._path = path
        # Each takes 10 ms or more, because libxml2 reads the whole schema for it.
        self._validators: dict[bytes, t.Any] = {}

    @functools.cached_property
    def defines(self) -> dict[str, list[t.Any]]:
        """The named patterns of the schema and of all that it includes."""
        found: dict[str, list[t.Any]] = {}
        pending_paths = [self._path]
        # The list grows during the iteration.
        for path in pending_paths:
            grammar = self._etree.parse(path).getroot()
            beside = (os.path.join(os.path.dirname(path), one.get("href")) for one in grammar.iter(f"{NS}include"))
            pending_paths += [one for one in beside if one not in pending_paths]
            for define in grammar.iter(f"{NS}define"):
                found.setdefault(define.get("name"), []).append(define)
        return found

    def validator(self, start: t.Any) -> t.Any:
        """Return lxml's validator of the pattern ``start``, which may refer to the schema's named patterns."""
        # Imported here: it imports urllib.request, and only a file is validated.
        from xml.sax.saxutils import quoteattr

        text = self._etree.tostring(start, with_tail=False)
        if text not in self._validators:
            grammar = self._etree.fromstring(_GRAMMAR.format(quoteattr(self._path)))
            grammar[-1].append(copy.deepcopy(start))
            self._validators[text] = self._etree.RelaxNG(grammar)
        return self._validators[text]

    def named(self, name: str) -> t.Any:
        """Return a validator of the pattern that has this name in the schema."""
        return self.validator(self._etree.Element(f"{NS}ref", name=name))

    def is_one_of(self, element: t.Any, patterns: t.Sequence[t.Any]) -> bool:
        alone = copy.deepcopy(element)
        alone.tail = None
        return any(self.validator(one).validate(alone) for one in patterns)

    def takes(self, pattern: t.Any, text: str) -> bool:
        """Whether a pattern of an attribute, or of an element's text, accepts the text."""
        whole = self._etree.Element(f"{NS}element", name="a")
        whole.append(copy.deepcopy(pattern))
        probe = self._etree.Element("a")
        if kind_of(pattern) == "attribute":
            probe.set(pattern.get("name"), text)
        else:
            probe.text = text
        return bool(self.validator(whole).validate(probe))

    def describe(self, pattern: t.Any) -> str:
        return schema_text.describe(pattern, self.defines)

    def content(self, pattern: t.Any, element: t.Any) -> Content:
        """Return the direct content of ``pattern``, with only the choices that ``element`` can match."""
        found = Content()
        self._collect(pattern, element, found, required=True, repeatable=False)
        return found

    def contradictions(self, pattern: t.Any, element: t.Any) -> dict[str, list[str]]:
        """Return the attributes of ``element`` with a value that ``pattern`` excludes, and the allowed values."""
        content = self.content(pattern, element)
        found = dict(content.contradictions)
        for name in content.required_attributes:
            values = [v for one in content.attributes[name] for v in schema_text.values(one, self.defines)]
            if values and element.get(name) not in values:
                found[name] = values
        return found

    def _collect(self, pattern: t.Any, element: t.Any, into: Content, *, required: bool, repeatable: bool) -> None:
        for one in children(pattern):
            kind = kind_of(one)
            if kind in {"attribute", "element", *_TEXT}:
                into.add(one, required=required, repeatable=repeatable)
                continue
            parts, must, may = [one], required, repeatable
            if kind == "ref":
                parts = self.defines.get(one.get("name"), [])
            elif kind in {"optional", "zeroOrMore", "oneOrMore"}:
                must, may = required and kind == "oneOrMore", kind != "optional"
            elif kind == "choice":
                parts, difference = self._branches(one, element)
                must = required and len(parts) == 1
                contradictions = {
                    name: values for name, values in difference.items() if required or name in element.attrib
                }
                into.contradictions.update(contradictions)
            for part in parts:
                self._collect(part, element, into, required=must, repeatable=may)

    def _branches(self, choice: t.Any, element: t.Any) -> tuple[list[t.Any], dict[str, list[str]]]:
        """Return the branches that ``element`` can match; if none, the values that would match one."""
        branches = []
        for one in children(choice):
            branch = one.makeelement(f"{NS}group")
            branch.append(copy.deepcopy(one))
            branches.append(branch)
        differences = [self.contradictions(branch, element) for branch in branches]
        fitting = [branch for branch, difference in zip(branches, differences) if not difference]
        merged: dict[str, list[str]] = {}
        for difference in differences if not fitting else []:
            for name, values in difference.items():
                merged.setdefault(name, []).extend(values)
        return fitting, merged
