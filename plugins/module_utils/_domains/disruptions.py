# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links a plan for domains takes away from the host itself. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def of_steps(steps: t.Iterable[Step[Nic]]) -> tuple[Disruption, ...]:
    """Return a Disruption for each source that a step newly gives to a guest in mode passthrough."""
    return tuple(disruption for step in steps for disruption in _of_step(step))


def _of_step(step: Step[Nic]) -> t.Iterator[Disruption]:
    before, after = ((nic.stored, nic.live) if nic else (None, None) for nic in (step.before, step.after))
    # Stored and live are separate: a source that is only stored is not taken yet.
    sources = {
        _passthrough_source(now)
        for was, now in zip(before, after)
        if _passthrough_source(now) != _passthrough_source(was)
    }
    yield from (Disruption(source, Loss.PASSTHRU, step.path) for source in sources if source is not None)


def _passthrough_source(iface: Iface | None) -> str | None:
    """Return the source of an interface in mode passthrough."""
    passes = iface is not None and iface.type == "direct" and iface.get("mode") == "passthrough"
    return iface.get("source") if iface is not None and passes else None
