# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links are on which, and need which. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links

# Masters that receive through their ports; those of the second kind need only one port.
BRIDGES, _BONDS = ("bridge", "openvswitch"), ("bond", "team", "vrf")


class Tree:
    """Links, and those directly on each of them: of a thousand links, each is asked about."""

    def __init__(self, links: Links) -> None:
        self.links = links
        # Of this network namespace.
        self.here = [link for link in links.values() if link.netns is None]
        self._above: dict[int, list[Link]] = {}
        for link in self.here:
            for index in dict.fromkeys((link.under, link.parent_index if link.parent else 0)):
                self._above.setdefault(index, []).append(link)

    def above(self, link: Link) -> list[Link]:
        return self._above.get(link.index, [])


def needing(target: Link, tree: Tree, exclude: Links | None = None) -> t.Iterator[Link]:
    """Yield ``target`` and what depends on it: links on it, bridges that it is a port of, and so on."""
    found, new = {target.name: target, **(exclude or {})}, [target]
    while new:
        one = new.pop(0)
        yield one
        above = tree.above(one)
        master = tree.links.get(one.master or "")
        if master is not None and (master.kind in BRIDGES or _is_last_port(one, master, found, tree.here)):
            above = [*above, master]
        for link in above:
            if link.name not in found:
                found[link.name] = link
                new.append(link)


def _is_last_port(port: Link, master: Link, needing: t.Container[str], here: t.Iterable[Link]) -> bool:
    others = (link for link in here if link.master == master.name and link.up and link.name not in needing)
    return master.kind in _BONDS and port.master == master.name and next(others, None) is None


def names_on(link: Link, links: Links) -> tuple[str, ...]:
    """Return the names of the links directly on a link, which the kernel removes together with it."""
    return tuple(one.name for one in Tree(links).above(link))
