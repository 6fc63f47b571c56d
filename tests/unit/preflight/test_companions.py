# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts of companions: the addresses that the host has on them."""

from __future__ import annotations

import pytest
from compared import H1, H2, NOTHING, U1, A, companion, conflicts, nic, only, places, web
from fleet import Said, declared, found, iface

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import compare


def test_companions_of_two_hosts_with_one_address() -> None:
    conflict = only((companion("192.0.2.9", "2001:db8::1"), H1), (companion("192.0.2.9", "2001:db8::2"), H2))
    assert conflict.kind == "address"
    assert conflict.message == "192.0.2.9 is the address of 2 companions on one network"
    assert places(conflict) == ["hv1 host0 declared", "hv2 host0 declared"]


def test_an_ip_address_is_the_same_however_it_is_written() -> None:
    conflict = only((companion("2001:db8::1"), H1), (companion("2001:DB8:0::1/128"), H2))
    assert conflict.message == "2001:db8::1 is the address of 2 companions on one network"


@pytest.mark.parametrize("other", [companion("192.0.2.8"), companion("192.0.2.9", state="absent"), NOTHING])
def test_companions_with_addresses_of_their_own(other: Said) -> None:
    assert conflicts((companion("192.0.2.9"), H1), (other, H2)) == []


def test_companions_of_hosts_in_segments_of_their_own_may_have_the_same_address() -> None:
    lan, dmz = companion("192.0.2.9"), {**companion("192.0.2.9"), "macvtap_segment": "dmz"}
    assert conflicts((lan, H1), (dmz, H2)) == []


def test_addresses_for_all_companions_are_of_each_host() -> None:
    both = declared(host_access_companions=[{"name": "host0", "parent": "eth0"}], host_access_addresses=["192.0.2.9"])
    assert only((both, H1), (both, H2)).kind == "address"


def test_a_companion_has_a_mac_address_like_any_link() -> None:
    conflict = only((companion("192.0.2.9", mac=A), H1), (declared(nic("web1", mac=A)), H2))
    assert (conflict.kind, places(conflict)) == ("mac", ["hv1 host0 declared", f"hv2 web1 {A} declared"])


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (companion("192.0.2.9", parent="eth1"), "parent", "there is no link eth1 on this host; did you mean eth0?"),
        (companion("192.0.2.9", mtu=9000), "mtu", "mtu 9000 exceeds that of the parent eth0 (1500)"),
        (
            companion("192.0.2.9/24"),
            "declaration",
            "macvtap_host_access_companions[0].addresses[0]: '192.0.2.9/24' has a prefix length",
        ),
        (
            companion(guests={"web1": "192.0.2.77"}),
            "declaration",
            "macvtap_host_access_companions[0].guests: a list is needed, and found is {'web1': '192.0.2.77'}",
        ),
    ],
)
def test_a_companion_that_cannot_be(said: Said, kind: str, message: str) -> None:
    conflict = only((said, H1))
    assert conflict.kind == kind
    assert conflict.message.startswith(message)
    assert places(conflict) == ["hv1 host0 declared"]


@pytest.mark.parametrize(
    ("mode", "relay", "told"),
    [
        ("vepa", None, True),
        ("private", None, True),
        ("vepa", True, False),
        ("private", True, True),
        ("bridge", None, False),
    ],
)
def test_guests_that_a_companion_does_not_reach_are_told_and_stop_nothing(
    mode: str, relay: bool | None, told: bool
) -> None:
    there = found(web("web1", U1, iface(A, "eth0", mode)), relay={} if relay is None else {"eth0": relay})
    said = companion("192.0.2.250", guests=["192.0.2.77"])
    assert conflicts((said, there)) == []
    gaps = compare.gaps({"hv1": {"declared": said, "found": there}})
    assert [gap["host"] for gap in gaps] == ["hv1"] * told
    for gap in gaps:
        assert gap["reason"].startswith(f"host0: web1 {A} ({mode}) on eth0 cannot be reached over it.")
