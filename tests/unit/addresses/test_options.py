# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is asked and awaited, and the errors for options that say neither."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import merging, options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.agent import sightings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    CLAIMED,
    LEARNED,
    MOST_ADDRESSES,
    RUNNING,
    Awaited,
    Findings,
    Guest,
    Nic,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"


def test_networks_and_addresses_to_ask_for() -> None:
    asked = options.questions(["192.0.2.0/29", "198.51.100.7", "2001:db8::/64", "2001:db8::7"], "probe_networks")
    assert asked.ipv4 == (*(f"192.0.2.{n}" for n in range(8)), "198.51.100.7")
    assert asked.ipv6 == ("2001:db8::7",)
    assert list(map(str, asked.prefixes)) == ["2001:db8::/64"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("192.0.2.7/24", "has host bits set"),
        ("10.0.0.0/8", "16777216 addresses"),
        ("2001:db8::/48", "neither a network of /64 nor a single address"),
        ("lan", "neither an IP address nor a network"),
        ("224.0.0.0/24", "no address or network of guests"),
        ("127.0.0.1", "no address or network of guests"),
        ("2001:db8::1%eth0", "has a zone"),
        ("2001:db8::%eth0/64", "has a zone"),
        ("", "neither an IP address nor a network"),
    ],
)
def test_what_cannot_be_asked(network: str, message: str) -> None:
    with pytest.raises(MacvtapError, match=message) as error:
        options.questions(["192.0.2.1", network], "probe_networks")
    assert error.value.path == "probe_networks[1]"


def test_the_limit_is_for_all_networks_together() -> None:
    assert len(options.questions(["10.0.0.0/20"], "probe_networks").ipv4) == 4096
    with pytest.raises(MacvtapError, match="4096 in all") as error:
        options.questions(["10.0.0.0/20", "10.1.0.0/24"], "probe_networks")
    assert error.value.path == "probe_networks[1]"


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("timeout", -1), ("count", 65)])
def test_numbers_of_wait_for(name: str, value: int) -> None:
    declared = {"count": 1, "family": "any", "state": CLAIMED, "timeout": 60, name: value}
    with pytest.raises(MacvtapError) as error:
        options.awaited(declared)
    assert error.value.path == f"wait_for.{name}"


@pytest.mark.parametrize("option", ["domains", "macs"])
def test_nothing_to_wait_for_is_refused(option: str) -> None:
    declared = {"count": 1, "family": "any", "state": CLAIMED, "timeout": 60}
    with pytest.raises(MacvtapError, match="is empty") as error:
        options.awaited(declared, {"domains": ["web1"], "macs": [A], option: []})
    assert error.value.path == option
    assert options.awaited(declared, {"domains": None, "macs": None}) == Awaited()
    assert options.awaited(None, {"domains": [], "macs": []}) is None


def test_an_agents_answer_is_its_guests() -> None:
    answer: dict[str, t.Any] = {
        "lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1", "prefix": 8}]},
        "eth0": {
            "hwaddr": "52:54:00:00:00:0A",
            "addrs": [{"addr": "192.0.2.7", "prefix": 24}, {"addr": "fe80::7%eth0"}, {"addr": "$(reboot)"}, {}],
        },
        "eth1": {"hwaddr": None, "addrs": None},
        # Another guest's.
        "eth2": {"hwaddr": B, "addrs": [{"addr": "192.0.2.1", "prefix": 24}]},
    }
    guest = Guest("web1", "u1", RUNNING, (Nic(A, frozenset({A}), uplink="eth0"),))
    assert [(one.mac, one.address, one.prefix, one.uplink) for one in sightings(answer, guest)] == [
        (A, "192.0.2.7", 24, "eth0"),
        (A, "fe80::7", None, "eth0"),
    ]


def test_an_agent_that_lists_more_addresses_than_anybody_has() -> None:
    listed: list[dict[str, t.Any]] = [{"addr": f"10.0.{n // 256}.{n % 256}", "prefix": 8} for n in range(70000)]
    guest = Guest("web1", "u1", RUNNING, (Nic(A, frozenset({A})),))
    found = sightings({"eth0": {"hwaddr": A, "addrs": listed}}, guest)
    assert len(found) == MOST_ADDRESSES
    # Nor are more asked for.
    claimed = [Sighting(A, one["addr"], LEARNED, CLAIMED) for one in listed]
    assert len(merging.candidates({A}, claimed)) == MOST_ADDRESSES
    assert len(merging.addresses(guest.nics[0], Findings(tuple(claimed[:2000])), stale_after=600)) == MOST_ADDRESSES
