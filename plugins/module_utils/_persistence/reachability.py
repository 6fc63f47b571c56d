# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is not written down, because the host could not be reached after the next boot. Pure.

macvtap_host_access and macvtap_link refuse to do it now, by the same code: this module can be run without those.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import planner, refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Companion, Host, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Desired, Stack
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


def check(companions: t.Sequence[tuple[Wanted, Desired | None]], host: Host) -> None:
    """Refuse companions that ``host``, as it is now, could not be reached with, or not by whoever runs this.

    :param companions: what is declared, and what is to be there of it, None of one that is to be absent.
    :raises MacvtapError: at the option.
    """
    refusals.check_declared_once([want for want, _desired in companions])
    steps = []
    for want, desired in companions:
        before = planner.found(want.name, host, dhcp4=want.dhcp4)
        stack = desired.stack if desired is not None else Stack()
        there = Companion(Link(want.name), {}, stack.addresses, stack.routes, stack.dhcp4)
        steps.append((want, Step(want.name, before, None if desired is None else there, (), path=want.path)))
    refusals.check(steps, host)


def disruptions(desired: t.Iterable[Desired], links: Links) -> t.Iterator[Disruption]:
    """Yield what links in mode passthru take at the next boot that they have not taken already."""
    for one in desired:
        there = links.get(one.name)
        taken = there is not None and there.mode == one.link.mode and there.parent == one.parent.name
        if one.link.mode == "passthru" and not taken:
            yield Disruption(one.parent.name, Loss.PASSTHRU, one.path)
