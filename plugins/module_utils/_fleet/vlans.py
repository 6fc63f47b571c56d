# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host's links as they will be after its VLAN links are created, and problems of the VLAN links. Pure."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Place, Problem
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans as planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan

# checks.py reports errors of these options, for all parents.
_OF_PARENTS = (".parent", ".mtu")


def made(
    host: str, desired: t.Sequence[DesiredVlan], links: Links, *, removed: t.Collection[str] = (), force: bool = False
) -> tuple[Links, list[Problem]]:
    """Return the links after the ``desired`` VLAN links are created, which comes first, and their problems.

    ``removed`` are the names of links that the role removes before that.
    """
    links = {name: link for name, link in links.items() if name not in removed}
    final, error = _planned(desired, links, force=force)
    if error is None:
        return final, []
    problems = []
    try:
        vlan_validate.check_parents_exist(desired, links)
    except MacvtapError as exc:
        problems.append(Problem(Place(host), str(exc)))
    for vlan in desired:
        one, refusal = _planned([vlan], links, force=force)
        if refusal is None:
            final = {**{name: link for name, link in final.items() if name in one or name not in links}, **one}
            continue
        if not refusal.path.endswith(_OF_PARENTS):
            problems.append(Problem(_place(host, vlan), str(refusal)))
        # Declarations on top of it are checked as if it existed.
        if vlan.state != "absent":
            with contextlib.suppress(MacvtapError):
                parent = parents.resolve(vlan, links)
                mac, mtu = vlan.mac or parent.mac, vlan.mtu or parent.mtu
                link = Link(planner.name_of(vlan, parent), kind="vlan", parent=parent.name, mac=mac, mtu=mtu)
                final = {link.name: link, **final}
    if not problems and not error.path.endswith(_OF_PARENTS):
        # They are impossible only together.
        problems.append(Problem(Place(host), str(error)))
    return final, problems


def _place(host: str, vlan: DesiredVlan) -> Place:
    return Place(host, link=vlan.default_name, seen="declared")


def _planned(desired: t.Sequence[DesiredVlan], links: Links, *, force: bool) -> tuple[Links, MacvtapError | None]:
    final = dict(links)
    try:
        steps = planner.plan(desired, links, force=force).steps
    except MacvtapError as exc:
        return final, exc
    for step in steps:
        if step.before is not None:
            final.pop(step.before.name, None)
        if step.after is not None:
            parent = links.get(step.after.parent or "", Link(""))
            # The kernel's defaults are the parent's values.
            mac, mtu = step.after.mac or parent.mac, step.after.mtu or parent.mtu
            final[step.after.name] = replace(step.after, mac=mac, mtu=mtu)
        elif step.before is not None:
            # The links on it are removed with it.
            gone = step.before.index
            final = {n: one for n, one in final.items() if one.kind not in MACVLAN_KINDS or one.parent_index != gone}
    return final, None
