# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads all guards of a host, for modules that change none."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.host import Guards
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table


def guards(*, counters: bool = False) -> list[dict[str, t.Any]]:
    """Return the guards by MAC address, as modules return them; with ``counters``, also what they have dropped.

    :raises MissingLibraryError: nftables is not installed.
    :raises MacvtapError: they cannot be read, for example because this is not root.
    """
    with contextlib.closing(Table()) as table:
        host = Guards(table, Installer(), known=Known(keeps=False))
        found = [planner.report(state) for _mac, state in sorted(host.observe().guards.items())]
        return [{**one, "counters": host.counters(one["mac"])} if counters else one for one in found]
