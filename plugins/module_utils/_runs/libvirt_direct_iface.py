# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_direct_iface: from options to declared interfaces."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    declare,
    hypervisor,
    impact,
    run,
    udev_rules,
    xmlfile,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.adapter import Domains
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import around
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options as guard_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import clears_default
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import choice

_STATES = ["present", "absent"]
_OPTIONS = {**declare.OPTIONS, "source": {**declare.OPTIONS["source"], "aliases": ["parent", "dev"]}}


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    impact.validate_level(params["live"])
    if params["xml_file"] is not None and params["on_missing"] == run.SKIP:
        raise MacvtapError(
            "cannot be used with xml_file, which always has its one domain. Remove on_missing", path="on_missing"
        )
    options = ("domain", "mac", "state", *_OPTIONS, "guard")
    entries = _glue.entries(params, "interfaces", options, clears_default)
    entries = declare.with_own_place(entries, params["interfaces"])
    defaults = _glue.defaulted(params, "interfaces", "allmulticast")
    guards = _guards(entries, params)
    lock = _glue.locked(module, "domains", per_user=True, doing="changing domains")
    with lock, _domains(module) as domains:
        declared = declare.declare(entries, only_domain=domains.only_domain, defaults=defaults)
        how = {name: params[name] for name in run.Options._fields if name in params}
        options_of_run = run.Options(**how, check_mode=module.check_mode, diff=module._diff)
        return around.run(
            guards,
            lambda: run.run(domains, declared, options_of_run),
            around.How(
                module.check_mode,
                module._diff,
                params["on_error"] == "rollback",
                functools.partial(_glue.command, module),
            ),
            _glue.locked(module, "guards", doing="changing guards"),
        )


def _guards(entries: t.Iterable[tuple[str, t.Mapping[str, t.Any]]], params: t.Mapping[str, t.Any]) -> around.Declared:
    """Return the guards that the entries declare.

    :raises MacvtapError: with the path of the option.
    """
    found = []
    going = set()
    for path, given in entries:
        if given["guard"] is None:
            continue
        if params["xml_file"] is not None or not uris.is_local(params["uri"]):
            where = "xml_file" if params["xml_file"] is not None else f"uri {params['uri']}"
            raise MacvtapError(
                f"a guard is stored on the guest's own host, and with {where} that may not be this host. Remove guard",
                path=join_path(path, "guard"),
            )
        found.append(guard_options.declared(path, given))
        going |= {found[-1].mac} if given["state"] == "absent" else set()
    return around.declared(found, going=going, uri=params["uri"])


@contextlib.contextmanager
def _domains(module: _glue.Module) -> t.Iterator[Domains]:
    params = module.params
    if params["xml_file"] is not None:
        backup = module.backup_local if params["backup"] else None
        write, in_place = xmlfile.writer(module), params["unsafe_writes"]
        yield xmlfile.open_file(params["xml_file"], write=write, backup=backup, in_place=in_place)
        return
    rules = udev_rules.RuleStore(lambda command: _glue.command(module, command))
    with hypervisor.connect(params["uri"], timeout=params["timeout"], rules=rules) as connected:
        yield connected


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "domain": {"type": "str"},
        "mac": {"type": "str"},
        "interfaces": {
            "type": "list",
            "elements": "dict",
            "options": {
                "domain": {"type": "str"},
                "mac": {"type": "str"},
                "state": {"type": "str", "choices": _STATES},
                "guard": guard_options.GUARD,
                **_OPTIONS,
            },
        },
        "state": {"type": "str", "choices": _STATES, "default": "present"},
        **choice.OPTIONS,
        **_glue.shared("purge", ALLOW, "on_error", "lock_timeout", "uri"),
        "on_missing": {"type": "str", "choices": [run.FAIL, run.SKIP], "default": run.FAIL},
        "live": {"type": "list", "elements": "str", "choices": list(impact.LEVELS), "default": ["update"]},
        "pause_max": {"type": "float"},
        "xml_file": {"type": "path"},
        "backup": {"type": "bool", "default": False},
        "unsafe_writes": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 20},
        "guard": guard_options.GUARD,
        **_OPTIONS,
    },
    "required_one_of": [("domain", "interfaces", "xml_file")],
    "mutually_exclusive": [("domain", "interfaces"), ("mac", "interfaces")],
}
