# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links are on which. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links


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


def names_on(link: Link, links: Links) -> tuple[str, ...]:
    """Return the names of the links directly on a link, which the kernel removes together with it."""
    return tuple(one.name for one in Tree(links).above(link))
