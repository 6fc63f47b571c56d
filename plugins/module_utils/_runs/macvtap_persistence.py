# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_persistence: the files that links are created from at boot."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _file_store, _glue, _managed_files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import activate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import planner as dhcp_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import Leases
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.host import Access
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reach import RouteMonitor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    holders,
    ip_commands,
    netlink,
    options,
    rtnetlink,
    tap,
    vlan_options,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    disruptions,
    host,
    in_use,
    model,
    planner,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.choose_backend import PERSISTENCE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Outcome, Plan, converge


class _Answers(t.NamedTuple):
    """Warnings about what the host and guests lose, and the leases to ask the managers for."""

    warnings: list[str]
    leases: Leases


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    if not params["purge"] and all(params[option] is None for option in ("name", "links", "vlans", "shims")):
        raise MacvtapError("there is nothing to do: set name, links, vlans, shims or purge")
    declared = [*_vlans(params), *_links(params), *_shims(params)]
    lists_links = any(params[option] is not None for option in ("name", "links", "vlans"))
    purges_links = params["purge"] and (lists_links or params["shims"] is None)
    parents = {name for one in declared if one.entry.parent for name in spellings(one.entry.parent)}
    run = functools.partial(_glue.command, module)
    keywords = _keywords(declared, run)
    lock = _glue.locked(module, "persistence", doing="writing the files that links are created from at boot")
    with lock, netlink.session() as session, rtnetlink.open_socket() as sock:
        access, monitor = Access(session, sock, parents), RouteMonitor(sock)

        def observe() -> Host:
            current = host.observe(session.observe((), parents=parents))
            current = replace(current, keywords=keywords)
            if params["shims"] is None:
                return current
            reachable = access.observe()
            # Without connections none can be cut off.
            return replace(current, access=replace(reachable, connections=()) if params[ALLOW] else reachable)

        def entries(current: Host) -> list[Declared]:
            purges_shims = params["purge"] and params["shims"] is not None
            return [*declared, *(planner.purged_shims(declared, current) if purges_shims else ())]

        def plan(current: Host, _answers: _Answers | None = None) -> Plan[File]:
            return planner.plan(entries(current), current, purge=purges_links)

        def check_unused(resolved: Resolved, current: Host, planned: Plan[File]) -> list[str]:
            """Ask who uses the links whose configuration goes: macvtap_link and vlan_link would leave those alone."""
            if params["force"]:
                return []
            found = in_use.removals(resolved, current, planned, params["group"] if purges_links else None)
            taps = {tap.key: tap for one in found for tap in one.taps}
            return in_use.check(found, holders.of(session.with_taps(taps)), check_mode=module.check_mode)

        def inquire(current: Host) -> _Answers:
            resolved, planned = planner.resolved_of(entries(current), current), plan(current)
            lost = disruptions.of_plan(resolved, current, planned)
            configured = disruptions.by_networkd(current, planned)
            used = check_unused(resolved, current, planned)
            # How the host is reached matters only if something may be taken from it.
            reach = monitor.observe() if lost or configured else Reach()
            warnings = reachability.check(lost, reach, current.links, allowed=params[ALLOW])
            needed = {one.link for one in configured if reachability.cut_off(one, reach, current.links)}
            unread = activate.unread(run) if current.networkd else ()
            return _Answers([*used, *warnings], dhcp_planner.plan(resolved, current, planned, unread, needed))

        outcome = converge(
            observe=observe,
            inquire=inquire,
            plan=plan,
            apply=host.apply,
            undo=lambda journal, current: _managed_files.undo(journal.steps, current.files),
            revert=_file_store.revert,
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
        answers: _Answers = outcome.answers
        warnings, addresses = _activate(module, outcome, answers.leases, access)
    result = _result(module, declared, outcome, addresses)
    return {**result, "warnings": [*outcome.plan.warnings, *warnings, *answers.warnings]}


def _keywords(declared: t.Sequence[Declared], run: activate.Run) -> str:
    """Return what ip prints of the keywords of macvtap links, if a link has one that not every ip knows."""
    links = [one.entry for one in declared if isinstance(one.entry, DesiredLink) and one.entry.state != "absent"]
    answer = run(["ip", "link", "help", "macvtap"], None) if any(map(ip_commands.newer, links)) else None
    # Another ip, as busybox's, prints something else.
    return answer[1] if answer is not None and "macvtap mode" in answer[1] else ""


def _activate(
    module: _glue.Module, outcome: Outcome[File, Host], leases: Leases, access: Access
) -> tuple[list[str], t.Mapping[str, str | None]]:
    """Have systemd and the managers read the new files, and return warnings and the addresses of the shims."""
    warnings = list(dhcp_planner.plan_of(leases).warnings)
    if module.check_mode:
        return warnings, {lease.name: lease.address for lease in leases.leases}
    units = outcome.host.systemd and any(step.target.startswith(model.UNIT_DIR) for step in outcome.plan.steps)
    warnings += activate.activate(leases, functools.partial(_glue.command, module), units=units)
    return warnings, activate.wait(leases.leases, access.addresses)


def _result(
    module: _glue.Module,
    declared: t.Sequence[Declared],
    outcome: Outcome[File, Host],
    addresses: t.Mapping[str, str | None],
) -> dict[str, t.Any]:
    leases: Leases = outcome.answers.leases
    steps: tuple[t.Any, ...] = (*outcome.plan.steps, *dhcp_planner.plan_of(leases).steps)
    files = _managed_files.predicted(outcome.remaining, outcome.host.files)
    decisions = planner.resolved_of(declared, outcome.host).decisions
    return {
        **Plan(steps).result(diff=module._diff),
        "links": [{"name": name, "persistence": one.backend} for name, one in decisions.items()],
        "files": sorted(path for path, file in files.items() if file.ours),
        "written": [
            {"name": name, "kind": one.kind or None} for name, one in sorted(planner.written_of(files.values()).items())
        ],
        "leases": [
            {"name": lease.name, "address": addresses[lease.name], "unread": list(lease.unread)}
            for lease in leases.leases
        ],
    }


def _links(params: t.Mapping[str, t.Any]) -> t.Iterator[Declared]:
    if params["links"] is None and params["name"] is None:
        return
    for path, given in _glue.entries(params, "links", ("name", "persistence", *LINK_OPTIONS)):
        yield Declared(options.desired(path, given, tap.ACCOUNTS), given["persistence"])


def _vlans(params: t.Mapping[str, t.Any]) -> t.Iterator[Declared]:
    for path, given in _entries(params, "vlans"):
        yield Declared(vlan_options.desired(path, given), given["persistence"])


def _shims(params: t.Mapping[str, t.Any]) -> t.Iterator[Declared]:
    for path, given in _entries(params, "shims"):
        yield Declared(access_options.desired(path, given), given["persistence"])


def _entries(params: t.Mapping[str, t.Any], option: str) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield path and options of each VLAN or shim; only some of the module's own options are their defaults."""
    for index, given in enumerate(params[option] or ()):
        defaults = {one: params[one] if given[one] is None else given[one] for one in ("parent", "persistence")}
        yield f"{option}[{index}]", {**given, **defaults}


_LINKS = {"name": {"type": "str", "required": True}, **LINK_OPTIONS, "persistence": PERSISTENCE}
_SHIMS = {**access_options.SHIM_OPTIONS, "name": {"type": "str", "required": True}, "persistence": PERSISTENCE}
SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "name": {"type": "str"},
        "links": {"type": "list", "elements": "dict", "options": _LINKS},
        "vlans": {
            "type": "list",
            "elements": "dict",
            "options": {**vlan_options.VLAN_OPTIONS, "persistence": PERSISTENCE},
        },
        "shims": {"type": "list", "elements": "dict", "options": _SHIMS},
        **_glue.with_defaults(LINK_OPTIONS, state="up"),
        "persistence": {**PERSISTENCE, "default": "auto"},
        **_glue.shared("purge", "force", ALLOW, "lock_timeout", "on_error"),
    },
    "mutually_exclusive": [("name", "links")],
}
