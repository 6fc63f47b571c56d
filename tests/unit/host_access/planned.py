# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the planner of shims makes of one shim, and a host with more on it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    Address,
    Connection,
    DesiredShim,
    Host,
    Route,
    Shim,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan


def plan(wanted: DesiredShim, host: Host) -> Plan[Shim]:
    return planner.plan([wanted], host)


def changes(wanted: DesiredShim, host: Host) -> list[t.Any]:
    return [(change.field, change.before, change.after) for change in plan(wanted, host).changes]


def refused(wanted: DesiredShim, host: Host) -> str:
    with pytest.raises(MacvtapError) as caught:
        plan(wanted, host)
    return str(caught.value)


def also(host: Host, *more: Address | Route | Connection) -> Host:
    return replace(
        host,
        addresses=host.addresses + tuple(one for one in more if isinstance(one, Address)),
        routes=host.routes + tuple(one for one in more if isinstance(one, Route)),
        connections=tuple(one for one in more if isinstance(one, Connection)),
    )
