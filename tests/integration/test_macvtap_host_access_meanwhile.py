# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Something else adds or removes, during the ARP probes, the very addresses and routes that a task adds or removes."""

from __future__ import annotations

import typing as t

import pytest
from lan import ACCESS, Lan
from support import ROOT_ONLY, meanwhile

pytestmark = ROOT_ONLY


def during_probes(command: str) -> str:
    """Have something else run a command when the probes begin, which take more than a second every time."""
    return meanwhile("before", "_host_access.arp.holder", ["sh", "-c", command])


MORE = {
    **ACCESS,
    "addresses": ["192.0.2.250", "192.0.2.251", "2001:db8::250"],
    "guests": ["192.0.2.77", "192.0.2.78", "2001:db8::77", "2001:db8::78"],
}
ROUTE = "ip route add 192.0.2.78 dev host0 proto static scope link src 192.0.2.250"
ROUTE6 = "ip -6 route add 2001:db8::78 dev host0 proto static"
SAME = {
    "address": ("ip address add 192.0.2.251/32 dev host0", "192.0.2.251/32"),
    "IPv6 address": ("ip address add 2001:db8::252/128 dev host0 nodad", "2001:db8::252/128"),
    "route": (ROUTE, "192.0.2.78 "),
    "IPv6 route": (ROUTE6, "2001:db8::78 "),
}


@pytest.fixture
def failing(lan: Lan) -> dict[str, t.Any]:
    """What fails after everything was added, for an address that another machine has."""
    lan.peer.ip("address", "add", "2001:db8::251/64", "dev", "eth0", "nodad")
    return {**MORE, "addresses": [*MORE["addresses"], "2001:db8::252", "2001:db8::251"]}


def on_shim(lan: Lan) -> str:
    routes = [lan.host.ip(family, "route", "show", "dev", "host0") for family in ("-4", "-6")]
    return "".join([lan.host.ip("-o", "address", "show", "dev", "host0"), *routes])


@pytest.mark.parametrize(("command", "theirs"), SAME.values(), ids=SAME)
def test_what_something_else_adds_meanwhile_is_as_declared_and_stays_theirs(
    lan: Lan, failing: dict[str, t.Any], command: str, theirs: str
) -> None:
    lan.done()
    patch = during_probes(command)
    failed = lan.access(failing, patch=patch)["msg"]
    assert "2001:db8::251 is already in use on the LAN" in failed
    assert theirs in on_shim(lan)
    # And only that.
    assert [one for _command, one in SAME.values() if one in on_shim(lan)] == [theirs]
    lan.host.run("sh", "-c", command.replace(" add ", " del ").removesuffix(" nodad"))
    wanted = {**MORE, "addresses": [*MORE["addresses"], "2001:db8::252"]}
    assert lan.done(wanted, patch=patch)["changed"]
    assert not lan.done(wanted)["changed"]


@pytest.mark.parametrize(
    ("command", "message", "theirs"),
    [
        (
            "ip route add 192.0.2.78 dev host0 proto 99 scope link",
            "the change was made, but the host still differs: host0 guests",
            "192.0.2.78 proto ",
        ),
        ("ip route add 192.0.2.78 dev eth0", "guests[1]: there already is a route to 192.0.2.78/32 over eth0", ""),
        ("ip address add 2001:db8::250/64 dev host0", "host0 addresses", "2001:db8::250/64"),
    ],
)
def test_what_differs_from_the_declared_one_is_neither_taken_for_it_nor_removed(
    lan: Lan, command: str, message: str, theirs: str
) -> None:
    lan.done({**ACCESS, "addresses": ["192.0.2.250"], "guests": ["192.0.2.77"]})
    failed = lan.access(MORE, patch=during_probes(command))["msg"]
    assert message in failed
    assert failed.endswith("The host is as it was before")
    assert theirs in on_shim(lan)
    assert "192.0.2.251" not in on_shim(lan)
    assert ("192.0.2.78 dev eth0" in lan.host.ip("route")) is (not theirs)


def test_what_something_else_removes_meanwhile_does_not_come_back(lan: Lan, failing: dict[str, t.Any]) -> None:
    lan.done(MORE)
    for command, gone in (
        ("ip address del 192.0.2.251/32 dev host0", "192.0.2.251/32"),
        ("ip address del 2001:db8::250/128 dev host0", "2001:db8::250/128"),
        ("ip route del 192.0.2.78 dev host0", "192.0.2.78 "),
        ("ip -6 route del 2001:db8::78 dev host0", "2001:db8::78 "),
    ):
        # New ones, so that there are probes. The second one is in use.
        other = {**failing, "addresses": ["192.0.2.249", "2001:db8::251"], "guests": []}
        failed = lan.access(other, patch=during_probes(command))["msg"]
        assert "2001:db8::251 is already in use on the LAN" in failed
        assert gone not in on_shim(lan)
        there = on_shim(lan)
        assert all(one in there for one in ("192.0.2.250/32", "192.0.2.77 ", "2001:db8::77 ")), there
        lan.done(MORE)


def test_addresses_that_the_kernel_removes_with_another_come_back(lan: Lan, failing: dict[str, t.Any]) -> None:
    lan.done()
    for one in ("198.51.100.1/24", "198.51.100.2/24", "198.51.100.3/24"):
        lan.host.ip("address", "add", one, "dev", "host0")
    assert lan.host.sysctl("host0", "ipv4/promote_secondaries") == 0
    before = on_shim(lan)
    failed = lan.refuses({**failing, "addresses": ["192.0.2.250", "2001:db8::251"]})
    assert failed.endswith("The host is as it was before")
    assert on_shim(lan) == before
    assert lan.done()["changed"]
    assert "198.51.100." not in on_shim(lan)
