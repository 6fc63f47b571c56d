# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_direct_network: from options to declared networks."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection, opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import clears_default
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import declare, fields, run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.adapter import Networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import STATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import choice


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    entries = _glue.entries(params, "networks", ("name", *_network_options()), clears_default)
    declared = declare.declare(_with_own_uplinks(entries, params["networks"] or ()))
    lock = _glue.locked(module, "domains", per_user=True, doing="changing networks")
    with lock, opened(params["uri"], Connection, read_only=module.check_mode) as connection:
        how = {name: params[name] for name in run.Options._fields if name in params}
        options = run.Options(**how, check_mode=module.check_mode, diff=module._diff)
        with contextlib.closing(Networks(connection)) as networks:
            return run.run(networks, declared, options)


def _with_own_uplinks(
    entries: t.Sequence[tuple[str, dict[str, t.Any]]], networks: t.Sequence[t.Mapping[str, t.Any]]
) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield ``entries``; one of ``networks`` with its own pf takes no default of interfaces, and the reverse."""
    for index, (path, options) in enumerate(entries):
        own = networks[index] if networks else {}
        other = "interfaces" if own.get("pf") else "pf" if own.get("interfaces") else None
        replaced = {other: None} if other is not None and own.get(other) is None else {}
        yield path, {**options, **replaced}


def _network_options() -> dict[str, t.Any]:
    spec = fields.NETWORK.specification()
    group = {name: rules for name, rules in fields.PORTGROUP.specification().items() if name != "default"}
    return {
        "state": {"type": "str", "choices": list(STATES)},
        "mode": spec["mode"],
        "interfaces": {"type": "list", "elements": "str"},
        "pf": {"type": "str"},
        "virtualport": spec["virtualport"],
        "portgroups": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "default": {"type": "bool"},
                **group,
            },
        },
        "autostart": {"type": "bool"},
    }


_OPTIONS = _network_options()
SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "name": {"type": "str"},
        "networks": {
            "type": "list",
            "elements": "dict",
            "options": {"name": {"type": "str", "required": True}, **_OPTIONS},
        },
        **_glue.with_defaults(_OPTIONS, state="active"),
        **choice.OPTIONS,
        **_glue.shared("force", ALLOW, "on_error", "lock_timeout", "uri"),
        "timeout": {"type": "int", "default": 0},
    },
    "required_one_of": [("name", "networks")],
    "mutually_exclusive": [("name", "networks")],
}
