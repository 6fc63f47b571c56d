# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who answers whom on the LAN of a shim, counted in frames; and that each of its settings is needed."""

from __future__ import annotations

import time
import typing as t

import lan as lans
import pytest
from lan import GUEST, HOST, SHIM, Lan
from support import ROOT_ONLY

pytestmark = ROOT_ONLY

ORDINARY, OWN = "192.0.2.1", "192.0.2.250"
UPLINK, SHIMS = HOST[0], SHIM[0]


@pytest.fixture(scope="module")
def lan() -> t.Iterator[Lan]:
    """With a guest, and the shim that the module has made."""
    with lans.made() as made:
        made.start_guest()
        made.done()
        yield made


@pytest.fixture
def without(lan: Lan) -> t.Iterator[t.Callable[[str], None]]:
    """Leave out a setting that the module makes, for the test's time."""
    left_out: dict[str, int] = {}

    def leave_out(setting: str) -> None:
        left_out[setting] = lan.host.sysctl("host0", setting)
        lan.host.sysctl("host0", setting, 0)

    yield leave_out
    for setting, value in left_out.items():
        lan.host.sysctl("host0", setting, value)


@pytest.fixture
def reflecting(lan: Lan) -> t.Iterator[None]:
    lan.hairpin(True)
    yield
    lan.hairpin(False)


def strict(lan: Lan, value: int) -> None:
    for link in ("all", "eth0", "host0"):
        lan.host.sysctl(link, "ipv4/rp_filter", value)


@pytest.fixture
def strictly(lan: Lan) -> t.Iterator[None]:
    """With rp_filter=1: the host drops what comes by another link than it would answer by."""
    strict(lan, 1)
    yield
    strict(lan, 0)


def test_each_gets_one_answer_and_the_right_one(lan: Lan) -> None:
    for address in (ORDINARY, OWN):
        assert lan.guest.asks(address, "192.0.2.77") == [SHIMS]
        assert lan.peer.asks(address, "192.0.2.9") == [UPLINK]
        # A guest that is not declared gets none: it would not be answered over the shim either.
        assert lan.guest.asks(address, "192.0.2.78") == []


def test_without_arp_filter_everybody_gets_two_answers(lan: Lan, without: t.Callable[[str], None]) -> None:
    without("ipv4/arp_filter")
    for address in (ORDINARY, OWN):
        assert lan.peer.asks(address, "192.0.2.9") == sorted([UPLINK, SHIMS])


@pytest.mark.usefixtures("reflecting")
def test_on_a_reflecting_switch_a_guest_gets_a_second_answer(lan: Lan) -> None:
    for address in (ORDINARY, OWN):
        assert lan.guest.asks(address, "192.0.2.77") == sorted([UPLINK, SHIMS])
        assert lan.peer.asks(address, "192.0.2.9") == [UPLINK]
    assert reach_each_other(lan)


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("switch", ["plain", "reflecting"])
def test_with_strict_filters_host_and_guest_reach_each_other(
    lan: Lan, switch: str, request: pytest.FixtureRequest
) -> None:
    if switch == "reflecting":
        request.getfixturevalue("reflecting")
    assert reach_each_other(lan)


def reach_each_other(lan: Lan) -> bool:
    found = []
    for machine, address in ((lan.guest, OWN), (lan.guest, ORDINARY), (lan.host, "192.0.2.77")):
        lan.guest.forget()
        lan.host.forget()
        found.append(machine.pings(address))
    return all(found)


def ask_for_the_guest(lan: Lan) -> None:
    """Let the host send to the guest from its ordinary address, for which it must ask who the guest is."""
    # A neighbour does not take another answer for an address within a second (locktime).
    time.sleep(1.1)
    lan.host.forget()
    assert lan.host.pings("192.0.2.77", ORDINARY)
    time.sleep(0.2)


def test_the_lan_never_learns_the_ordinary_address_at_the_shim(lan: Lan) -> None:
    lan.peer.forget()
    assert lan.peer.pings(ORDINARY)
    assert lan.peer.knows(ORDINARY) == UPLINK
    ask_for_the_guest(lan)
    assert lan.peer.knows(ORDINARY) == UPLINK


def test_without_arp_announce_it_does(lan: Lan, without: t.Callable[[str], None]) -> None:
    without("ipv4/arp_announce")
    lan.peer.forget()
    assert lan.peer.pings(ORDINARY)
    ask_for_the_guest(lan)
    assert lan.peer.knows(ORDINARY) == SHIMS


def test_the_lan_reaches_the_shims_address(lan: Lan) -> None:
    lan.peer.forget()
    assert lan.peer.pings(OWN)
    assert lan.peer.knows(OWN) == UPLINK
    ask_for_the_guest(lan)
    # It has seen who asked, and sends to the shim from then on.
    assert lan.peer.knows(OWN) == SHIMS
    assert lan.peer.pings(OWN)
    assert lan.peer.pings("2001:db8::250")


@pytest.mark.usefixtures("strictly")
def test_with_strict_filters_the_lan_loses_it(lan: Lan) -> None:
    lan.peer.forget()
    assert lan.peer.pings(OWN)
    ask_for_the_guest(lan)
    assert lan.peer.knows(OWN) == SHIMS
    assert not lan.peer.pings(OWN)
    assert lan.peer.pings(ORDINARY)


def test_the_ordinary_ipv6_address_is_for_the_lan_alone(lan: Lan) -> None:
    assert lan.peer.pings("2001:db8::1")
    assert lan.guest.pings("2001:db8::250")
    assert not lan.guest.pings("2001:db8::1")


def test_a_router_on_the_lan_gives_the_shim_nothing(lan: Lan) -> None:
    def routes() -> list[str]:
        return [line for line in lan.host.ip("-6", "route").splitlines() if "proto ra" in line or "expires" in line]

    lan.host.sysctl("eth0", "ipv6/accept_ra", 1)
    lan.peer.tool("advertise", "eth0", "2001:db8:7::")
    time.sleep(0.5)
    assert any(line.startswith("default") and "dev eth0" in line for line in routes())
    assert [line for line in routes() if "host0" in line] == []
    assert "2001:db8:7:" not in lan.host.ip("address", "show", "host0")
    # Where it may, it takes a route, and where that may be, an address.
    for setting in ("accept_ra", "autoconf"):
        assert "2001:db8:7:" not in lan.host.ip("address", "show", "host0")
        lan.host.sysctl("host0", f"ipv6/{setting}", 1)
        lan.peer.tool("advertise", "eth0", "2001:db8:7::")
        time.sleep(0.5)
        assert any(line.startswith("default") and "dev host0" in line for line in routes())
    assert "2001:db8:7:" in lan.host.ip("address", "show", "host0")
    # Which the next run takes from it.
    assert lan.done()["changed"]
    assert "default" not in lan.host.ip("-6", "route", "show", "dev", "host0")
    assert "2001:db8:7:" not in lan.host.ip("address", "show", "host0")
    assert not lan.done()["changed"]
    assert lan.guest.pings("2001:db8::250")


def test_guests_keep_their_own_address(lan: Lan) -> None:
    assert lan.peer.asks("192.0.2.77", "192.0.2.9") == [GUEST[0]]
