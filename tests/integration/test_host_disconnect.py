# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_link takes nothing from the host that it is reached by, unless it is told to: on a real kernel."""

from __future__ import annotations

import typing as t
from pathlib import Path

import lan as lans
import pytest
from lan import Connected, Lan
from support import ROOT_ONLY, meanwhile, run_module

pytestmark = ROOT_ONLY

PASSTHRU = {"name": "mt0", "parent": "eth0", "mode": "passthru"}
MT0 = {"name": "mt0", "parent": "eth0", "mode": "bridge", "addrgenmode": "none"}
TOLD = ", or set allow_host_disconnect: true$"


@pytest.fixture(scope="module")
def _lan() -> t.Iterator[Lan]:
    with lans.made() as made:
        made.host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
        made.host.ip("link", "set", "eth1", "up")
        yield made


@pytest.fixture
def lan(_lan: Lan) -> t.Iterator[Lan]:
    filters = {name: _lan.host.sysctl(name, "ipv4/rp_filter") for name in ("all", "eth0")}
    yield _lan
    for name, value in filters.items():
        _lan.host.sysctl(name, "ipv4/rp_filter", value)
    _lan.host.run("ip", "link", "del", "mt0", check=False)


def link(lan: Lan, params: t.Mapping[str, t.Any], **how: t.Any) -> dict[str, t.Any]:
    return run_module("macvtap_link", params, prefix=lan.host.prefix, **how)


@pytest.mark.parametrize("check", [False, True])
def test_a_link_in_mode_passthru_would_cut_off_ssh(lan: Lan, tmp_path: Path, check: bool) -> None:
    """As it does under strict reverse path filters, at once; without them as soon as the guest runs."""
    lan.host.sysctl("all", "ipv4/rp_filter", 1)
    lan.host.sysctl("eth0", "ipv4/rp_filter", 1)
    session = Connected(lan, lan.peer, "192.0.2.1", tmp_path)
    runs = "^Ansible's connection from 192.0.2.9 to 192.0.2.1 goes over eth0, and a link in mode"
    session.refused(PASSTHRU, f"{runs} passthru on it, .* would cut it off.*{TOLD}", module="macvtap_link", check=check)
    # In a list, beside another that would be fine.
    both = {"links": [{**MT0, "name": "mt1", "parent": "eth1"}, PASSTHRU]}
    message = r"^links\[1\]: Ansible's connection"
    session.refused(both, message, module="macvtap_link", check=check)


def test_it_does_cut_off(lan: Lan) -> None:
    """What is refused: not out of caution only."""
    lan.host.sysctl("all", "ipv4/rp_filter", 1)
    assert lan.peer.pings("192.0.2.1")
    result = link(lan, {**PASSTHRU, "allow_host_disconnect": True})
    assert result["changed"], result
    assert "eth0 has addresses of the host (192.0.2.1/24" in str(result["warnings"])
    assert not lan.peer.pings("192.0.2.1")


def test_addresses_of_the_parent_are_enough(lan: Lan) -> None:
    """Nobody connects over it now, as with a task at its console."""
    for params in (PASSTHRU, {**PASSTHRU, "state": "down"}):
        before = lan.state()
        result = link(lan, params)
        assert result["msg"].startswith("eth0 has addresses of the host (192.0.2.1/24, 2001:db8::1/64), and a link in")
        assert lan.state() == before
    # A link of another mode is none of this, nor is a change to it that takes nothing.
    assert link(lan, MT0)["changed"]
    assert "eth0 has addresses" in link(lan, {**MT0, "mode": "passthru"})["msg"]
    assert link(lan, {**MT0, "mtu": 1400, "mode": "private"})["changed"]


def test_a_link_in_mode_source_would_take_all_that_the_peer_sends(lan: Lan, tmp_path: Path) -> None:
    """With nodst the host gets nothing from there: under strict reverse path filters, or once a guest runs."""
    for name in ("all", "eth0"):
        lan.host.sysctl(name, "ipv4/rp_filter", 1)
    taking = {"name": "mt0", "parent": "eth0", "mode": "source", "nodst": True, "source_macs": [lans.PEER[0]]}
    session = Connected(lan, lan.peer, "192.0.2.1", tmp_path)
    runs = "^Ansible's connection from 192.0.2.9 to 192.0.2.1 goes over eth0, and a link in mode"
    session.refused(taking, f"{runs} source .* would cut it off. .*nodst: false{TOLD}", module="macvtap_link")
    assert session.access({**taking, "nodst": False}, module="macvtap_link")["changed"]
    assert lan.peer.pings("192.0.2.1")
    # Not out of caution only.
    assert link(lan, {**taking, "allow_host_disconnect": True})["changed"]
    assert not lan.peer.pings("192.0.2.1")


# What takes the link away, or makes it unreachable.
CHANGES: list[dict[str, t.Any]] = [
    {"parent": "eth1"},
    {"state": "absent"},
    {"queues": {"tx": 2}},
    {"state": "down"},
    {"mac": "52:54:00:00:00:99"},
    {"mtu": 1400},
    {"mode": "passthru", "parent": "eth1"},
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("what", ["address", "route"])
def test_a_link_that_the_host_is_reached_by(lan: Lan, what: str, change: dict[str, t.Any]) -> None:
    assert link(lan, MT0)["changed"]
    lan.host.ip("address", "add", "198.51.100.1/24", "dev", "mt0")
    message = "mt0 has addresses of the host (198.51.100.1/24), and "
    if what == "route":
        lan.host.ip("address", "del", "198.51.100.1/24", "dev", "mt0")
        lan.host.ip("route", "add", "203.0.113.0/24", "dev", "mt0")
        message = "mt0 has routes to 203.0.113.0/24, and "
    before = lan.state()
    # Which is about who holds the tap.
    result = link(lan, {**MT0, **change, "force": True})
    assert result.get("failed"), result
    assert result["msg"].startswith(message), result["msg"]
    assert lan.state() == before


def test_a_link_that_a_connection_runs_over(lan: Lan, tmp_path: Path) -> None:
    # Or it answers nobody, as long as nothing holds it.
    assert link(lan, {**MT0, "arp": True})["changed"]
    # For the peer there is one way to the address, and one back.
    lan.host.sysctl("all", "ipv4/arp_filter", 1)
    lan.host.ip("address", "add", "198.51.100.1/24", "dev", "mt0")
    lan.peer.ip("address", "add", "198.51.100.9/24", "dev", "eth0")
    try:
        session = Connected(lan, lan.peer, "198.51.100.1", tmp_path)
        runs = "^Ansible's connection from 198.51.100.9 to .* goes over mt0, and"
        for change in CHANGES[1:3]:
            session.refused({**MT0, **change}, runs, module="macvtap_link")
    finally:
        lan.peer.ip("address", "del", "198.51.100.9/24", "dev", "eth0")
        lan.host.sysctl("all", "ipv4/arp_filter", 0)


GIVEN = ("ip", "address", "add", "198.51.100.1/24", "dev", "mt0")
LOOKED = meanwhile("after", "_host_access.reachability.checked", GIVEN)


@pytest.mark.parametrize("change", [{"state": "absent"}, {"parent": "eth1"}, {"state": "down"}, {"mtu": 1400}])
def test_an_address_that_it_has_got_since_the_look_at_it(lan: Lan, change: dict[str, t.Any]) -> None:
    assert link(lan, MT0)["changed"]
    result = link(lan, {**MT0, **change, "force": True}, patch=LOOKED)
    assert result["msg"].startswith("mt0 has addresses of the host (198.51.100.1/24), and "), result["msg"]
    assert result["msg"].endswith("The host is as it was before")
    assert "198.51.100.1/24" in lan.host.ip("address", "show", "dev", "mt0")


def test_a_new_link_with_an_address_by_now_is_not_taken_back(lan: Lan) -> None:
    failing = {"name": "bad0", "parent": "eth1", "mode": "bridge", "addrgenmode": "stable_secret"}
    given = meanwhile("before", "_plan._roll_back", GIVEN)
    result = link(lan, {"links": [MT0, failing]}, patch=given)
    assert result["msg"].startswith("links[1]: the kernel refused to create bad0"), result["msg"]
    assert "failed as well: links[0]: mt0 has addresses of the host (198.51.100.1/24), and removing" in result["msg"]
    assert "198.51.100.1/24" in lan.host.ip("address", "show", "dev", "mt0")


def test_told_to_it_is_done_and_what_goes_is_said(lan: Lan) -> None:
    assert link(lan, MT0)["changed"]
    lan.host.ip("address", "add", "198.51.100.1/24", "dev", "mt0")
    result = link(lan, {"name": "mt0", "state": "absent", "allow_host_disconnect": True})
    assert result["changed"]
    message = "mt0 has addresses of the host (198.51.100.1/24), and removing it would remove them. It is done"
    assert message in str(result["warnings"])


def test_a_way_that_turns_out_another_in_the_end_is_put_back(lan: Lan, tmp_path: Path) -> None:
    """The kernel is asked, whatever leads elsewhere: here it makes the route to the address's other end by itself."""
    assert link(lan, MT0)["changed"]
    assert link(lan, {"name": "mt0", "state": "down"})["changed"]
    lan.host.ip("address", "add", "203.0.113.1", "peer", "192.0.2.9", "dev", "mt0")
    before = lan.state()
    session = Connected(lan, lan.peer, "192.0.2.1", tmp_path)
    result = session.access({"name": "mt0", "state": "up"}, module="macvtap_link")
    assert "would be cut off: the kernel now uses another route to it" in result["msg"], result
    assert lan.state() == before
    returned = {"name": "mt0", "state": "up", "allow_host_disconnect": True}
    assert link(lan, returned)["changed"]
