# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What Ansible's connection needs of a shim stays, and what it does not need may go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from shims import ABSENT, BARE, KERNEL, OVER_HOST0, WAYS, WITH, want

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    SCOPE_LINK,
    Address,
    Connection,
    DesiredShim,
    Route,
)

from .planned import also, plan, refused

# From a guest by the shim's address or the host's, and from the LAN by the shim's.
OVER_IT = [
    Connection("192.0.2.250", "192.0.2.77"),
    Connection("192.0.2.1", "192.0.2.77"),
    Connection("2001:db8::250", "2001:db8::77"),
    Connection("192.0.2.250", "203.0.113.5"),
    Connection("fe80::fa", "fe80::5"),
]


@pytest.mark.parametrize("connection", OVER_IT, ids=str)
@pytest.mark.parametrize("wanted", [ABSENT, want(parent="eth1"), want(mac="02:00:00:00:00:fb")], ids=str)
def test_what_ansible_runs_over_stays(connection: Connection, wanted: DesiredShim) -> None:
    text = refused(wanted, also(WITH, connection))
    assert f"Ansible's connection from {connection.peer} to {connection.local} goes over host0" in text


@pytest.mark.parametrize(
    "wanted", [ABSENT, want(parent="eth1"), want(mac="02:00:00:00:00:fb"), want(guests=())], ids=str
)
@pytest.mark.parametrize(
    "connection", [Connection("192.0.2.1", "203.0.113.5"), Connection("fe80::2", "fe80::5")], ids=str
)
def test_what_ansible_does_not_run_over_may_go(connection: Connection, wanted: DesiredShim) -> None:
    assert plan(wanted, also(WITH, connection)).changed


def test_the_way_to_the_peer_stays() -> None:
    peer = Connection("192.0.2.1", "192.0.2.77")
    assert "192.0.2.77 over host0; removing that route would cut it off" in refused(want(guests=()), also(WITH, peer))
    # A wider route that has it too takes its place.
    assert plan(want(guests=("192.0.2.64/27",)), also(WITH, peer)).changed
    assert "and removing 192.0.2.250 would" in refused(
        want(addresses=("192.0.2.251", "2001:db8::250")), also(WITH, Connection("192.0.2.250", "203.0.113.5"))
    )


def test_the_way_is_the_one_that_the_kernel_takes() -> None:
    # By another table, or a rule: the main table leads elsewhere.
    over = Connection("192.0.2.1", "203.0.113.5", index=10, gateway="192.0.2.77")
    for wanted in (ABSENT, want(parent="eth1"), want(mac="02:00:00:00:00:fb")):
        assert "Ansible's connection from 203.0.113.5 to 192.0.2.1 goes over host0" in refused(wanted, also(WITH, over))
    # And the other way round.
    beside = Connection("192.0.2.1", "192.0.2.77", index=2)
    assert plan(ABSENT, also(WITH, replace(beside, peer="203.0.113.5"))).changed


def test_a_route_of_the_kernels_goes_with_its_address() -> None:
    undeclared = (Address("10.1.1.5", 24, index=10), Route("10.1.1.0/24", 10, protocol=KERNEL, scope=SCOPE_LINK))
    assert plan(want(), also(WITH, *undeclared)).changed
    connection = Connection("192.0.2.1", "10.1.1.9", index=10)
    text = refused(want(), also(WITH, *undeclared, connection))
    assert "guests: Ansible connects from 10.1.1.9 over host0; removing that route would cut it off" in text
    # Of two addresses the other one keeps it.
    kept = want(addresses=("192.0.2.250", "2001:db8::250", "10.1.1.6"))
    two = (*undeclared, Address("10.1.1.6", 32, index=10))
    assert plan(kept, also(WITH, *two, connection)).changed


@pytest.mark.parametrize("elsewhere", [False, True])
def test_others_routes_do_not_go_with_an_address(elsewhere: bool) -> None:
    theirs = Route("203.0.113.0/24", 2, "192.0.2.9", source="192.0.2.250")
    host = also(WITH, theirs)
    host = replace(WITH, elsewhere=(replace(theirs, table=100),)) if elsewhere else host
    for wanted, path in (
        (ABSENT, "shims[3]"),
        (want(parent="eth1"), "shims[3].addresses"),
        (want(addresses=("192.0.2.251", "2001:db8::250")), "shims[3].addresses"),
    ):
        text = refused(wanted, host)
        assert text.startswith(f"{path}: the route to 203.0.113.0/24 over eth0 has the source 192.0.2.250 of host0")
    assert plan(want(guests=()), host).changed
    # Of IPv6 they lose no more than that.
    six = also(WITH, Route("2001:db8:9::/48", 2, source="2001:db8::250"))
    assert plan(ABSENT, six).changed


def test_of_a_network_of_two_both_may_be_had() -> None:
    host = also(BARE, Address("198.51.100.2", 31, index=3))
    assert plan(want(addresses=("198.51.100.3",), guests=()), host).changed


def test_a_route_that_would_not_go_alone_is_left() -> None:
    apart = Route("198.51.100.0/24", 10, "192.0.2.77", apart="has several next hops")
    for wanted, path in ((want(), "shims[3].guests"), (ABSENT, "shims[3]")):
        text = refused(wanted, also(WITH, apart))
        assert text.startswith(f"{path}: the route to 198.51.100.0/24 over host0 has several next hops, so it")
    other = replace(WITH, elsewhere=(replace(apart, table=100),))
    assert not plan(want(), other).changed
    assert refused(ABSENT, other).startswith("shims[3]: the route to 198.51.100.0/24 over host0 has several")
    # Nor is one taken for what was declared.
    tos = replace(OVER_HOST0[0], apart="has the type of service 0x10")
    host = replace(WITH, routes=(*WAYS, tos, *OVER_HOST0[1:]))
    assert "the route to 192.0.2.77/32 over host0 has the type of service 0x10" in refused(want(), host)
