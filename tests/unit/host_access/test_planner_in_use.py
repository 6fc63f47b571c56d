# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A shim on which others have put something is neither removed nor recreated."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from shims import ABSENT, HOST0, WITH, want

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DHCP, Host, Route
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

from .planned import plan, refused

VXLAN = Link("vx0", 20, "vxlan", under=10)
VLAN = Link("host0.5", 21, "vlan", "host0", 10)
TABLE = Route("198.51.100.0/24", 10, table=100)


def also(*links: Link, routes: tuple[Route, ...] = (), master: str | None = None) -> Host:
    there = {**WITH.links, "host0": replace(HOST0, master=master), **{one.name: one for one in links}}
    return replace(WITH, links=there, elsewhere=routes)


@pytest.mark.parametrize(("wanted", "action"), [(ABSENT, "removing"), (want(parent="eth1"), "recreating")])
@pytest.mark.parametrize(
    ("host", "uses", "what"),
    [
        (also(VXLAN), "is the parent of vx0", "break that. Remove that first"),
        (also(VXLAN, VLAN), "is the parent of vx0, host0.5", "break that. Remove that first"),
        (also(master="br0"), "is a port of br0", "break that. Remove that first"),
        (
            also(routes=(TABLE,)),
            "has routes to 198.51.100.0/24 in table 100, which are not managed by this collection, and",
            "remove them. Remove them first",
        ),
    ],
)
def test_what_is_on_a_shim_keeps_it(wanted: t.Any, action: str, host: Host, uses: str, what: str) -> None:
    message = refused(wanted, host)
    assert message.startswith(f"shims[3]: host0 {uses}")
    assert message.endswith(f"{action} it would {what}")


@pytest.mark.parametrize("wanted", [want(mtu=1400), want(addresses=("192.0.2.250",), guests=())])
def test_what_changes_in_place_takes_nothing_along(wanted: t.Any) -> None:
    assert plan(wanted, also(VXLAN, routes=(TABLE,), master="br0")).changed


@pytest.mark.parametrize(
    "routes", [(replace(TABLE, index=2),), (replace(TABLE, protocol=2),), (replace(TABLE, protocol=DHCP),)]
)
def test_what_others_have_elsewhere_keeps_no_shim(routes: tuple[Route, ...]) -> None:
    on_the_uplink, in_a_namespace = Link("eth0.5", 22, "vlan", "eth0", 2), replace(VXLAN, netns="other")
    assert plan(ABSENT, also(on_the_uplink, in_a_namespace, routes=routes)).changed
