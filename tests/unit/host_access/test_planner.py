# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The planner of shims: what changes, what is refused, and what is left alone, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from shims import ABSENT, BARE, ETH0, ETH1, HOST0, RA, WITH, want

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    DHCP,
    OWNER_ALIAS,
    SCOPE_LINK,
    SETTINGS,
    Address,
    Connection,
    DesiredShim,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, Link

from .planned import also, changes, plan, refused


def test_a_new_one_is_one_change() -> None:
    (step,) = plan(want(), BARE).steps
    assert [(change.field, change.before, change.after) for change in step.changes] == [("state", "absent", "up")]
    assert step.after is not None
    assert (step.after.link.kind, step.after.link.mode, step.after.link.alias) == ("macvlan", "bridge", OWNER_ALIAS)
    assert step.after.settings == SETTINGS


@pytest.mark.parametrize("wanted", [want(), want(parent=None), want(parent="uplink"), want(mtu=1500, mac=HOST0.mac)])
def test_what_is_as_declared_is_left_alone(wanted: DesiredShim) -> None:
    assert not plan(wanted, WITH).changed


@pytest.mark.parametrize(
    "route",
    [
        # As NetworkManager, ifupdown and systemd-networkd make them.
        Route("192.0.2.77/32", 10, source="192.0.2.250", scope=SCOPE_LINK, metric=410),
        Route("192.0.2.77/32", 10, source="192.0.2.250", scope=SCOPE_LINK, protocol=3),
    ],
)
def test_a_route_that_does_is_left_whoever_has_made_it(route: Route) -> None:
    others = tuple(one for one in WITH.routes if one.destination != route.destination)
    assert not plan(want(), replace(WITH, routes=(*others, route))).changed
    v6 = Route("2001:db8::77/128", 10, source="2001:db8::250", metric=410)
    others = tuple(one for one in WITH.routes if one.destination != v6.destination)
    assert not plan(want(), replace(WITH, routes=(*others, v6))).changed


@pytest.mark.parametrize(
    ("more", "field"),
    [
        (Address("192.0.2.251", 32, index=10), "addresses"),
        (Address("192.0.2.250", 24, index=10), "addresses"),
        (Address("2001:db8:7::5", 64, index=10), "addresses"),
        (Route("192.0.2.78/32", 10), "guests"),
        (Route("192.0.2.77/32", 10, metric=7), "guests"),
        (Route("::/0", 10, "fe80::1", metric=1024, protocol=RA), "guests"),
    ],
)
def test_what_is_not_declared_goes(more: Address | Route, field: str) -> None:
    assert [change[0] for change in changes(want(), also(WITH, more))] == [field]


def test_an_address_that_somebody_else_has_turned_out_to_have_is_given_anew() -> None:
    failed = tuple(replace(one, failed=one.address == "2001:db8::250") for one in WITH.addresses)
    ((field, before, after),) = changes(want(), replace(WITH, addresses=failed))
    assert (field, set(before) - set(after)) == ("addresses", {"2001:db8::250/128 (duplicate)"})


def test_settings_are_put_right() -> None:
    host = replace(WITH, settings={"host0": {**SETTINGS, "ipv6/accept_ra": 1}})
    assert changes(want(), host) == [("accept_ra", 1, 0)]


def test_what_a_lease_brought_stays() -> None:
    wanted = want(addresses=("2001:db8::250",), dhcp4=True)
    leased = also(
        WITH,
        Address("192.0.2.133", 24, index=10, leased=True),
        Route("192.0.2.9/32", 10, "192.0.2.254", protocol=DHCP),
        Route("192.0.2.77/32", 10, scope=SCOPE_LINK),
    )
    leased = replace(
        leased,
        addresses=tuple(one for one in leased.addresses if one.address != "192.0.2.250"),
        routes=tuple(one for one in leased.routes if one.source != "192.0.2.250"),
    )
    assert not plan(wanted, leased).changed
    assert [change[0] for change in changes(want(), leased)] == ["addresses", "guests"]


def test_what_was_static_is_no_lease() -> None:
    wanted = want(addresses=("2001:db8::250",), dhcp4=True)
    (step,) = plan(wanted, WITH).steps
    assert [(change.field, change.after) for change in step.changes] == [
        ("addresses", ["2001:db8::250/128"]),
        # The kernel would take the route with the address that is its source.
        ("guests", ["192.0.2.77/32", "2001:db8::77/128"]),
    ]
    text = refused(wanted, also(WITH, Connection("192.0.2.250", "203.0.113.5")))
    assert "goes over host0, and removing 192.0.2.250 would cut it off" in text


def test_another_parent_makes_it_anew_with_all_that_is_on_it() -> None:
    (step,) = plan(want(parent="eth1"), WITH).steps
    assert step.recreates
    assert step.after is not None
    assert step.after.routes == (
        Route("192.0.2.77/32", source="192.0.2.250", scope=SCOPE_LINK),
        Route("2001:db8::77/128"),
    )


def test_one_that_a_killed_run_left_is_ours() -> None:
    half = replace(HOST0, alias="", group=INCOMPLETE_GROUP, up=False)
    host = replace(BARE, links={**BARE.links, "host0": half}, settings={"host0": SETTINGS})
    assert ("state", "down", "up") in changes(want(), host)
    assert plan(want(), host).steps[0].after.link.group == 0  # type: ignore[union-attr]
    assert changes(ABSENT, host) == [("state", "down", "absent")]


@pytest.mark.parametrize(
    "theirs",
    [
        replace(HOST0, alias=""),
        replace(HOST0, alias="", group=INCOMPLETE_GROUP),
        replace(HOST0, kind="macvtap"),
        replace(HOST0, kind="", alias=OWNER_ALIAS),
    ],
)
def test_what_is_not_ours_is_left_alone(theirs: Link) -> None:
    host = replace(WITH, links={**WITH.links, "host0": theirs})
    for wanted in (want(), ABSENT):
        assert "shims[3].name: host0 already exists and is" in refused(wanted, host)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"addresses": ("192.0.2.1",)}, "addresses[0]: 192.0.2.1 is already an address of the host, on eth0"),
        ({"addresses": ("192.0.2.254",)}, "addresses[0]: 192.0.2.254 is the address of a router"),
        ({"addresses": ("192.0.2.0",)}, "addresses[0]: 192.0.2.0 is the network address of 192.0.2.0/24. Use a host"),
        ({"addresses": ("192.0.2.255",)}, "addresses[0]: 192.0.2.255 is the broadcast address of 192.0.2.0/24."),
        ({"addresses": ("203.0.113.5",)}, "addresses[0]: 203.0.113.5 is the address that Ansible connects from"),
        ({"guests": ("192.0.2.0/30",)}, "guests[0]: 192.0.2.0/30 contains an address of the host itself, 192.0.2.1 of"),
        ({"guests": ("192.0.2.252/30",)}, "guests[0]: 192.0.2.252/30 contains a router that this host uses"),
        ({"guests": ("203.0.113.0/24",)}, "guests[0]: 203.0.113.0/24 contains 203.0.113.5, which Ansible connects"),
        ({"guests": ("198.51.100.0/24",)}, "guests[0]: there already is a route to 198.51.100.0/24 over eth1"),
        ({"guests": ("100.64.0.0/10",)}, "guests[0]: there already is a route of type blackhole to 100.64.0.0/10"),
        ({"mtu": 1279}, "mtu: 1279 is below 1280, "),
        ({"mtu": 9000}, "mtu: 9000 exceeds the MTU of the parent"),
        ({"mac": ETH0.mac}, "mac: 02:00:00:00:00:02 is the MAC address of eth0, the parent"),
        ({"mac": ETH1.mac}, "mac: 02:00:00:00:00:03 is the MAC address of the link eth1"),
        ({"mac": "02:00:00:00:00:fe"}, "mac: 02:00:00:00:00:fe is the MAC address of 192.0.2.254, whose frames would"),
        ({"parent": "lo"}, "parent: lo is the loopback link"),
        ({"parent": None}, "parent: is required, since the link host0 does not exist"),
    ],
)
def test_what_would_harm_the_host_is_refused(given: dict[str, t.Any], message: str) -> None:
    host = also(
        BARE, Connection("192.0.2.1", "203.0.113.5"), Route("198.51.100.0/24", 3), Route("100.64.0.0/10", kind=6)
    )
    host = replace(host, neighbours={"192.0.2.254": "02:00:00:00:00:fe"})
    assert refused(want(**given), host).startswith(f"shims[3].{message}")


def test_each_once() -> None:
    twice = [want(), want(name="host1", path="shims[4]")]
    with pytest.raises(MacvtapError, match=r"^shims\[4\]\.addresses\[0\]: 192.0.2.250 is declared twice, .*\[0\]$"):
        planner.plan(twice, BARE)


def test_a_parent_without_carrier_is_told() -> None:
    dark = replace(BARE, links={**BARE.links, "eth0": replace(ETH0, carrier=False)})
    assert "host0 (eth0): the parent has no carrier" in plan(want(), dark).warnings[0]
    assert plan(want(), BARE).warnings == ()


@pytest.mark.parametrize("mode", ["vepa", "private", "bridge"])
def test_guests_that_a_shim_does_not_reach_are_told(mode: str) -> None:
    guest = Link("macvtap0", 20, "macvtap", "eth0", 2, mode, "52:54:00:00:00:01", 1500, up=True)
    host = replace(WITH, links={**WITH.links, "macvtap0": guest})
    result = f"host0: macvtap0 ({mode}) on eth0 cannot be reached over it."
    for wanted in (want(), want(mtu=1400)):
        assert any(one.startswith(result) for one in plan(wanted, host).warnings) == (mode != "bridge")
    assert not plan(ABSENT, host).warnings
    # Whom it is not to reach, or which is on another link.
    elsewhere = replace(WITH, links={**WITH.links, "macvtap0": replace(guest, parent="eth1", parent_index=3)})
    assert not plan(want(), elsewhere).warnings
    assert not any("not reached" in one for one in plan(want(guests=()), host).warnings)


def test_an_address_of_no_network_of_the_parents_needs_a_route_in_the_guests() -> None:
    (result,) = plan(want(addresses=("10.9.9.1",), guests=("192.0.2.77/32",)), BARE).warnings
    assert result.startswith("host0: 10.9.9.1 is outside of the networks on eth0 (192.0.2.0/24), so each guest")
    assert "ip route add 10.9.9.1 dev LINK" in result
    for wanted, host in ((want(), BARE), (want(), WITH), (want(addresses=("10.9.9.1",), parent="eth1"), BARE)):
        assert not any("needs a route" in one for one in plan(replace(wanted, guests=()), host).warnings)


def test_a_purge_removes_ours_that_are_not_declared() -> None:
    theirs = replace(WITH.links["host0"], name="pod0", index=40, alias=None)
    other = replace(WITH.links["host0"], name="host1", index=41, parent="eth1", parent_index=3, mac="52:54:00:00:00:41")
    host = replace(WITH, links={**WITH.links, "pod0": theirs, "host1": other})
    assert [(one.name, one.state, one.path) for one in planner.purged([want()], host)] == [("host1", "absent", "purge")]
    assert {one.name for one in planner.purged([], host)} == {"host0", "host1"}
    both = [want(), *planner.purged([want()], host)]
    assert [(c.target, c.field, c.after) for c in planner.plan(both, host).changes] == [("host1", "state", "absent")]
