# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Why variables do not fit the roles' argument specifications, in this collection's own words. Pure."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import options

Spec = t.Mapping[str, t.Mapping[str, t.Any]]
_TEXTS = ("str", "path")


def faults(values: t.Mapping[str, t.Any], specification: Spec) -> dict[str, str]:
    """Return the error of each variable that a role with this specification refuses, by its name.

    A text that is a list or a dictionary is refused too: Ansible passes it on as what Python writes for it.
    """
    strange = any(specification[name].get("type") in _TEXTS and _is_nested(value) for name, value in values.items())
    if not (strange or _refused(values, specification)):
        return {}
    found = {name: _fault(name, value, specification[name]) for name, value in values.items()}
    return {name: error for name, error in found.items() if error}


def _fault(name: str, value: t.Any, option: t.Mapping[str, t.Any]) -> str:
    refused = _refused({name: value}, {name: option})
    if value is None:
        return refused and f"{name}: has no value. Give it one, or remove it: then it has its default"
    kind = {**option, "type": "str" if option["type"] == "path" else option["type"]}
    if not refused:
        # What is wrong with entries is an error of its own, by its path.
        kind.pop("options", None)
    if kind["type"] == "dict":
        kind.setdefault("options", {})
    unknown: list[str] = []
    try:
        options.convert(value, kind, name, unknown)
    except MacvtapError as exc:
        return str(exc)
    if refused and unknown and "options" in option:
        return "; ".join(unknown)
    return refused and (refused if name in refused else f"{name}: {refused}")


def _refused(values: t.Mapping[str, t.Any], specification: Spec) -> str:
    try:
        return "; ".join(ArgumentSpecValidator(specification).validate(values).error_messages)
    except Exception as exc:  # pylint: disable=broad-except  # of a value that Ansible does not expect
        return f"{type(exc).__name__}: {exc}"


def _is_nested(value: t.Any) -> bool:
    return isinstance(value, (t.Mapping, list, tuple))
