# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that the host cannot reach over a macvlan shim because of their mode. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.warnings import UNREACHED
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.warnings import (
    unreached as describe_unreached,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def unreached(host: Host) -> t.Iterator[str]:
    """Return for each shim which NICs and links on its parent it cannot reach because of their mode."""
    for shim in host.shims:
        parent = parents.lookup(shim.parent or "", host.links)
        if shim.state == "absent" or not shim.guests or parent is None:
            continue
        reflects = host.reflects.get(parent.name) is True
        others = [
            f"{holder} ({mode})"
            for named, mode, holder in _on_links(host)
            if mode in UNREACHED and not (mode == "vepa" and reflects)
            if (lower := parents.lookup(named or "", host.links)) is not None and lower.name == parent.name
        ]
        if others:
            yield f"{shim.name}: {describe_unreached(join_names(others), parent.name)}"


def _on_links(host: Host) -> t.Iterator[tuple[str | None, str | None, str]]:
    for link in host.unmanaged_links():
        yield link.parent, link.mode, link.key
    for desired in host.declared_links:
        if not desired.absent:
            yield host.parent_of(desired), desired.mode, desired.key
    for nic in host.nics:
        network = networks.of_nic(host, nic)
        if network is not None:
            yield from ((uplink, network.mode, f"{nic.domain} {nic.mac}".strip()) for uplink in network.interfaces)
        elif nic.type == "direct":
            yield nic.final("source"), nic.final("mode"), f"{nic.domain} {nic.mac}".strip()
