# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_link: the stages of a run over macvtap links, and its result."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import around, attached
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options as guard_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reach import RouteMonitor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    holders,
    kernel_errors,
    netlink,
    netns,
    options,
    planner,
    rtnetlink,
    steps,
    tap,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    warnings as link_warnings,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    DesiredLink,
    Holders,
    Link,
    Links,
    report,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Outcome, Plan, Step, converge
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import ask, choice, link_modes


class _Answers(t.NamedTuple):
    """Answers from before the plan: the desired links with resolved modes, holders of taps, how the host is reached.

    ``first`` is what ``links``, the first observation, lack of them.
    """

    desired: list[DesiredLink]
    warnings: tuple[str, ...]
    links: Links
    first: Plan[Link]
    holders: dict[str, Holders]
    reach: Reach


class _Stages:
    """The stages of one run, from options to result."""

    def __init__(
        self, module: _glue.Module, desired: list[DesiredLink], session: netlink.Session, monitor: RouteMonitor
    ) -> None:
        self._params = module.params
        self._desired = desired
        self._session = session
        self._monitor = monitor
        self._purge_group = options.purge_group(module.params)
        self._switches = ask.Switches(auto=module.params["auto"], check=module.params["check_relay"])
        self._warnings: list[str] = []
        session.on_links = self._put_guards

    def _put_guards(self, links: t.Sequence[Link], new: bool) -> t.Mapping[str, MacvtapError]:
        """Put stored guards on links that are new or have another MAC address, before guests can use them."""
        nics = [(link.name, link.mac) for link in links if link.kind == "macvtap" and link.mac]
        indexes = {link.name: link.index for link in links}
        failures = attached.put_on(nics, indexes=indexes) if new else attached.moved(nics, indexes)
        self._warnings += failures.warnings
        return failures.refused

    def observe(self) -> Links:
        # The names of links to purge are not known yet.
        names = None if self._purge_group else {entry.name for entry in self._desired}
        parents = {name for entry in self._desired if entry.parent for name in spellings(entry.parent)}
        return self._session.observe(names, parents=parents)

    def inquire(self, links: Links) -> _Answers:
        cases = link_modes.cases(self._desired, links, check=self._switches.check)
        modes, warnings = self._switches.resolve_auto(cases, links)
        resolved = link_modes.resolve_modes(self._desired, modes)
        first = planner.plan(resolved, links, purge_group=self._purge_group)
        # Without a change it does not matter who holds a tap, or how the host is reached.
        held, reach = {}, Reach()
        if first.changed:
            held, reach = holders.of(planner.disconnecting(first.steps, links)), self._monitor.observe()
        return _Answers(resolved, warnings, links, first, held, reach)

    def plan(self, links: Links, known: _Answers) -> Plan[Link]:
        planned = known.first
        if links is not known.links:
            planned = planner.plan(known.desired, links, purge_group=self._purge_group)
        planner.check_holders(planned, known.holders, force=self._params["force"])
        planned = reachability.checked(planned, known.reach, links, allowed=self._params[ALLOW])
        return replace(planned, warnings=(*planned.warnings, *known.warnings))

    def apply(self, steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
        self._session.apply(steps, journal, self._cut)

    def verify(self, planned: Plan[Link], links: Links, known: _Answers) -> Plan[Link]:
        steps.check_there(planned, links)
        remaining = self.plan(links, known)
        kernel_errors.check_ignored(remaining)
        return remaining

    def undo(self, journal: Journal[Link], links: Links) -> Plan[Link]:
        return planner.undo(journal, links, self._session.lost, self._session.brought)

    def revert(self, steps: t.Sequence[Step[Link]]) -> None:
        self._session.revert(steps, functools.partial(self._cut, back=True))

    def _cut(self, some: t.Sequence[Step[Link]], links: Links, *, back: bool = False) -> dict[str, MacvtapError]:
        """Check again right before the change: a guest may have started, or an address may have been added.

        On the way ``back``, in a rollback, a new link that a guest uses meanwhile always stays.
        """
        first = self._monitor.first if back else None
        refused: dict[str, MacvtapError] = {}
        if not self._params[ALLOW] and reachability.of_steps(some):
            refused = reachability.cuts(some, self._monitor.observe(), links, since=first)
        if back or not self._params["force"]:
            held = holders.of(self._session.with_taps(planner.disconnecting(some, links)))
            refused.update(planner.cuts(some, held, doubts=not back))
        return refused

    def result(self, outcome: Outcome[Link, Links], *, diff: bool) -> dict[str, t.Any]:
        desired, links = self._desired, steps.predicted(outcome.remaining, outcome.host)
        return {
            **outcome.plan.result(diff=diff),
            "links": [report(links[entry.key]) for entry in desired if entry.key in links],
            **self._switches.result(),
            "warnings": (
                *outcome.plan.warnings,
                *self._warnings,
                *link_warnings.of_taps(desired, links),
                *link_warnings.of_parents((entry.key for entry in desired if entry.state == "up"), links),
            ),
        }


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    entries = _glue.entries(params, "links", ("name", *LINK_OPTIONS, "guard"))
    # Errors of options come before the lock.
    options.purge_group(params)
    desired, files = netns.located([options.desired(path, given, tap.ACCOUNTS) for path, given in entries])
    how = around.How(
        module.check_mode, module._diff, params["on_error"] == "rollback", functools.partial(_glue.command, module)
    )
    lock = _glue.locked(module, "guards", doing="changing guards")
    with _glue.locked(module, "links"):
        return around.run(_guards(entries), lambda: _run(module, desired, files), how, lock)


def _guards(entries: t.Iterable[tuple[str, t.Mapping[str, t.Any]]]) -> around.Declared:
    """Return the guards that the entries declare.

    :raises MacvtapError: with the path of the option.
    """
    found, going = [], set()
    for path, given in entries:
        if given["guard"] is None:
            continue
        if given["netns"]:
            message = "guards are only for links in this task's own network namespace. Remove guard or netns"
            raise MacvtapError(message, path=join_path(path, "guard"))
        found.append(guard_options.declared(path, given, given["name"]))
        going |= {found[-1].mac} if given["state"] == "absent" else set()
    return around.declared(found, going=going)


def _run(module: _glue.Module, desired: list[DesiredLink], files: t.Mapping[str, str]) -> dict[str, t.Any]:
    params = module.params
    with netlink.session(files) as session, rtnetlink.open_socket() as sock:
        monitor = RouteMonitor(sock)
        stages = _Stages(module, desired, session, monitor)
        outcome = converge(
            observe=stages.observe,
            inquire=stages.inquire,
            plan=stages.plan,
            apply=stages.apply if params[ALLOW] else monitor.kept(stages.apply),
            verify=stages.verify,
            undo=stages.undo,
            revert=stages.revert,
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
    return stages.result(outcome, diff=module._diff)


_ENTRY = {"name": {"type": "str", "required": True}, **LINK_OPTIONS, "guard": guard_options.GUARD}
SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "name": {"type": "str"},
        "links": {"type": "list", "elements": "dict", "options": _ENTRY},
        **_glue.with_defaults(LINK_OPTIONS, state="up"),
        "guard": guard_options.GUARD,
        **choice.OPTIONS,
        **_glue.shared("purge", "force", ALLOW, "on_error", "lock_timeout"),
    },
    "mutually_exclusive": [("name", "links")],
    "required_one_of": [("name", "links")],
}
