# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Entries of list options that are valid as they are, so that Ansible need not check them one by one. Pure.

Ansible goes through the whole specification a dozen times for each entry: 0.1 ms. Here an entry is only recognised. One
that is not, for whatever reason, is left to Ansible, and so are all errors, warnings and conversions.
"""

from __future__ import annotations

import typing as t

# Rules that an option may have here. With any other one, its list is left to Ansible.
_RULES = frozenset(("type", "elements", "options", "choices", "aliases", "required"))
_GREAT = 1 << 62
_TYPES: t.Mapping[str, t.Callable[[t.Any], bool]] = {
    # By their exact types: Ansible may have marked subclasses of them.
    "str": lambda value: value.__class__ is str,
    "bool": lambda value: value is True or value is False,
    # A greater number is refused: see _values.
    "int": lambda value: value.__class__ is int and abs(value) < _GREAT,
    "raw": lambda _value: True,
}

# Returns the option's value with all suboptions; raises _NotPlainError.
_Take = t.Callable[[t.Any], t.Any]
Spec = t.Mapping[str, t.Mapping[str, t.Any]]


class _NotPlainError(Exception):
    """Ansible has to check the entry."""


def plain(params: t.Any, spec: Spec) -> dict[str, list[dict[str, t.Any]]]:
    """Return the lists of entries that are valid, by option, with None for what an entry does not set.

    That is what Ansible would make of them. ``spec`` is the argument specification of ``params``, which stay as they
    are.
    """
    found = {}
    for option, rules in spec.items():
        entries = params.get(option) if isinstance(params, dict) else None
        if entries.__class__ is list and rules.get("type") == "list" and rules.get("elements") == "dict":
            try:
                take = _suboptions(rules)
                found[option] = [take(entry) for entry in entries]
            except _NotPlainError:
                continue
    return found


def unchecked(spec: Spec, options: t.Iterable[str]) -> dict[str, t.Any]:
    """Return ``spec`` with nothing to check of the entries of ``options``, which are lists."""
    return {**spec, **{option: _without_entries(spec[option]) for option in options}}


def _without_entries(rules: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {rule: value for rule, value in rules.items() if rule not in ("elements", "options")}


def _suboptions(rules: t.Mapping[str, t.Any]) -> _Take:
    """Return what takes a dictionary of the options that are among ``rules``.

    :raises _NotPlainError: they have rules that are not known here.
    """
    spec = rules.get("options")
    if spec is None or not _RULES.issuperset(rules):
        raise _NotPlainError
    takes = {name: _option(one) for name, one in spec.items()}
    aliases = {alias: name for name, one in spec.items() for alias in one.get("aliases", ())}
    required = {name for name, one in spec.items() if one.get("required")}
    # For Ansible null is not among the choices.
    chosen = {name for name, one in spec.items() if "choices" in one}
    unset = dict.fromkeys(spec)

    def take(given: t.Any) -> dict[str, t.Any]:
        if given.__class__ is not dict:
            raise _NotPlainError
        entry: dict[str, t.Any] = unset.copy()
        names = set()
        for key, value in given.items():
            name = key if key in takes else aliases.get(key, "")
            # Unknown, or set twice.
            if not name or name in names:
                raise _NotPlainError
            names.add(name)
            taken = takes[name](value) if value is not None or name in chosen else None
            # Ansible keeps an option under its alias too.
            entry[key] = entry[name] = taken
        if not all(entry[name] is not None for name in required):
            raise _NotPlainError
        return entry

    return take


def _option(rules: t.Mapping[str, t.Any]) -> _Take:
    kind, choices = str(rules.get("type")), rules.get("choices")
    if not _RULES.issuperset(rules):
        raise _NotPlainError
    if kind == "dict":
        return _suboptions(rules)
    if kind == "list":
        return _elements(rules)
    if kind not in _TYPES or "elements" in rules or "options" in rules:
        raise _NotPlainError
    of_type = _TYPES[kind]

    def take(value: t.Any) -> t.Any:
        if not of_type(value) or (choices is not None and value not in choices):
            raise _NotPlainError
        return value

    return take


def _elements(rules: t.Mapping[str, t.Any]) -> _Take:
    if "options" in rules and rules.get("elements") == "dict":
        take = _suboptions(rules)
    else:
        take = _option({"type": rules.get("elements"), **({"choices": rules["choices"]} if "choices" in rules else {})})

    def take_all(value: t.Any) -> list[t.Any]:
        if value.__class__ is not list:
            raise _NotPlainError
        return [take(one) for one in value]

    return take_all
