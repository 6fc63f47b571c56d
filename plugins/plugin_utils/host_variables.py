# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads hosts' variables in a filter, which has nothing but hostvars: what they declare, and how looking at them went.

What cannot be read of one host must not hide the others.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.release import __version__
from ansible.utils.unsafe_proxy import AnsibleUnsafe
from jinja2 import Undefined

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import names

Values = t.Mapping[str, t.Any]
_SWITCH = "macvtap_preflight"
# Where preflight registers what it finds.
PLAN = "macvtap_plan"
# Before, reading a variable leaves a template as it is if it uses a variable that is not defined.
_LEAVES_TEMPLATES = tuple(map(int, __version__.split(".")[:2])) < (2, 19)


class _UnreadableError(Exception):
    """A variable cannot be read."""


def declarations(hostvars: t.Any, hosts: t.Iterable[str]) -> dict[str, dict[str, t.Any]]:
    """Return what ``hosts`` declare, but for those that preflight leaves out.

    Each has ``declared``, this collection's variables. If one of them cannot be read, it has ``unreadable``, and why.
    """
    read = {host: _declaration(hostvars[host]) for host in hosts}
    return {host: one for host, one in read.items() if one is not None}


def looks(hostvars: t.Any, hosts: t.Iterable[str], variable: str = PLAN) -> dict[str, t.Any]:
    """Return for each of ``hosts`` what the filter fleet_conflicts gets of it.

    ``variable`` has the result of macvtap_host_plan. A host of which it was not asked is left out. One whose look
    failed before the module could answer has what it declares, and why it failed.
    """
    found: dict[str, t.Any] = {}
    for host in hosts:
        result = hostvars[host].get(variable) or {}
        if result.get("fleet"):
            found[host] = result["fleet"]
        elif "stages" not in result and not result.get("skipped"):
            message = result.get("msg") or result.get("exception") or "Ansible ran no task on it"
            failure = {"failed": True, "unreachable": bool(result.get("unreachable")), "msg": str(message)}
            # Only preflight leaves hosts out.
            one = _declaration(hostvars[host], switch=_SWITCH if variable == PLAN else None)
            found.update({} if one is None else {host: {**one, "found": failure}})
    return found


def answers(hostvars: t.Any, hosts: t.Iterable[str], registered: str, names: t.Collection[str]) -> dict[str, Values]:
    """Return the result that each of ``hosts`` has registered, and its variables of these names that are set.

    Each has ``result`` and ``connection``, and ``unreadable``: why variables cannot be read, by name.
    """
    found: dict[str, Values] = {}
    for host in hosts:
        variables = hostvars[host]
        connection: dict[str, t.Any] = {"inventory_hostname": host}
        unreadable: dict[str, str] = {}
        for name in names:
            try:
                if name in variables:
                    connection[name] = _value(variables, name)
            except _UnreadableError as exc:
                unreadable[name] = str(exc)
        result = variables.get(registered)
        found[host] = {"result": _without_lazy(result), "connection": connection, "unreadable": unreadable}
    return found


def _without_lazy(value: t.Any) -> t.Any:
    """Return a result as plain containers: those of ansible-core 2.19 have no values until they are read."""
    if isinstance(value, t.Mapping):
        return {str(name): _without_lazy(value[name]) for name in value}
    if isinstance(value, (list, tuple)):
        return [_without_lazy(one) for one in value]
    return value


def _declaration(variables: Values, switch: str | None = _SWITCH) -> dict[str, t.Any] | None:
    """Return what a host declares, None if the variable ``switch`` leaves it out."""
    try:
        if switch in variables and not _switched_on(_value(variables, str(switch))):
            return None
        return {"declared": {name: _value(variables, name) for name in variables if names.is_known(name)}}
    except _UnreadableError as exc:
        return {"declared": {}, "unreadable": str(exc)}


def _switched_on(value: t.Any) -> bool:
    try:
        return bool(boolean(value))
    except TypeError as exc:
        raise _UnreadableError(f"{_SWITCH}: {value!r} is neither true nor false") from exc


def _value(variables: Values, name: str) -> t.Any:
    try:
        # Reading resolves templates.
        return _plain(variables[name])
    except _UnreadableError as exc:
        raise _UnreadableError(f"{name}: {exc}") from exc
    except Exception as exc:  # pylint: disable=broad-except  # a lookup or a filter may raise anything
        raise _UnreadableError(f"{name}: {exc}") from exc


def _plain(value: t.Any) -> t.Any:
    """Return ``value`` with all templates resolved."""
    if isinstance(value, Undefined):
        # Since ansible-core 2.19 whatever went wrong, not only what is undefined.
        message = getattr(value, "_as_message", lambda: value._undefined_message)()
        raise _UnreadableError(message)
    if type(value).__name__ == "AnsibleVaultEncryptedUnicode":  # before ansible-core 2.19
        return str(value)
    if isinstance(value, t.Mapping):
        return {str(key): _plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if _LEAVES_TEMPLATES and isinstance(value, str) and not isinstance(value, AnsibleUnsafe) and "{{" in value:
        raise _UnreadableError(f"a variable is not defined in {value}")
    return value
