# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that asks nftables for planned guards: all of a plan as the commands of one transaction."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    chains,
    guard_commands,
    guard_library,
    guard_links,
    rules,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Snapshot
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def commands(steps: t.Sequence[Step[State]], host: Host, snapshot: Snapshot, table: Table) -> list[rules.Object]:
    """Return the commands that carry out ``steps``: first what goes from links, then guards, then links.

    The links of ``host`` are those that have the names still that they were planned by. The kernel refuses the commands
    if the chain on a link is not as in ``snapshot``: another link may have got the name since, and its own guard.
    """
    pairs = [(t.cast("State", step.before), t.cast("State", step.after)) for step in steps]
    # A NIC may be about to get a name that is closed.
    bound = {one.link: one.mac for one in host.bindings if not one.closed or one.link in host.links}
    changed = {one.link for one in host.bindings if not one.intact}
    # Of a guest that has started meanwhile: its guard is on by now.
    kept = {new.mac: {*new.links} | (host.new if new.active is not None else set()) for _old, new in pairs}
    gone = {link for link, mac in bound.items() if mac in kept and link not in kept[mac]}
    found = [one for link in sorted(gone) for one in guard_commands.remove_rules(link, _listed(link, snapshot) or ())]
    loaded = [_of_guard(before, after, snapshot, table) for before, after in pairs]
    policies = {new.active.policy for (_old, new), one in zip(pairs, loaded) if new.active and one}
    found += chains.add_recorders(policies, snapshot, {"family": table.family, "table": table.name})
    found += [one for of_guard in loaded for one in of_guard]
    for _before, after in pairs:
        for link in after.links if after.active is not None else ():
            current = host.links.get(link)
            if current is not None and link not in host.state(after.mac).links:
                listed = _listed(link, snapshot)
                if link in changed - gone:
                    # It may be at no hook, or at that of another link.
                    found += guard_commands.remove_rules(link, listed or ())
                former = None if link in changed | gone else listed
                name = rules.chain_name(after.mac)
                found += guard_commands.add_link(link, after.mac, current.index, name, former)
    return found


def _listed(link: str, snapshot: Snapshot) -> list[rules.Object] | None:
    """Return the rules of the chain on a link by their handles, None without such a chain."""
    name = guard_commands.chain_of(link)
    if name not in snapshot.chains:
        return None
    return [{"handle": int.from_bytes(one.handle, "big")} for one in snapshot.rules.get(name, ())]


def _of_guard(before: State, after: State, snapshot: Snapshot, table: Table) -> list[rules.Object]:
    of_table = {"family": table.family, "table": table.name}
    name, names = rules.chain_name(after.mac), rules.set_names(after.mac)
    sets = rules.sets(after.active) if after.active is not None else []
    found = []
    is_new = before.active != after.active or before.outdated
    if after.active is not None and (is_new or name not in snapshot.chains):
        missing = [one for one in sets if one["name"] not in snapshot.sets]
        rendered = guard_library.in_its_words(table.library(), rules.render(after.active))
        found = guard_commands.add_guard(name, missing, guard_links.loadable(rendered))
    elif after.active is None and name in snapshot.chains:
        chain = {"chain": {**of_table, "name": name}}
        found = [{"flush": chain}, {"delete": chain}]
    unused = {*names} & snapshot.sets - {one["name"] for one in sets}
    return [*found, *({"delete": {"set": {**of_table, "name": one}}} for one in sorted(unused))]
