# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for vlan_link: the stages of a run over VLAN links, and its result."""

from __future__ import annotations

import contextlib
import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reach import RouteMonitor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    holders,
    netlink,
    rtnetlink,
    steps,
    vlan_options,
    vlan_validate,
    vlans,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holders, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings, standing_on
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step, converge


class _Answers(t.NamedTuple):
    """Answers from before the plan: how the host is reached, and holders of taps on VLAN links to set down."""

    reach: Reach
    holders: dict[str, Holders]


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    desired = [
        vlan_options.desired(path, given) for path, given in _glue.entries(params, "vlans", vlan_options.VLAN_OPTIONS)
    ]
    parents = {name for entry in desired for name in spellings(entry.parent)}

    def inquire(links: Links) -> _Answers:
        down = []
        for entry in desired:
            # The plan reports errors about the parent.
            with contextlib.suppress(MacvtapError):
                down += [vlans.current(entry, links)] if entry.state == "down" else []
        first = vlans.plan(desired, links, force=params["force"])
        # Without a change it does not matter how the host is reached.
        reach = monitor.observe() if first.changed else Reach()
        return _Answers(reach, held_on([link for link in down if link is not None], links))

    def held_on(below: t.Sequence[Link], links: Links) -> dict[str, Holders]:
        """Return the holders of the taps of links on those ``below``."""
        on_it = {one.key: one for link in below for one in standing_on(link, links) if one.kind == "macvtap"}
        taps = session.taps(list(on_it.values())) if on_it else {}
        return holders.of({key: replace(link, tap=taps.get(key)) for key, link in on_it.items()})

    def plan(links: Links, known: _Answers) -> Plan[Link]:
        planned = vlans.plan(desired, links, force=params["force"])
        vlan_validate.check_guests(planned, links, known.holders, force=params["force"])
        return reachability.checked(planned, known.reach, links, allowed=params[ALLOW])

    def verify(planned: Plan[Link], links: Links, known: _Answers) -> Plan[Link]:
        steps.check_there(planned, links)
        return plan(links, known)

    def cut(some: t.Sequence[Step[Link]], links: Links, *, back: bool = False) -> dict[str, MacvtapError]:
        """Check again right before the change: a guest may have started, or an address may have been added.

        On the way ``back``, in a rollback, a link that a guest uses meanwhile always stays.
        """
        first = monitor.first if back else None
        refused = {} if params[ALLOW] else reachability.cuts(some, monitor.observe(), links, since=first)
        if back or not params["force"]:
            falling = [step.before for step in some if step.before and step.after and not step.after.up]
            refused.update(vlan_validate.cuts(some, links, held_on(falling, links)))
        return {**refused, **vlan_validate.arrived(some, links)}

    with _glue.locked(module, "links"), netlink.session() as session, rtnetlink.open_socket() as sock:
        monitor = RouteMonitor(sock)

        def apply(steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
            session.apply(steps, journal, cut)

        outcome = converge(
            observe=lambda: session.observe((), parents=parents),
            inquire=inquire,
            plan=plan,
            apply=apply if params[ALLOW] else monitor.kept(apply),
            verify=verify,
            undo=lambda journal, links: vlans.undo(journal, links, session.lost, session.brought),
            revert=lambda steps: session.revert(steps, functools.partial(cut, back=True)),
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
    links = steps.predicted(outcome.remaining, outcome.host)
    found = [vlans.current(entry, links) for entry in desired]
    return {
        **outcome.plan.result(diff=module._diff),
        "vlans": [report(link) for link in found if link is not None],
        "warnings": outcome.plan.warnings,
    }


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "vlans": {"type": "list", "elements": "dict", "options": vlan_options.VLAN_OPTIONS},
        **_glue.with_defaults(vlan_options.VLAN_OPTIONS, state="up"),
        **_glue.shared("force", ALLOW, "on_error", "lock_timeout"),
    },
    "mutually_exclusive": [("name", "vlans")],
    "required_one_of": [("id", "vlans")],
}
