# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A shim where IPv6 is switched off, or where the MTU is too small for it."""

from __future__ import annotations

from dataclasses import replace

from shims import BARE, ETH0, HOST0, WITH, want

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import SETTINGS, Host

from .planned import changes, plan, refused


def test_without_ipv6_there_is_nothing_of_it() -> None:
    host = replace(BARE, ipv6=False)
    wanted = want(addresses=("192.0.2.250",), guests=("192.0.2.77/32",))
    (step,) = plan(wanted, host).steps
    assert step.after is not None
    assert set(step.after.settings) == {"ipv4/arp_filter", "ipv4/arp_announce"}
    assert "addresses[1]: 2001:db8::250 is IPv6, and this kernel has no IPv6 (ipv6.disable=1," in refused(want(), host)


V4 = want(addresses=("192.0.2.250",), guests=("192.0.2.77/32",))
SETTINGS4 = {name: value for name, value in SETTINGS.items() if name.startswith("ipv4/")}


def clamped(shim: int, parent: int, **settings: int) -> Host:
    links = {"eth0": replace(ETH0, mtu=parent), "host0": replace(HOST0, mtu=shim)}
    addresses = tuple(one for one in WITH.addresses if one.index != 10 or ":" not in one.address)
    routes = tuple(one for one in WITH.routes if one.index != 10 or ":" not in one.destination)
    return Host({**WITH.links, **links}, addresses, routes, {"host0": {**SETTINGS4, **settings}})


def test_a_shim_with_less_than_ipv6_needs_has_none_of_it() -> None:
    for parent in (1200, 1500):
        assert not plan(V4, clamped(1200, parent)).changed
        text = refused(want(), clamped(1200, parent))
        assert "addresses[1]: 2001:db8::250 is IPv6, which requires an MTU of 1280; host0 has 1200" in text
    # Its settings come with the MTU.
    found = changes(replace(V4, mtu=1500), clamped(1200, 1500))
    assert found == [("mtu", 1200, 1500), ("accept_ra", None, 0), ("autoconf", None, 0)]
    # On such a parent a new one has none from the beginning.
    low = replace(BARE, links={**BARE.links, "eth0": replace(ETH0, mtu=1200)})
    (step,) = plan(V4, low).steps
    assert step.after is not None
    assert step.after.settings == SETTINGS4
    assert "addresses[1]: 2001:db8::250 is IPv6, which requires" in refused(want(), low)
    # Without IPv6 there is nothing to lose.
    assert plan(replace(V4, mtu=1000), replace(BARE, ipv6=False)).changed


def test_no_address_where_ipv6_is_switched_off() -> None:
    off = replace(BARE, without_ipv6=frozenset({"default"}))
    text = "shims[3].addresses[1]: 2001:db8::250 is IPv6, which is disabled on"
    assert refused(want(), off).startswith(f"{text} new links (net.ipv6.conf.default.disable_ipv6). Enable it")
    assert plan(V4, off).changed
    # One that is there has a setting of its own, and one that is recreated has not.
    more = want(addresses=("192.0.2.250", "2001:db8::251"))
    assert plan(more, replace(WITH, without_ipv6=off.without_ipv6)).changed
    own = replace(WITH, without_ipv6=frozenset({"host0"}))
    assert "which is disabled on host0 (net.ipv6.conf.host0.disable_ipv6)" in refused(more, own)
    assert "on new links" in refused(want(parent="eth1"), replace(WITH, without_ipv6=off.without_ipv6))
