# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which interface a declaration means, and which address a new one gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

from .planned import LINKS, LIVE, MAC, OTHER, STORED, TWO, by, changed, host, stopped, want


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (
            stopped(replace(STORED, type="bridge")),
            "interfaces[2].mac: domain 'web1' has 52:54:00:00:00:01 as an interface of type 'bridge'",
        ),
        (stopped(STORED, changed(STORED, source="eth1")), "interfaces[2].mac: domain 'web1' has 2 interfaces with"),
    ],
)
def test_ambiguous_or_impossible_declarations_are_refused(domain: Domain, message: str, present: bool) -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(present=present)], host(domain))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        (by("alias", "ua-lan"), MAC),
        (by("target", "web0"), OTHER),
        (by("source", "eth0"), MAC),
        (by("source", "eth1"), OTHER),
    ],
)
def test_an_interface_is_found_by_more_than_its_address(desired: Desired, found: str) -> None:
    (resolved,) = resolution.resolve([desired], host(stopped(*TWO)))
    assert resolved.before.mac == found
    assert not planner.plan([desired], host(stopped(*TWO))).changed


def test_several_that_fit_are_listed() -> None:
    on = host(stopped(TWO[0], changed(TWO[1], source="eth0")))
    with pytest.raises(MacvtapError) as caught:
        planner.plan([by("source", "eth0")], on)
    assert str(caught.value) == (
        "interfaces[2].source: domain 'web1' has 2 direct interfaces with the source eth0: "
        "52:54:00:00:00:01 direct eth0 ua-lan; 52:54:00:00:00:02 direct eth0 web0. Select one by its MAC address"
    )


def test_one_interface_declared_in_two_ways_is_refused() -> None:
    with pytest.raises(MacvtapError, match="this selects the same interface"):
        planner.plan([want(), by("alias", "ua-lan")], host(stopped(*TWO)))


def new_mac(desired: Desired, on: Host) -> str:
    (step,) = planner.plan([desired], on).steps
    assert step.after is not None
    return step.after.mac


def test_a_new_interface_gets_a_stable_and_unique_address() -> None:
    first = new_mac(by("source", "eth0", mode="bridge"), host(stopped(uuid="u1")))
    assert first.startswith("52:54:00:")
    assert first == new_mac(by("source", "eth0", mode="vepa"), host(stopped(uuid="u1")))
    assert first != new_mac(by("source", "eth0", mode="bridge"), host(stopped(uuid="u2")))
    assert first != new_mac(by("source", "eth0", mode="bridge"), host(stopped(uuid="u1"), macs={first: ("db1",)}))
    prefixed = replace(by("source", "eth0", mode="bridge"), mac_prefix="02:aa")
    assert new_mac(prefixed, host(stopped(uuid="u1"))).startswith("02:aa:")


def test_two_new_interfaces_of_one_run_get_two_addresses() -> None:
    both = [by("alias", "ua-a", source="eth0", mode="bridge"), by("alias", "ua-b", source="eth0", mode="bridge")]
    first, second = planner.plan(both, host(stopped(uuid="u1"))).steps
    assert first.target != second.target


def test_an_address_that_another_domain_has_is_refused_for_a_new_interface() -> None:
    desired = want(source="eth0", mode="bridge")
    for on in (
        host(stopped(), macs={MAC: ("db1",)}),
        host(stopped(), Domain("db1", stored=(STORED,))),
        host(stopped(), Domain("db1", running=True, live=(LIVE,))),
    ):
        with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.mac: .* is already .* of domain db1"):
            planner.plan([desired], on)
    moving = [desired, want(domain="db1", present=False)]
    assert planner.plan(moving, host(stopped(), Domain("db1", stored=(STORED,)))).changed
    # What is there already stays.
    assert not planner.plan([want()], host(stopped(STORED), macs={MAC: ("db1",)})).changed


def test_an_address_that_the_link_below_has_is_refused_for_a_new_interface() -> None:
    own = "02:00:00:00:00:01"
    for taken, message in ((own, "eth0, the source itself"), (MAC, "macvtap0, another link on eth0")):
        with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]\.mac: {taken} is the address of {message}"):
            planner.plan([want(mac=taken, source="eth0", mode="bridge")], host(stopped(), links=LINKS))
    assert planner.plan([want(mac=own, source="eth0", mode="passthrough")], host(stopped(), links=LINKS)).changed
    moving = [want(source="eth0", mode="bridge"), want(domain="db1", present=False)]
    db1 = Domain("db1", running=True, stored=(STORED,), live=(LIVE,))
    assert planner.plan(moving, host(stopped(), db1, links=LINKS)).changed


def test_an_interface_without_an_address_is_refused() -> None:
    nameless = replace(changed(STORED, alias="ua-lan"), mac="")
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.alias: .*direct eth0 ua-lan has no MAC address"):
        planner.plan([by("alias", "ua-lan")], host(stopped(nameless)))


def test_addresses_of_the_others_matter_only_where_one_is_added() -> None:
    assert resolution.needs_all_macs([want(source="eth0")], host(stopped()))
    assert not resolution.needs_all_macs([want(source="eth0")], host(stopped(STORED)))
    assert not resolution.needs_all_macs([want(present=False), want(domain="gone")], host(stopped()))


def test_a_domain_that_cannot_be_read_is_only_a_warning() -> None:
    on = host(stopped(STORED), links=LINKS, macs={}, unreadable=("secret1",))
    added = planner.plan([want(mac=OTHER, source="eth0", mode="bridge")], on)
    assert added.changed
    assert added.warnings == (
        f"this user may not read secret1, so a domain there may have the address of web1 {OTHER} already",
    )
    assert planner.plan([want(mode="private")], on).warnings == ()


def test_others_are_read_only_where_they_matter() -> None:
    rules = frozenset({OTHER})
    on = host(stopped(STORED, replace(STORED, mac=OTHER)), managed_rules=rules)
    assert not resolution.needs_all_macs([want(present=False)], on)
    assert not resolution.needs_all_macs([want(allmulticast="no")], on)
    assert resolution.needs_all_macs([want(mac=OTHER, present=False)], on)
    assert resolution.needs_all_macs([want()], on, purge=True)
    assert not resolution.needs_all_macs([want()], host(stopped(STORED), managed_rules=rules), purge=True)
    assert resolution.needs_all_macs([want("gone", OTHER, present=False)], on)
