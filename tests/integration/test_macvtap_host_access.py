# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_host_access against the real kernel: who reaches whom, and that nothing is half done."""

from __future__ import annotations

import concurrent.futures
import re

import pytest
from lan import ACCESS, SHIM, Lan
from support import PYTHONS, ROOT_ONLY, meanwhile

pytestmark = ROOT_ONLY


# Who asks, and for which address.
WAYS = [
    *(("host", address) for address in ("192.0.2.77", "2001:db8::77")),
    *(("guest", address) for address in ("192.0.2.250", "2001:db8::250", "192.0.2.1")),
]


def reached(lan: Lan) -> set[bool]:
    """Whether each reaches the other: in a row and with empty tables of neighbours, so that none helps another."""
    found = set()
    for who, address in WAYS:
        machine = getattr(lan, who)
        machine.forget()
        found.add(machine.pings(address))
    return found


def out_of_reach(lan: Lan) -> bool:
    """Whether none reaches any other; all at once, since each waits in vain."""
    with concurrent.futures.ThreadPoolExecutor(len(WAYS)) as pool:
        return not any(pool.map(lambda way: getattr(lan, way[0]).pings(way[1]), WAYS))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["macvlan", "macvtap"])
def test_host_and_guest_reach_each_other(lan: Lan, kind: str, python: str) -> None:
    lan.start_guest(kind)
    assert out_of_reach(lan)
    bare = lan.state()

    result = lan.done(check=True, python=python)
    assert lan.state() == bare
    done = lan.done(python=python)
    assert result["changes"] == done["changes"]
    assert reached(lan) == {True}
    # And everybody else as before.
    assert lan.host.pings("192.0.2.9")
    assert lan.peer.pings("192.0.2.1")
    assert lan.peer.pings("2001:db8::1")

    whole = lan.state()
    again = lan.done(python=python, diff=True)
    assert (again["changed"], again["changes"], again["diff"]) == (False, [], [])
    assert lan.state() == whole

    assert lan.done({"name": "host0", "state": "absent"}, python=python)["changed"]
    assert lan.state() == bare
    assert out_of_reach(lan)
    assert not lan.done({"name": "host0", "state": "absent"}, python=python)["changed"]


def test_what_is_returned(lan: Lan) -> None:
    result = lan.done(check=True, diff=True)
    shim = {
        "name": "host0",
        "ifindex": None,
        "parent": "eth0",
        "mac": SHIM[0],
        "mtu": None,
        "state": "up",
        "addresses": ["192.0.2.250", "2001:db8::250"],
        "guests": ["192.0.2.77/32", "2001:db8::77/128"],
    }
    assert result["shims"] == [shim]
    assert "addresses: ['192.0.2.250/32', '2001:db8::250/128']\n" in result["diff"][0]["after"]
    (found,) = lan.done()["shims"]
    assert found == {**shim, "ifindex": found["ifindex"], "mtu": 1500}
    assert found["ifindex"]
    assert lan.done({"name": "host0", "state": "absent"})["shims"] == []


def test_what_is_declared_is_whole(lan: Lan) -> None:
    lan.done()
    index = lan.done()["shims"][0]["ifindex"]
    lan.host.ip("address", "add", "192.0.2.251/32", "dev", "host0")
    lan.host.ip("address", "add", "2001:db8::251/128", "dev", "host0")
    lan.host.ip("route", "add", "192.0.2.78", "dev", "host0")
    lan.host.ip("-6", "route", "add", "2001:db8:5::/48", "via", "2001:db8::77", "dev", "host0")
    lan.host.sysctl("host0", "ipv4/arp_filter", 0)
    lan.host.sysctl("host0", "ipv6/accept_ra", 1)
    lan.host.ip("link", "set", "host0", "mtu", "1400")
    lan.host.ip("link", "set", "host0", "type", "macvlan", "mode", "private")
    done = lan.done({**ACCESS, "mtu": 1300})
    assert {change["field"] for change in done["changes"]} == {
        "mode", "mtu", "addresses", "guests", "arp_filter", "accept_ra",
    }  # fmt: skip
    (found,) = done["shims"]
    assert (found["ifindex"], found["mtu"], found["addresses"]) == (index, 1300, ACCESS["addresses"])
    assert "host0" not in lan.host.ip("-6", "route", "show", "2001:db8:5::/48")
    assert lan.host.sysctl("host0", "ipv4/arp_filter") == 1
    # Its link-local address is the kernel's, and neighbour discovery needs it.
    assert "fe80::" in lan.host.ip("address", "show", "host0")

    other = {**ACCESS, "addresses": ["192.0.2.249"], "guests": ["192.0.2.16/28", "192.0.2.77"]}
    assert lan.done(other)["shims"][0]["ifindex"] == index
    routes = lan.host.ip("route", "show", "dev", "host0").splitlines()
    assert sorted(line.strip() for line in routes) == [
        "192.0.2.16/28 proto static scope link src 192.0.2.249",
        "192.0.2.77 proto static scope link src 192.0.2.249",
    ]
    assert "2001:db8" not in lan.host.ip("address", "show", "host0")
    assert not lan.done(other)["changed"]


def test_a_link_that_is_down_or_has_lost_its_routes_is_mended(lan: Lan) -> None:
    lan.start_guest()
    lan.done()
    lan.host.ip("link", "set", "host0", "down")
    assert lan.done()["changed"]
    assert reached(lan) == {True}


def test_another_parent_makes_it_anew(lan: Lan) -> None:
    lan.done()
    lan.host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    for link in ("eth1", "far1"):
        lan.host.ip("link", "set", link, "up")
    done = lan.done({**ACCESS, "parent": "eth1"})
    assert ("parent", "recreate") in {(change["field"], change["impact"]) for change in done["changes"]}
    assert done["shims"][0]["parent"] == "eth1"
    assert not lan.done({**ACCESS, "parent": "eth1"})["changed"]
    # Without the parent it stays where it is.
    assert not lan.done({name: value for name, value in ACCESS.items() if name != "parent"})["changed"]


def test_several_at_once(lan: Lan) -> None:
    two = [
        {"name": "host0", "addresses": ["192.0.2.250"], "guests": ["192.0.2.77"]},
        {"name": "host1", "addresses": ["192.0.2.251"], "guests": ["192.0.2.78"]},
    ]
    assert len(lan.done({"parent": "eth0", "shims": two})["shims"]) == 2
    # An address and a guest move from one to the other.
    swapped = [{**two[0], "addresses": ["192.0.2.251"]}, {**two[1], "addresses": ["192.0.2.250"]}]
    assert lan.done({"shims": swapped})["changed"]
    swapped = [{**swapped[0], "guests": ["192.0.2.78"]}, {**swapped[1], "guests": ["192.0.2.77"]}]
    assert lan.done({"shims": swapped})["changed"]
    assert not lan.done({"shims": swapped})["changed"]
    gone = [{"name": "host0", "state": "absent"}, {"name": "host1", "state": "absent"}, {"name": "nosuch0"}]
    assert lan.done({"state": "absent", "shims": gone})["shims"] == []


@pytest.mark.parametrize("kind", ["macvlan", "macvtap", "bridge"])
def test_what_is_not_ours_is_left_alone(lan: Lan, kind: str) -> None:
    on = ["link", "eth0"] if kind != "bridge" else []
    lan.host.ip("link", "add", *on, "name", "host0", "type", kind)
    for state in ("present", "absent"):
        assert re.search(
            r"^name: host0 already exists and is a \w+ link that is not", lan.refuses({**ACCESS, "state": state})
        )


def test_a_shim_is_no_macvtap_link(lan: Lan) -> None:
    from support import run_module

    lan.done()
    before = lan.state()
    for params in ({"name": "host0", "parent": "eth0"}, {"name": "host0", "state": "absent"}):
        failed = run_module("macvtap_link", params, prefix=lan.host.prefix)
        assert "host0 already exists and is a macvlan link, not a macvtap link" in failed["msg"]
    lan.host.ip("link", "set", "host0", "group", "7")
    purged = run_module("macvtap_link", {"links": [], "purge": True, "group": 7}, prefix=lan.host.prefix)
    assert not purged["changed"]
    assert run_module("macvtap_link_info", {}, prefix=lan.host.prefix)["links"] == []
    lan.host.ip("link", "set", "host0", "group", "0")
    assert lan.state() == before


def test_what_was_there_is_put_back(lan: Lan) -> None:
    lan.start_guest()
    lan.done()
    whole = lan.state()
    lan.peer.ip("address", "add", "2001:db8::251/64", "dev", "eth0", "nodad")
    other = {**ACCESS, "mac": "52:54:00:00:00:fb", "mtu": 1300, "addresses": ["192.0.2.249", "2001:db8::251"]}
    lan.host.sysctl("host0", "ipv4/arp_announce", 1)
    assert "2001:db8::251 is already in use on the LAN" in lan.refuses(other)
    assert lan.state() == whole
    assert lan.host.sysctl("host0", "ipv4/arp_announce") == 1
    assert reached(lan) == {True}
    # Also what was removed, by a task of which something else fails.
    both = {"shims": [{"name": "host0", "state": "absent"}, {**other, "name": "host1", "mtu": 1500}]}
    output = lan.access(both)["msg"]
    assert "is already in use on the LAN" in output
    assert "host0: recreated during the rollback, with another index; its settings below /proc/sys/net" in output
    assert "as it was before" not in output
    assert reached(lan) == {True}


def test_what_others_have_put_on_a_shim_keeps_it(lan: Lan) -> None:
    lan.done()
    on_it = [
        ("ip link add vx0 type vxlan id 5 dev host0 dstport 4789", "is the parent of vx0", "ip link del vx0"),
        (
            "ip route add 198.51.100.0/24 dev host0 table 100",
            "has routes to 198.51.100.0/24 in table 100",
            "ip route del 198.51.100.0/24 table 100",
        ),
    ]
    gone = {"name": "host0", "state": "absent"}
    for put, message, remove in on_it:
        lan.host.run("sh", "-c", put)
        for check in (True, False):
            assert lan.refuses(gone, check=check).startswith(f"host0 {message}")
        assert lan.refuses({"shims": [], "purge": True}).startswith(f"purge: host0 {message}")
        lan.host.run("sh", "-c", remove)
    # What comes after the plan is not removed with it either, or told of.
    put = meanwhile("after", "_host_access.planner.plan", ["sh", "-c", on_it[0][0]])
    assert "host0 became the parent of vx0 after this task started; left alone" in lan.access(gone, patch=put)["msg"]
    lan.host.ip("link", "del", "vx0")
    lan.peer.ip("address", "add", "2001:db8::251/64", "dev", "eth0", "nodad")
    put = meanwhile("after", "_host_access.planner.plan", ["sh", "-c", on_it[1][0]])
    failing = {"name": "host1", "parent": "eth0", "addresses": ["2001:db8::251"]}
    output = lan.access({"shims": [gone, failing]}, patch=put)["msg"]
    assert "host0: its addresses and routes are lost: the route to 198.51.100.0/24 in table 100" in output
    assert "as it was before" not in output
    assert "host0" in lan.host.ip("link")


def test_a_parent_without_carrier(lan: Lan) -> None:
    lan.start_guest()
    lan.switch.ip("link", "set", "to-host", "down")
    done = lan.done()
    (warning,) = done["warnings"]
    assert "host0 (eth0): the parent has no carrier, so duplicate addresses could not be detected" in str(warning)
    assert not lan.done()["changed"]
    lan.switch.ip("link", "set", "to-host", "up")
    assert reached(lan) == {True} or reached(lan) == {True}
    assert not lan.done()["changed"]
