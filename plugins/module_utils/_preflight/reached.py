# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which guests the host does not reach over a companion, whatever addresses they have. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.caveats import UNREACHED
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.caveats import unreached as words
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def unreached(host: Host) -> t.Iterator[str]:
    """Say of each companion which NICs and links on its parent are in a mode in which it does not reach them."""
    for companion in host.companions:
        parent = parents.lookup(companion.parent or "", host.links)
        if companion.state == "absent" or not companion.guests or parent is None:
            continue
        reflects = host.reflects.get(parent.name) is True
        others = [
            f"{whose} ({mode})"
            for named, mode, whose in _on_links(host)
            if mode in UNREACHED and not (mode == "vepa" and reflects)
            if (lower := parents.lookup(named or "", host.links)) is not None and lower.name == parent.name
        ]
        if others:
            yield f"{companion.name}: {words(join_names(others), parent.name)}"


def _on_links(host: Host) -> t.Iterator[tuple[str | None, str | None, str]]:
    for link in host.beside():
        yield link.parent, link.mode, link.key
    for wanted in host.declared_links:
        if not wanted.absent:
            yield host.parent_of(wanted), wanted.mode, wanted.key
    for nic in host.nics:
        if nic.type == "direct":
            yield nic.final("source"), nic.final("mode"), f"{nic.domain} {nic.mac}".strip()
