# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_host_access: macvlan shims, and what is reached over them."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import options, planner, undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.host import Access
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Host, Shim, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink, rtnetlink, vlan_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, converge


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    desired = [options.desired(path, given) for path, given in _glue.entries(params, "shims", options.SHIM_OPTIONS)]
    parents = {name for entry in desired if entry.parent for name in spellings(entry.parent)}

    def plan(host: Host, _answers: None) -> Plan[Shim]:
        others = planner.purged(desired, host) if params["purge"] else []
        return planner.plan([*desired, *others], host, allowed=params[ALLOW])

    with _glue.locked(module, "links"), netlink.session() as session, rtnetlink.open_socket() as sock:
        access = Access(session, sock, parents, allowed=params[ALLOW], confirm=vlan_validate.arrived)
        outcome = converge(
            observe=access.observe,
            plan=plan,
            apply=access.apply,
            undo=undo.undo,
            revert=access.revert,
            check_mode=module.check_mode,
        )
    planned = {step.target: step.after for step in outcome.remaining.steps}
    shims: list[Shim | None] = [
        planned[entry.name] if entry.name in planned else planner.current(entry.name, outcome.host, dhcp4=entry.dhcp4)
        for entry in desired
    ]
    return {
        **outcome.plan.result(diff=module._diff),
        "shims": [report(shim) for shim in shims if shim is not None],
        "warnings": outcome.plan.warnings,
    }


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "shims": {"type": "list", "elements": "dict", "options": options.SHIM_OPTIONS},
        **_glue.with_defaults(options.SHIM_OPTIONS, state="present", dhcp4=False),
        **_glue.shared("purge", ALLOW, "lock_timeout"),
    },
    "mutually_exclusive": [("name", "shims")],
    "required_one_of": [("name", "shims")],
}
