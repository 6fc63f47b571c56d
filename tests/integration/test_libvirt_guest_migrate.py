# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that libvirt_guest_migrate moves to another host, with their NICs as that has them."""

from __future__ import annotations

import typing as t

import direct_iface
import moved_guests
import pytest
from direct_iface import A, domain, element, nic, ok
from direct_network import network, source
from moved_guests import Hosts, Where, move

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def define_network(hv: Hypervisor) -> None:
    hv.virsh("net-define", "/dev/stdin", stdin=network("lan", "bridge", hv.uplink))
    hv.virsh("net-start", "lan")


def same(one: str, other: str) -> bool:
    """Whether two documents are the same: libvirt indents foreign elements once more each time."""
    return one.split() == other.split()


def test_a_guest_moves_to_a_host_whose_uplink_has_another_name_and_back(hosts: Hosts) -> None:
    guest = moved_guests.start(hosts)
    hv1, hv2 = hosts.all
    predicted = ok(move(hv1, hv2, check=True))
    moved_guests.assert_whole(hosts, guest, hv1)
    done = ok(move(hv1, hv2))
    assert done["changes"] == predicted["changes"]
    assert done["diff"] == predicted["diff"]
    assert [(change["target"], change["field"], change["before"], change["after"]) for change in done["changes"]] == [
        ("web1", "host", "hv1", "hv2"),
        (f"web1 {A}", "source", "eth0", "lan0"),
    ]
    assert done["measured"]["bytes"] > 1 << 20
    moved_guests.assert_whole(hosts, guest, hv2)
    assert source(hv2) == source(hv2, live=True) == "direct dev=lan0 mode=bridge"
    again = ok(move(hv1, hv2))
    assert (again["changed"], again["measured"], again["interfaces"]) == (False, None, [])
    # Back, by what is declared of the NIC, and with the guest standing still meanwhile.
    ok(move(hv2, hv1, uplinks={}, interfaces=[{"mac": A.upper(), "source": "eth0", "mode": "private"}], live=False))
    moved_guests.assert_whole(hosts, guest, hv1)
    assert source(hv1) == source(hv1, live=True) == "direct dev=eth0 mode=private"


def test_a_guest_on_a_bridge_comes_to_the_uplink_itself(hosts: Hosts) -> None:
    hv1, hv2 = hosts.all
    moved_guests.prepare(hosts)
    hv1.run("ip", "link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    try:
        hv1.run("ip", "link", "set", "eth0", "master", "br0")
        guest = moved_guests.start(
            hosts, nic(A).replace("type='direct'", "type='bridge'").replace("dev='eth0' mode='bridge'", "bridge='br0'")
        )
        done = ok(move(hv1, hv2, interfaces=[{"mac": A, "source": "lan0"}]))
    finally:
        hv1.run("ip", "link", "del", "br0")
    assert done["interfaces"][0]["type"] == "direct"
    moved_guests.assert_whole(hosts, guest, hv2)
    assert source(hv2) == source(hv2, live=True) == "direct dev=lan0 mode=bridge"


def test_a_guest_comes_to_a_direct_network_and_moves_on_it(hosts: Hosts) -> None:
    guest = moved_guests.start(hosts)
    hv1, hv2 = hosts.all
    for hv in hosts.all:
        define_network(hv)
    ok(move(hv1, hv2, interfaces=[{"mac": A, "network": "lan"}]))
    moved_guests.assert_whole(hosts, guest, hv2)
    assert source(hv2) == "network network=lan"
    assert source(hv2, live=True) == "direct network=lan dev=lan0 mode=bridge"
    back = ok(move(hv2, hv1, uplinks={}))
    assert [change["field"] for change in back["changes"]] == ["host"]
    moved_guests.assert_whole(hosts, guest, hv1)
    assert source(hv1, live=True) == "direct network=lan dev=eth0 mode=bridge"


def test_a_guest_that_does_not_run_moves_too(hosts: Hosts) -> None:
    hv1, hv2 = hosts.all
    hv1.define(domain("web1", nic(A)))
    before = hv1.dump("web1")
    ok(move(hv1, hv2, check=True))
    assert moved_guests.where(hosts, "web1") == Where([], [], ["hv1"])
    done = ok(move(hv1, hv2))
    assert (done["changed"], done["measured"]) == (True, None)
    assert moved_guests.where(hosts, "web1") == Where([], [], ["hv2"])
    # Its password too.
    assert same(hv2.dump("web1"), before.replace("dev='eth0'", "dev='lan0'"))
    assert not ok(move(hv1, hv2))["changed"]
    hv2.virsh("start", "web1")


@pytest.mark.parametrize("transport", ["tunnel", "tls", "tcp"])
def test_a_paused_guest_stays_paused_and_keeps_its_passwords(hosts: Hosts, transport: str) -> None:
    hv1, hv2 = hosts.all
    hv1.define(domain("web1", nic(A)))
    hv1.virsh("start", "web1")
    hv1.virsh("suspend", "web1")
    stored = hv1.dump("web1")
    ok(move(hv1, hv2, transport=transport))
    assert moved_guests.where(hosts, "web1") == Where([], ["hv2"], ["hv2"])
    assert same(hv2.dump("web1"), stored.replace("dev='eth0'", "dev='lan0'"))
    assert "passwd='s3cret'" in hv2.dump("web1", live=True)
    assert not ok(move(hv1, hv2))["changed"]


def test_a_guest_that_is_not_stored_is_stored_only_if_that_is_said(hosts: Hosts) -> None:
    hv1, hv2 = hosts.all
    hv1.define(domain("web1", nic(A)))
    hv1.virsh("start", "web1")
    hv1.virsh("undefine", "web1")
    # Without an operating system it writes nothing meanwhile.
    ok(move(hv1, hv2, live=True))
    assert moved_guests.where(hosts, "web1") == Where(["hv2"], [], [])
    ok(move(hv2, hv1, live=True, persistent=True))
    assert moved_guests.where(hosts, "web1") == Where(["hv1"], [], ["hv1"])
    assert source(hv1) == source(hv1, live=True) == "direct dev=eth0 mode=bridge"
    # What is stored here goes nowhere, if the destination is to store nothing.
    ok(move(hv1, hv2, persistent=False))
    assert moved_guests.where(hosts, "web1") == Where(["hv2"], [], [])


def test_what_is_stored_beside_a_running_guest_moves_as_it_is(hosts: Hosts) -> None:
    hv1, hv2 = hosts.all
    hv1.define(domain("web1", nic(A)))
    hv1.virsh("start", "web1")
    hv1.define(hv1.dump("web1").replace(element(hv1.dump("web1"), A), nic(A, mode="vepa")).replace("s3cret", "other"))
    ok(move(hv1, hv2))
    assert (source(hv2), source(hv2, live=True)) == ("direct dev=lan0 mode=vepa", "direct dev=lan0 mode=bridge")
    assert "passwd='other'" in hv2.dump("web1")
    assert "passwd='s3cret'" in hv2.dump("web1", live=True)


def test_a_move_that_takes_too_long_is_given_up(hosts: Hosts) -> None:
    guest = moved_guests.start(hosts)
    hv1, hv2 = hosts.all
    failed = move(hv1, hv2, bandwidth=1, timeout=1)
    assert failed["msg"].startswith(
        "domain: domain 'web1' did not move to hv2: it took longer than the timeout of 1 s. It is still here"
    )
    assert failed["msg"].endswith("The host is as it was before")
    moved_guests.assert_whole(hosts, guest, hv1)


@pytest.mark.parametrize(("on_timeout", "transport"), [("suspend", "tunnel"), ("post_copy", "tls")])
def test_a_move_that_takes_too_long_is_brought_to_its_end(hosts: Hosts, on_timeout: str, transport: str) -> None:
    moved_guests.start(hosts)
    hv1, hv2 = hosts.all
    # The guest has more than that sends in a second.
    done = ok(move(hv1, hv2, live=True, bandwidth=16, timeout=1, on_timeout=on_timeout, transport=transport))
    # Of post-copy libvirt has no figures.
    assert on_timeout == "post_copy" or done["measured"]["seconds"] > 1
    assert done["forecast_seconds"] > 1
    assert moved_guests.where(hosts, "web1") == Where(["hv2"], [], ["hv2"])
