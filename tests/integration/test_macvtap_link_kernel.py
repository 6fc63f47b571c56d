# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel changes on a macvtap link that exists, and what it does not, through the module."""

from __future__ import annotations

import functools
import json
import time
import typing as t

import pytest
from attributes import EVERYTHING, MACS, bclim, impacts, shown
from support import PYTHONS

if t.TYPE_CHECKING:
    from namespaces import Namespace


@pytest.mark.parametrize("python", PYTHONS)
def test_every_attribute_at_creation_and_in_place(netns: Namespace, python: str) -> None:
    run = functools.partial(netns.run, python=python)
    wanted = {"name": "mt0", "parent": "eth0", **EVERYTHING}
    made = run(wanted)
    assert impacts(made) == {"state": "none"}
    assert shown(netns, "mt0") == EVERYTHING
    assert impacts(run(wanted)) == {}

    other = {
        "mode": "source",
        "source_macs": MACS[1:3],
        "mac": MACS[5],
        "mtu": 1300,
        "txqueuelen": 0,
        "promiscuous": True,
        "nodst": False,
        "bcqueuelen": 2000,
        "bclim": -1,
        "group": 0,
        "alias": "",
        "altnames": ["web1"],
        "gso_max_size": 321,
        "addrgenmode": "random",
        "allmulticast": False,
        "arp": False,
        "accept_ra": False,
    }
    returned = run({"name": "mt0", **other}, check=True)
    assert shown(netns, "mt0") == EVERYTHING
    assert impacts(returned) == dict.fromkeys(other.keys() - {"mode"}, "in_place")
    changed = run({"name": "mt0", **other})
    assert changed["changes"] == returned["changes"]
    assert changed["links"][0]["ifindex"] == made["links"][0]["ifindex"]
    assert shown(netns, "mt0") == {**other, "queues": EVERYTHING["queues"]}
    assert impacts(run({"name": "mt0", **other})) == {}


@pytest.mark.parametrize("state", ["up", "down"])
def test_mac(netns: Namespace, state: str) -> None:
    lower = netns.link("eth0")["address"]
    netns.run({"parent": "eth0", "mode": "bridge", "links": [{"name": "mt1", "mac": MACS[1], "state": "down"}]})
    wanted = {"name": "mt0", "parent": "eth0", "mode": "bridge", "state": state}
    # Down, the kernel would take them all and refuse to set the link up later.
    for mac in (MACS[1], lower):
        netns.refuses({**wanted, "mac": mac}, rf"^mac: {mac} is the MAC address of (mt1|eth0)")
    assert impacts(netns.run({**wanted, "mac": MACS[0]})) == {"state": "none"}
    assert impacts(netns.run({**wanted, "mac": MACS[2].upper()})) == {"mac": "in_place"}
    assert netns.link("mt0")["address"] == MACS[2]
    for mac, output in (
        (MACS[1], "is the MAC address of mt1, another link of the parent eth0"),
        (lower, "is the MAC address of eth0, the parent itself"),
        ("01:00:5e:00:00:01", "is a multicast address"),
        ("00:00:00:00:00:00", "is all zero"),
        ("ff:ff:ff:ff:ff:ff", "is the broadcast address"),
    ):
        netns.refuses({"name": "mt0", "state": state, "mac": mac}, f"^mac: {mac} {output}")


def test_addresses_that_move_among_the_declared_links(netns: Namespace) -> None:
    def addresses() -> list[str]:
        return [netns.link(f"mt{n}")["address"] for n in range(3)]

    def declare(*macs: str) -> dict[str, t.Any]:
        links = [{"name": f"mt{n}", "mac": mac} for n, mac in enumerate(macs)]
        return netns.run({"parent": "eth0", "mode": "bridge", "links": links})

    declare(*MACS[:3])
    # What another link has up to now, whatever the order, and all round.
    for macs in ((MACS[1], MACS[2], MACS[3]), (MACS[4], MACS[1], MACS[2]), (MACS[1], MACS[2], MACS[4])):
        assert impacts(declare(*macs)) == {"mac": "in_place"}
        assert addresses() == list(macs)


def test_alternative_names_that_move_among_the_declared_links(netns: Namespace) -> None:
    def declare(*names: str) -> dict[str, t.Any]:
        links = [{"name": f"mt{n}", "altnames": [name]} for n, name in enumerate(names)]
        return netns.run({"parent": "eth0", "mode": "bridge", "links": links})

    declare("web0", "web1")
    assert impacts(declare("web1", "web0")) == {"altnames": "in_place"}
    assert (netns.link("mt0")["altnames"], netns.link("mt1")["altnames"]) == (["web1"], ["web0"])


@pytest.mark.parametrize("state", ["up", "down"])
def test_mtu(netns: Namespace, state: str) -> None:
    wanted = {"name": "mt0", "parent": "eth0", "mode": "bridge", "state": state}
    netns.run({**wanted, "mtu": 1500})
    # A link that comes to have IPv6 again has the kernel's accept_ra.
    for mtu, changed in ((68, {"mtu"}), (1500, {"mtu", "accept_ra"})):
        assert impacts(netns.run({**wanted, "mtu": mtu})) == dict.fromkeys(changed, "in_place")
        assert netns.link("mt0")["mtu"] == mtu
    netns.refuses({**wanted, "mtu": 1501}, r"^mtu: 1501 exceeds the MTU of the parent eth0 \(1500\)")
    netns.refuses({**wanted, "mtu": 67}, r"^mtu: 67 is not between 68")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alias": "a" * 256}, "^alias: the text has 256 bytes and the kernel allows 255"),
        ({"alias": "ä" * 128}, "^alias: the text has 256 bytes"),
        ({"altnames": ["web0", "a" * 128]}, r"^altnames\[1\]: 'a{128}' has 128 bytes and the kernel allows 127"),
        ({"altnames": ["eth1"]}, "^altnames: eth1 is already a name of the link eth1"),
        ({"altnames": ["web9"]}, "^altnames: web9 is already a name of the link mt9"),
        ({"altnames": ["mt0"]}, r"^altnames\[0\]: mt0 is the name of the link itself"),
        ({"source_macs": [MACS[0]]}, "^source_macs: requires mode source"),
        ({"mode": "source", "source_macs": ["33:33:00:00:00:01"]}, r"^source_macs\[0\]: .* is a multicast address"),
        ({"queues": {"tx": 0}}, "^queues.tx: 0 is not between 1 and 4096"),
        ({"gso_max_size": 320}, "^gso_max_size: 320 is not between 321 and 524280"),
        ({"txqueuelen": -1}, "^txqueuelen: -1 is not between"),
    ],
)
def test_values_that_are_refused_on_a_link_that_exists(
    netns: Namespace, params: dict[str, t.Any], message: str
) -> None:
    netns.run({"links": [{"name": "mt0"}, {"name": "mt9", "altnames": ["web9"]}], "parent": "eth0", "mode": "bridge"})
    netns.refuses({"name": "mt0", **params}, message)


def test_the_broadcast_limit_is_one_for_the_whole_lower(netns: Namespace) -> None:
    links = [{"name": "mt0", "bclim": 5}, {"name": "mt1"}]
    netns.run({"parent": "eth0", "mode": "bridge", "links": links})
    netns.run({"name": "mt2", "parent": "eth1", "mode": "bridge"})
    assert [bclim(netns, f"mt{n}") for n in range(3)] == [5, 5, 1]
    netns.run({"name": "mt1", "bclim": 9})
    assert [bclim(netns, f"mt{n}") for n in range(3)] == [9, 9, 1]
    twice = [{"name": "mt0", "bclim": 5}, {"name": "mt1", "bclim": 6}]
    netns.refuses({"links": twice}, r"^links\[1\]\.bclim: 6 differs from 5 in links\[0\]\.bclim; .* share one limit")
    # One that is made anew does not bring back what another entry changes.
    netns.run({"links": [{"name": "mt0", "queues": {"tx": 3}}, {"name": "mt1", "bclim": 4}]})
    assert [bclim(netns, f"mt{n}") for n in range(3)] == [4, 4, 1]
    # A link that moves takes the limit of where it comes to, and does not bring its own.
    netns.run({"name": "mt2", "parent": "eth0"})
    assert [bclim(netns, f"mt{n}") for n in range(3)] == [4, 4, 4]


@pytest.mark.parametrize("wanted", [{"parent": "eth1"}, {"queues": {"tx": 4}}, {"queues": {"rx": 5}}])
def test_what_the_kernel_would_ignore_is_made_anew_with_all_that_it_had(
    netns: Namespace, wanted: dict[str, t.Any]
) -> None:
    tap = {"owner": "nobody", "group": "kvm", "mode": "0660"}
    (before,) = netns.run({"name": "mt0", "parent": "eth0", **EVERYTHING, "tap": tap})["links"]
    returned = netns.run({"name": "mt0", **wanted}, check=True)
    assert set(impacts(returned).values()) == {"recreate"}
    assert "mt0: recreated, so its tap" in str(returned["warnings"])
    made = netns.run({"name": "mt0", **wanted})
    assert made["changes"] == returned["changes"]
    (after,) = made["links"]
    assert after["ifindex"] != before["ifindex"]
    assert after["tap"]["path"] != before["tap"]["path"]
    assert {key: after["tap"][key] for key in tap} == tap
    queues = {**t.cast("dict[str, int]", EVERYTHING["queues"]), **wanted.get("queues", {})}
    expected = {**EVERYTHING, "queues": queues}
    if "parent" in wanted:
        expected["bclim"] = 1  # the lower's own, not the link's
    assert shown(netns, "mt0") == expected
    assert netns.link("mt0")["link"] == wanted.get("parent", "eth0")
    assert impacts(netns.run({"name": "mt0", **wanted})) == {}


def test_addrgenmode_none_keeps_the_hosts_stack_off_and_allmulticast_is_live(netns: Namespace) -> None:
    def addresses(name: str) -> list[str]:
        (shown,) = json.loads(netns.ip("-6", "-j", "address", "show", "dev", name)) or [{}]
        return [address["local"] for address in shown.get("addr_info", [])]

    links = [{"name": "mt0"}, {"name": "mt1", "addrgenmode": "none", "allmulticast": True}]
    netns.run({"parent": "eth0", "mode": "bridge", "links": links})
    deadline = time.monotonic() + 5
    while not addresses("mt0") and time.monotonic() < deadline:
        time.sleep(0.05)
    # The first link shows that there was time enough for the second to get one.
    assert addresses("mt0")[0].startswith("fe80::")
    assert addresses("mt1") == []
    assert "ALLMULTI" in netns.link("mt1")["flags"]
    assert impacts(netns.run({"name": "mt1", "allmulticast": False})) == {"allmulticast": "in_place"}
    assert "ALLMULTI" not in netns.link("mt1")["flags"]
    # A link that has an address already loses it only when it is set down and up, which is not ours to do.
    assert impacts(netns.run({"name": "mt0", "addrgenmode": "none"})) == {"addrgenmode": "in_place"}
    assert netns.link("mt0")["inet6_addr_gen_mode"] == "none"


def test_no_address_is_generated_where_there_is_no_ipv6(netns: Namespace, lower: str) -> None:
    def run(**given: t.Any) -> dict[str, str]:
        return impacts(netns.run({"name": "mt0", "parent": lower, "mode": "bridge", "addrgenmode": "none", **given}))

    # Below 1280 bytes a link has no IPv6: as a new one, as one that gets so, and as one whose parent takes it along.
    assert run(mtu=1200) == {"state": "none"}
    assert run(mtu=1200) == {}
    assert run(mtu=1500) == dict.fromkeys(("mtu", "addrgenmode", "accept_ra"), "in_place")
    assert netns.link("mt0")["inet6_addr_gen_mode"] == "none"
    assert run(mtu=1200) == {"mtu": "in_place"}
    assert run(mtu=1500) == dict.fromkeys(("mtu", "addrgenmode", "accept_ra"), "in_place")
    netns.ip("link", "set", lower, "mtu", "1000")
    assert run() == {}
    netns.refuses({"name": "mt0", "addrgenmode": "random"}, "^addrgenmode: requires .*; the link has 1000")


def test_what_is_put_back_has_its_addrgenmode_again(netns: Namespace) -> None:
    netns.run({"name": "mt0", "parent": "eth0", "mode": "bridge", "addrgenmode": "none"})
    links = [{"name": "mt0", "mtu": 1200}, {"name": "bad0", "addrgenmode": "stable_secret", "mode": "bridge"}]
    failed = netns.run({"parent": "eth0", "links": links})
    assert failed["msg"].endswith("(EINVAL). The host is as it was before"), failed["msg"]
    assert (netns.link("mt0")["mtu"], netns.link("mt0")["inet6_addr_gen_mode"]) == (1500, "none")
