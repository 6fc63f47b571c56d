# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_guard: guards in the table of nftables."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guests, options, planner, selinux
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.host import Guards
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import converge


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    desired = [options.desired(path, given) for path, given in _glue.entries(params, "guards", options.OPTIONS)]
    expected = params["nic_required"]
    asked = [
        guests.Asked(one.path, one.domain, one.mac, expected)
        for one in desired
        if one.domain and one.mac and one.present
    ]

    def inquire(_host: Host) -> t.Mapping[str, str]:
        if any(one.present for one in desired):
            table.require_egress(host.snapshot)
            warnings[:] = selinux.check() if params["persistent"] else []
        return guests.links(asked, params["uri"])

    def plan(host: Host, links: t.Mapping[str, str]) -> t.Any:
        for one in desired:
            if one.link in host.new:
                message = f"another link has got the name {one.link} while this task ran. Run it again"
                raise MacvtapError(message, path=join_path(one.path, "link"))
        # A link that is gone is known by its chain alone, which goes with the guard.
        resolved[:] = resolved or [planner.resolved(one, host) for one in desired]
        return planner.plan(resolved, host, links, persistent=params["persistent"])

    warnings: list[str] = []
    resolved: list[options.Desired] = []
    table = Table()
    with _glue.locked(module, "guards", doing="changing guards"), contextlib.closing(table):
        known = Known(keeps=not module.check_mode)
        host = Guards(table, Installer(functools.partial(_glue.command, module)), known=known)
        host.keeps = params["on_error"] == "keep"
        host.asked = {one.mac or one.link or "" for one in desired}
        outcome = converge(
            observe=host.observe,
            inquire=inquire,
            plan=plan,
            apply=host.apply,
            undo=planner.undo,
            # A guest may start at any time. The links that come before its guard is in the file are guarded by apply.
            verify=lambda _planned, host, links: planner.without_new_links(plan(host, links), host.new),
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
        result = outcome.plan.result(diff=module._diff)
        # Whatever has changed: what loads the guards may lack something all the same.
        absent = {one.mac or "" for one in resolved if not one.present}
        refreshed = host.refresh(check_mode=module.check_mode, absent=absent)
    states = planner.predicted(outcome.remaining, outcome.host)
    macs = [planner.mac_of(one, outcome.host) for one in desired if one.present]
    return {
        **result,
        "changed": result["changed"] or refreshed,
        "guards": [planner.report(states[mac]) for mac in macs],
        "warnings": [*outcome.plan.warnings, *host.warnings, *warnings],
    }


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "guards": {"type": "list", "elements": "dict", "options": options.OPTIONS},
        **_glue.with_defaults(options.OPTIONS, **options.DEFAULTS),
        "persistent": {"type": "bool", "default": True},
        "nic_required": {"type": "bool", "default": True},
        **_glue.shared("uri", "on_error", "lock_timeout"),
    },
    "mutually_exclusive": [("mac", "guards"), ("link", "guards"), ("domain", "guards")],
    "required_one_of": [("mac", "link", "guards")],
}
