# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is not written down, because the host could not be reached after the next boot. Pure.

It is what macvtap_host_access and macvtap_link refuse to do now, and said by the same code: this module can be run
without those.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import planner, refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    Address,
    Companion,
    Host,
    Route,
    Wanted,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Kept
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

# What is declared, and what is to be kept of it, nothing of one that is to be absent.
Declared = t.Sequence[t.Tuple[Wanted, t.Optional[Kept]]]


def check(declared: Declared, host: Host) -> None:
    """Refuse companions that ``host``, as it is now, could not be reached with, or not by whoever runs this.

    :raises MacvtapError: at the option.
    """
    refusals.check_declared_once([want for want, _kept in declared])
    refusals.check([(want, _step(want, kept, host)) for want, kept in declared], host)


def disruptions(kept: t.Iterable[Kept], links: Links) -> t.Iterator[Disruption]:
    """Yield what links in mode passthru take at the next boot that they have not taken already."""
    for one in kept:
        there = links.get(one.name)
        taken = there is not None and there.mode == one.mode and there.parent == one.parent.name
        if one.mode == "passthru" and not taken:
            yield Disruption(one.parent.name, Loss.PASSTHRU, one.path)


def _step(want: Wanted, kept: Kept | None, host: Host) -> Step[Companion]:
    before = planner.found(want.name, host, dhcp4=want.dhcp4)
    return Step(want.name, before, None if kept is None else _companion(kept), (), path=want.path)


def _companion(kept: Kept) -> Companion:
    split = (address.partition("/") for address in kept.addresses)
    return Companion(
        Link(kept.name),
        {},
        tuple(Address(address, int(length)) for address, _slash, length in split),
        tuple(Route(route.destination, source=route.source) for route in kept.routes),
        kept.dhcp4,
    )
