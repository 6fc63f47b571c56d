# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host's links as they are once its VLAN links are made, and what cannot be of these. Pure."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans as planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Place, Problem

# By the options with what is said of parents in general: checks.py.
_OF_PARENTS = (".parent", ".mtu")


def made(
    host: str, wanted: t.Sequence[WantedVlan], links: Links, *, going: t.Collection[str] = (), force: bool = False
) -> tuple[Links, list[Problem]]:
    """Return ``links`` as the VLAN links leave them that are made before anything is to be on these, and problems.

    ``going`` are the names of links that the role removes before.
    """
    links = {name: link for name, link in links.items() if name not in going}
    final, error = _planned(wanted, links, force=force)
    if error is None:
        return final, []
    problems = []
    try:
        vlan_refusals.check_parents_exist(wanted, links)
    except MacvtapError as exc:
        problems.append(Problem(Place(host), str(exc)))
    for want in wanted:
        one, refused = _planned([want], links, force=force)
        if refused is None:
            final = {**{name: link for name, link in final.items() if name in one or name not in links}, **one}
            continue
        if not refused.path.endswith(_OF_PARENTS):
            problems.append(Problem(_place(host, want), str(refused)))
        # What is to be on it is looked at as if it were there.
        if want.state != "absent":
            with contextlib.suppress(MacvtapError):
                parent = parents.resolve(want, links)
                mac, mtu = want.mac or parent.mac, want.mtu or parent.mtu
                link = Link(planner.name_of(want, parent), kind="vlan", parent=parent.name, mac=mac, mtu=mtu)
                final = {link.name: link, **final}
    if not problems and not error.path.endswith(_OF_PARENTS):
        # It is what they are together.
        problems.append(Problem(Place(host), str(error)))
    return final, problems


def _place(host: str, want: WantedVlan) -> Place:
    return Place(host, link=want.said_name, seen="declared")


def _planned(wanted: t.Sequence[WantedVlan], links: Links, *, force: bool) -> tuple[Links, MacvtapError | None]:
    final = dict(links)
    try:
        steps = planner.plan(wanted, links, force=force).steps
    except MacvtapError as exc:
        return final, exc
    for step in steps:
        if step.before is not None:
            final.pop(step.before.name, None)
        if step.after is not None:
            parent = links.get(step.after.parent or "", Link(""))
            # What is left to the kernel is the parent's.
            mac, mtu = step.after.mac or parent.mac, step.after.mtu or parent.mtu
            final[step.after.name] = replace(step.after, mac=mac, mtu=mtu)
        elif step.before is not None:
            # Those on it go with it.
            gone = step.before.index
            final = {n: one for n, one in final.items() if one.kind not in MACVLAN_KINDS or one.parent_index != gone}
    return final, None
