# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links a plan for domains takes away from the host itself. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def of_steps(steps: t.Iterable[Step[Nic]], host: Host) -> tuple[Disruption, ...]:
    """Return a Disruption for each link of ``host`` that a step newly gives to a guest in mode passthrough.

    A network with several uplinks may give any of them.
    """
    return tuple(disruption for step in steps for disruption in _of_step(step, host))


def _of_step(step: Step[Nic], host: Host) -> t.Iterator[Disruption]:
    before, after = ((nic.stored, nic.live) if nic else (None, None) for nic in (step.before, step.after))
    # Stored and live are separate: a source that is only stored is not taken yet.
    taken = {
        source for was, now in zip(before, after) for source in _passed_through(now, host) - _passed_through(was, host)
    }
    yield from (Disruption(source, Loss.PASSTHRU, step.path) for source in sorted(taken))


def _passed_through(iface: Iface | None, host: Host) -> set[str]:
    """Return the names of the links that may be the source of an interface in mode passthrough."""
    if iface is None or networks.mode(iface, host.networks) != "passthrough":
        return set()
    sources = networks.uplinks(iface, host.networks)
    if host.links is None:
        return set(sources)
    # The source may be an alternative name.
    links = (link_of(source, host.links) for source in sources)
    return {link.name for link in links if link is not None}
