# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The same direct network on several hosts, between which guests move."""

from __future__ import annotations

import pytest
from compared import H1, H2, NOTHING, U1, A, B, conflicts, nic, only, places, web
from fleet import Values, declared, found, iface, network, uplink

from .networked import LAN1, LAN2, SECOND, lan, on


def test_one_name_for_different_uplinks_lets_guests_move() -> None:
    both = on(nic(mac=A), networks=[lan("enp3s0")])
    assert conflicts((LAN1, H1), (both, SECOND)) == []
    assert conflicts((LAN1, H1), (LAN2, SECOND)) == []
    # Or it is declared on both hosts, and libvirt_guest_migrate moves it.
    direct = [declared(nic(mac=A), domains_source=source) for source in ("eth0", "enp3s0")]
    assert conflicts((direct[0], H1), (direct[1], SECOND)) == []
    # Otherwise it is a conflict.
    stored = found(web("web1", U1, iface(A)))
    conflict = only((NOTHING, stored), (direct[1], SECOND))
    assert (conflict.kind, "needs sources of one name" in conflict.remedy) == ("migration", True)


def test_a_network_that_a_host_of_the_segment_does_not_have() -> None:
    other = declared(nic("db1", mac=B))
    conflict = only((LAN1, H1), (other, H2))
    assert (conflict.kind, conflict.message) == (
        "network",
        "network lan is missing on hv2: guests of hv1 could not move there",
    )
    assert places(conflict) == ["hv1 lan declared", "hv2 lan"]
    # It is allowed by its name.
    allowing: Values = {"preflight_allow": ["network lan"]}
    got = conflicts(
        ({**LAN1, **{f"macvtap_{k}": v for k, v in allowing.items()}}, H1),
        (declared(nic("db1", mac=B), **allowing), H2),
    )
    assert [one.allowed for one in got] == [True]


@pytest.mark.parametrize(
    "other",
    [
        # It declares nothing that a guest could be on.
        (NOTHING, H2),
        # Another segment; libvirt did not answer; it has the network already.
        (declared(nic("db1", mac=B), segment="dmz"), H2),
        (declared(nic("db1", mac=B)), found(number=2, version=None)),
        (declared(nic("db1", mac=B)), found(network("lan", "eth0"), number=2)),
    ],
)
def test_hosts_that_do_not_need_the_network(other: tuple[Values, Values]) -> None:
    assert conflicts((LAN1, H1), other) == []


def test_a_portgroup_that_another_host_does_not_have() -> None:
    groups = on(nic(mac=A, portgroup="slow"), networks=[lan(portgroups=[{"name": "slow"}])])
    # The network alone, if that is missing.
    assert only((groups, H1), (declared(nic("db1", mac=B)), H2)).message.startswith("network lan is missing on hv2")
    first = on(nic(mac=A, portgroup="slow"), networks=[lan(portgroups=[{"name": "slow"}])])
    conflict = only((first, H1), (LAN2, SECOND))
    assert conflict.message == "portgroup slow of network lan is missing on hv2: guests of hv1 could not move there"
    assert places(conflict) == ["hv1 lan declared", "hv2 lan declared"]


@pytest.mark.parametrize(
    ("second", "kind", "message"),
    [
        (
            (on(networks=[lan("enp3s0", mode="private")]), SECOND),
            "network",
            "network lan has several modes: bridge on hv1; private on hv2",
        ),
        ((NOTHING, found(network(mode=""), number=2)), "network", "bridge on hv1; not direct (nat) on hv2"),
        (
            (LAN2, found(uplink(3, "enp3s0", mtu=9000), number=2)),
            "mtu",
            "uplinks of several MTUs: 1500 on hv1; 9000 on hv2",
        ),
        (
            (on(networks=[lan("enp3s0")], segment={"enp3s0": "dmz"}), SECOND),
            "network",
            "segments: all on hv1; dmz on hv2",
        ),
        # The switch decides.
        ((on(networks=[lan("enp3s0", mode="auto")]), SECOND), "", ""),
        # No guest can move there anyway.
        ((on(networks=[lan("enp3s0", mode="private")], segment="dmz"), SECOND), "", ""),
    ],
)
def test_a_network_that_is_something_else_on_another_host(
    second: tuple[Values, Values], kind: str, message: str
) -> None:
    got = conflicts((on(networks=[lan()]), H1), second)
    assert [one.kind for one in got] == ([kind] if kind else [])
    assert message in "".join(one.message for one in got)


def test_a_network_of_which_only_libvirt_knows_is_no_conflict() -> None:
    nat = [found(network("default", mode=""), number=1), found(network("default", "eth0", mode="bridge"), number=2)]
    assert conflicts((NOTHING, nat[0]), (NOTHING, nat[1])) == []


def test_a_domain_on_a_network_here_and_on_an_uplink_there_could_not_migrate() -> None:
    there = declared(nic(mac=A, mode="private"), networks_networks=[lan("eth0")])
    conflict = only((LAN1, H1), (there, H2))
    assert conflict.message == f"web1 could not migrate: {A} is on network lan on hv1; on eth0 in mode private on hv2"
    # In one mode libvirt_guest_migrate moves it.
    assert conflicts((LAN1, H1), (declared(nic(mac=A), networks_networks=[lan("eth0")]), H2)) == []
    slow = on(nic(mac=A, portgroup="slow"), networks=[lan(portgroups=[{"name": "slow"}])])
    one, other = (network("lan", "eth0", groups="slow"), found(network("lan", "eth0", groups="slow"), number=2))
    conflict = only((slow, found(one)), (on(nic(mac=A)), other))
    assert "is on network lan, portgroup slow on hv1; on network lan on hv2" in conflict.message
