# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What interfaces of domains do to links that the host itself may be reached by. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def of_steps(steps: t.Iterable[Step[Nic]]) -> tuple[Disruption, ...]:
    """Return which sources are to serve a guest alone, in mode passthrough, that did not before."""
    return tuple(disruption for step in steps for disruption in _of_step(step))


def _of_step(step: Step[Nic]) -> t.Iterator[Disruption]:
    before, after = ((nic.stored, nic.live) if nic else (None, None) for nic in (step.before, step.after))
    # Each by itself: a domain that only stores it has taken nothing away yet.
    sources = {_alone(now) for was, now in zip(before, after) if _alone(now) != _alone(was)}
    yield from (Disruption(source, Loss.PASSTHRU, step.path) for source in sources if source is not None)


def _alone(iface: Iface | None) -> str | None:
    """Return the source of an interface in mode passthrough."""
    passes = iface is not None and iface.type == "direct" and iface.get("mode") == "passthrough"
    return iface.get("source") if iface is not None and passes else None
