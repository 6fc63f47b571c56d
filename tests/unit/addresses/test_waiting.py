# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is waited for, and who lacks it when the time is over."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import guests, run, waiting
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    CLAIMED,
    CONFIRMED,
    NEIGHBOUR,
    RUNNING,
    SHUT_OFF,
    STALE,
    Awaited,
    Findings,
    Found,
    Guest,
    Nic,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
WEB1 = Guest("web1", "u1", RUNNING, (Nic(A, frozenset({A})),))
IN_NO_GUEST = "no selected guest of this host has this MAC address"


def found(address: str, state: str = CLAIMED) -> Found:
    return Found(address, state, "learned", ("learned",))


@pytest.mark.parametrize(
    ("awaited", "enough"),
    [
        (Awaited(), True),
        (Awaited(2), True),
        (Awaited(3), False),
        (Awaited(family="ipv6"), True),
        (Awaited(2, family="ipv6"), False),
        (Awaited(state=CONFIRMED), False),
    ],
)
def test_what_is_waited_for(awaited: Awaited, enough: bool) -> None:
    known = [found("192.0.2.7"), found("2001:db8::7"), found("fe80::7"), found("192.0.2.8", STALE)]
    assert (waiting.missing([WEB1], {("web1", 0): known}, {}, awaited) == []) is enough
    # The same of a guest of another host.
    assert (waiting.missing([], {}, {B: known}, awaited) == []) is enough


def test_the_error_says_who_lacks_what() -> None:
    shut_off, bare = Guest("web2", "u2", SHUT_OFF, (Nic(A),)), Guest("web3", "u3", SHUT_OFF)
    awaited = Awaited(2, "ipv4")
    known = {("web1", 0): [found("192.0.2.7")], ("web2", 0): []}
    lacking = waiting.missing([WEB1, shut_off, bare], known, {B: [found("192.0.2.9")]}, awaited, ["web1", "web3"])
    assert waiting.message(lacking, awaited) == (
        "after 60 seconds these NICs do not have 2 IPv4 addresses that are claimed: "
        f"web1 {A} (has 1), web2 {A} (shut_off), web3 (has no NIC), {B} (has 1, and {IN_NO_GUEST})"
    )


def test_a_guest_without_a_nic_is_waited_for_only_by_its_name() -> None:
    assert waiting.missing([Guest("web3", "u3", RUNNING)], {}, {}, Awaited()) == []


def test_mac_addresses_that_no_guest_has() -> None:
    findings = Findings((Sighting(B, "192.0.2.9", NEIGHBOUR, CONFIRMED),))
    others = guests.others((A, B), [WEB1], findings, 600)
    assert {mac: [one.address for one in addresses] for mac, addresses in others.items()} == {B: ["192.0.2.9"]}


class Hypervisor:
    """A libvirt with a domain that has no NIC, and a host whose links are not known."""

    def observe(self, _names: t.Any) -> Host:
        return Host("", {"web1": Domain("web1")})


@pytest.mark.parametrize(
    ("domains", "macs", "lacks"),
    [
        (None, (B,), f"{B} (has 0, and {IN_NO_GUEST})"),
        (("web1",), (B,), f"{B} (has 0, and {IN_NO_GUEST})"),
        (("web1",), None, "web1 (has no NIC)"),
    ],
)
def test_a_run_does_not_succeed_without_what_it_waits_for(
    domains: tuple[str, ...] | None, macs: tuple[str, ...] | None, lacks: str
) -> None:
    request = run.Request("", domains, macs, agent=False, wait_for=Awaited(timeout=0))
    with pytest.raises(MacvtapError) as error:
        run.Search(request).search(t.cast("t.Any", Hypervisor()))
    assert str(error.value).startswith("wait_for: after 0 seconds these NICs do not have 1 address that is claimed: ")
    assert error.value.message.endswith(f": {lacks}")
    assert error.value.details["others"] == ([{"mac": B, "addresses": []}] if macs else [])
