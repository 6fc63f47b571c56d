# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Keeps what hosts and guests report from being run as a template on the controller.

Before ansible-core 2.19 every text is a template unless it is marked, and a filter that parses JSON or puts a text
together returns one without the mark. Since 2.19 a text is a template only if it comes from the inventory or from a
playbook. So what is written into a playbook is marked there too.
"""

from __future__ import annotations

import functools
import json
import typing as t

from ansible.utils.unsafe_proxy import wrap_var

try:
    from ansible.utils.native_jinja import NativeJinjaText
except ImportError:
    # Since ansible-core 2.19 a text stays a text, whatever is in it.
    NativeJinjaText = str


class Template(str):
    """A text that is to be a template."""

    __slots__ = ()


# What a text in double quotes of YAML may have as it is.
_PRINTABLE = range(0x20, 0x7F)


def data(value: t.Any) -> t.Any:
    """Return ``value`` with all its texts marked: none is a template, whatever is in it and wherever it is stored."""
    return wrap_var(value)


def json_text(value: t.Any) -> str:
    """Return ``value`` as JSON that stays a text, and is marked: Ansible does not search it for templates."""
    text: str = data(NativeJinjaText(json.dumps(value)))
    return text


def filters(*functions: t.Callable[..., t.Any]) -> dict[str, t.Callable[..., t.Any]]:
    """Return filters by name, as Ansible takes them from a FilterModule. What they return is marked."""
    return {function.__name__: _marked(function) for function in functions}


def _marked(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    @functools.wraps(function)
    def marked(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return data(function(*args, **kwargs))

    return marked


def yaml(value: t.Any) -> str:
    """Return plain values as YAML for a playbook. No text in it is a template but each :class:`Template`."""
    if isinstance(value, t.Mapping):
        return "{" + ", ".join(f"{_quoted(str(name))}: {yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(yaml, value))}]"
    if isinstance(value, Template):
        return _quoted(value)
    if isinstance(value, str):
        return f"!unsafe {_quoted(value)}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"not a plain value: {value!r}")


def _quoted(text: str) -> str:
    """Return a text in double quotes of YAML."""
    escaped = (one if ord(one) in _PRINTABLE and one not in '"\\' else f"\\U{ord(one):08x}" for one in text)
    return '"' + "".join(escaped) + '"'
