# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links a plan for domains takes away from the host itself. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def of_steps(steps: t.Iterable[Step[Nic]], links: Links) -> tuple[Disruption, ...]:
    """Return a Disruption for each of the ``links`` that a step newly gives to a guest in mode passthrough."""
    return tuple(disruption for step in steps for disruption in _of_step(step, links))


def _of_step(step: Step[Nic], links: Links) -> t.Iterator[Disruption]:
    before, after = ((nic.stored, nic.live) if nic else (None, None) for nic in (step.before, step.after))
    # Stored and live are separate: a source that is only stored is not taken yet.
    sources = {
        taken
        for was, now in zip(before, after)
        if (taken := _passed_through(now, links)) != _passed_through(was, links)
    }
    yield from (Disruption(source, Loss.PASSTHRU, step.path) for source in sources if source is not None)


def _passed_through(iface: Iface | None, links: Links) -> str | None:
    """Return the name of the link that is the source of an interface in mode passthrough."""
    if iface is None or iface.type != "direct" or iface.get("mode") != "passthrough":
        return None
    # The source may be an alternative name.
    link = link_of(iface.get("source"), links)
    return link.name if link is not None else None
