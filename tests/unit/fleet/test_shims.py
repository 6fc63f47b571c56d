# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts of macvlan shims: the host's addresses on them."""

from __future__ import annotations

import pytest
from compared import H1, H2, NOTHING, U1, A, conflicts, nic, only, places, shim, web
from fleet import Values, declared, found, iface

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare


def test_shims_of_two_hosts_with_the_same_address() -> None:
    conflict = only((shim("192.0.2.9", "2001:db8::1"), H1), (shim("192.0.2.9", "2001:db8::2"), H2))
    assert conflict.kind == "address"
    assert conflict.message == "192.0.2.9 is the address of 2 host interfaces on one network"
    assert places(conflict) == ["hv1 host0 declared", "hv2 host0 declared"]


def test_an_ip_address_is_the_same_however_it_is_written() -> None:
    conflict = only((shim("2001:db8::1"), H1), (shim("2001:DB8:0::1/128"), H2))
    assert conflict.message == "2001:db8::1 is the address of 2 host interfaces on one network"


@pytest.mark.parametrize("other", [shim("192.0.2.8"), shim("192.0.2.9", state="absent"), NOTHING])
def test_shims_with_different_addresses(other: Values) -> None:
    assert conflicts((shim("192.0.2.9"), H1), (other, H2)) == []


def test_shims_in_different_segments_may_have_the_same_address() -> None:
    lan, dmz = shim("192.0.2.9"), {**shim("192.0.2.9"), "macvtap_segment": "dmz"}
    assert conflicts((lan, H1), (dmz, H2)) == []


def test_default_addresses_apply_to_each_shim() -> None:
    both = declared(host_access_shims=[{"name": "host0", "parent": "eth0"}], host_access_addresses=["192.0.2.9"])
    assert only((both, H1), (both, H2)).kind == "address"


def test_a_shim_has_a_mac_address_like_any_link() -> None:
    conflict = only((shim("192.0.2.9", mac=A), H1), (declared(nic("web1", mac=A)), H2))
    assert (conflict.kind, places(conflict)) == ("mac", ["hv1 host0 declared", f"hv2 web1 {A} declared"])


@pytest.mark.parametrize(
    ("variables", "kind", "message"),
    [
        (shim("192.0.2.9", parent="eth1"), "parent", "there is no link eth1 on this host; did you mean eth0?"),
        (shim("192.0.2.9", mtu=9000), "mtu", "mtu 9000 exceeds that of the parent eth0 (1500)"),
        (
            shim("192.0.2.9/24"),
            "declaration",
            "macvtap_host_access_shims[0].addresses[0]: '192.0.2.9/24' has a prefix length",
        ),
        (
            shim(guests={"web1": "192.0.2.77"}),
            "declaration",
            "macvtap_host_access_shims[0].guests: must be a list, not {'web1': '192.0.2.77'}",
        ),
    ],
)
def test_an_impossible_shim(variables: Values, kind: str, message: str) -> None:
    conflict = only((variables, H1))
    assert conflict.kind == kind
    assert conflict.message.startswith(message)
    assert places(conflict) == ["hv1 host0 declared"]


@pytest.mark.parametrize(
    ("mode", "relay", "reported"),
    [
        ("vepa", None, True),
        ("private", None, True),
        ("vepa", True, False),
        ("private", True, True),
        ("bridge", None, False),
    ],
)
def test_guests_that_a_shim_does_not_reach_are_noted_and_stop_nothing(
    mode: str, relay: bool | None, reported: bool
) -> None:
    there = found(web("web1", U1, iface(A, "eth0", mode)), relay={} if relay is None else {"eth0": relay})
    variables = shim("192.0.2.250", guests=["192.0.2.77"])
    assert conflicts((variables, there)) == []
    gaps = compare.gaps({"hv1": {"declared": variables, "found": there}})
    assert [gap["host"] for gap in gaps] == ["hv1"] * reported
    for gap in gaps:
        assert gap["reason"].startswith(f"host0: web1 {A} ({mode}) on eth0 cannot be reached over it.")
