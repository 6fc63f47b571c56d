# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_rules: from options to guards and udev rules."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hypervisor, udev_rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import around
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options as guard_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import rule_planner, rule_run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.rule_planner import DesiredRule
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    if not uris.is_local(params["uri"]) or uris.is_session(params["uri"]):
        raise MacvtapError(f"{params['uri']} is not this host's own libvirt, and the rules are this host's", path="uri")
    nics = _nics(params["nics"])
    run_command = functools.partial(_glue.command, module)
    store = udev_rules.RuleStore(run_command)
    with (
        _glue.locked(module, "domains", per_user=True, doing="changing domains"),
        hypervisor.connect(params["uri"], read_only=True) as connected,
    ):
        kept: dict[str, tuple[str, ...]] = {}
        if params["state"] == "absent":
            kept = rule_planner.staying([one["mac"] for _path, one in nics], rule_run.read(connected, store))
        changed = [(path, one) for path, one in nics if one["mac"] not in kept]
        # A rule that is there for another reason is left alone.
        present = params["state"] == "present"
        desired = [_desired(path, one, present) for path, one in changed if one["allmulticast"]]
        guards = around.declared(
            [_guard(path, one, params["state"]) for path, one in changed if _concerns(one, params["state"])],
            going=frozenset(one["mac"] for _path, one in changed) if params["state"] == "absent" else frozenset(),
            uri=params["uri"],
        )
        result = around.run(
            guards,
            lambda: rule_run.run(connected, store, desired, check_mode=module.check_mode, diff=module._diff),
            around.How(module.check_mode, module._diff, True, run_command),
            _glue.locked(module, "guards", doing="changing guards"),
        )
    left = [f"{mac} ({join_names(list(names))})" for mac, names in sorted(kept.items())]
    warnings = [f"the rules of {join_names(left)} stay: domains of this host have these addresses"] if left else []
    return {**result, "warnings": [*result["warnings"], *warnings]}


def _nics(given: t.Sequence[t.Mapping[str, t.Any]]) -> list[tuple[str, dict[str, t.Any]]]:
    found: dict[str, tuple[str, dict[str, t.Any]]] = {}
    for number, one in enumerate(given):
        path = f"nics[{number}]"
        mac = _mac.require(one["mac"], path=join_path(path, "mac"))
        if mac in found:
            raise declared_twice(mac, path, found[mac][0])
        found[mac] = path, {**one, "mac": mac}
    return list(found.values())


def _desired(path: str, nic: t.Mapping[str, t.Any], present: bool) -> DesiredRule:
    return DesiredRule(join_path(path, "allmulticast"), nic["mac"], present)


def _concerns(nic: t.Mapping[str, t.Any], state: str) -> bool:
    """Whether this run is about the guard of a NIC. One that was only declared to stay is not removed."""
    return nic["guard"] is not None and not (nic["keep_guard"] and state == "absent")


def _guard(path: str, nic: t.Mapping[str, t.Any], state: str) -> guard_options.Desired:
    found = guard_options.declared(path, {"mac": nic["mac"], "state": state, "guard": nic["guard"]})
    return replace(found, keep=join_path(path, "keep_guard") if nic["keep_guard"] else "")


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "nics": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "mac": {"type": "str", "required": True},
                "allmulticast": {"type": "bool", "default": False},
                "guard": guard_options.GUARD,
                "keep_guard": {"type": "bool", "default": False},
            },
        },
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **_glue.shared("uri", "lock_timeout"),
    },
}
