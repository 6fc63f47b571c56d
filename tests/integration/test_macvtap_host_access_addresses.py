# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Addresses of a shim that somebody else has, that a lease brought, or that IPv6 does not allow; and odd input."""

from __future__ import annotations

import os
import re
import subprocess
import time
import typing as t

import lan as lans
import pytest
from lan import ACCESS, Lan
from support import ROOT_ONLY

pytestmark = ROOT_ONLY


def test_an_ipv6_address_that_is_written_in_two_ways(lan: Lan) -> None:
    # As ip shows the one, ::192.0.2.1.
    odd = {**ACCESS, "addresses": ["::c000:201"], "guests": ["::c000:200/120"]}
    assert lan.done(odd)["shims"][0]["addresses"] == ["::c000:201"]
    assert not lan.done(odd)["changed"]


def test_an_address_that_somebody_has_is_refused(lan: Lan) -> None:
    lan.start_guest()
    for machine, mac in ((lan.guest, lans.GUEST[0]), (lan.peer, lans.PEER[0])):
        machine.ip("address", "add", "192.0.2.250/24", "dev", "eth0")
        output = lan.refuses(ACCESS)
        assert f"192.0.2.250 is already in use on the LAN (at {mac})" in output
        assert output.endswith("The host is as it was before")
        machine.ip("address", "del", "192.0.2.250/24", "dev", "eth0")
        machine.ip("address", "add", "2001:db8::250/64", "dev", "eth0", "nodad")
        output = lan.refuses(ACCESS)
        assert "2001:db8::250 is already in use on the LAN, so host0 cannot have it" in output
        assert output.endswith("The host is as it was before")
        machine.ip("address", "del", "2001:db8::250/64", "dev", "eth0")
    assert lan.done()["changed"]


def test_a_mac_address_that_is_taken(lan: Lan) -> None:
    output = lan.refuses({**ACCESS, "mac": lans.HOST[0]})
    assert output.startswith(f"mac: {lans.HOST[0]} is the MAC address of eth0, the parent itself")
    assert lan.host.pings("192.0.2.9")
    output = lan.refuses({**ACCESS, "mac": lans.PEER[0]})
    assert output.startswith(f"mac: {lans.PEER[0]} is the MAC address of 192.0.2.9, whose frames would arrive here")


def test_an_mtu_too_small_for_ipv6(lan: Lan) -> None:
    v4 = {**ACCESS, "addresses": ["192.0.2.250"], "guests": ["192.0.2.77"]}
    message = r"^mtu: 1279 is below 1280, "
    assert re.search(message, lan.refuses({**v4, "mtu": 1279}))
    lan.done(v4)
    assert re.search(message, lan.refuses({**v4, "mtu": 1279}))
    # The parent takes it below, and is itself raised again.
    lan.host.ip("link", "set", "eth0", "mtu", "1200")
    assert not lan.done(v4)["changed"]
    assert re.search(r"^addresses\[1\]: 2001:db8::250 is IPv6, which requires an MTU", lan.refuses(ACCESS))
    lan.host.ip("link", "set", "eth0", "mtu", "1500")
    assert not lan.done(v4)["changed"]
    assert lan.done({**v4, "mtu": 1500})["changed"]
    assert not lan.done({**v4, "mtu": 1500})["changed"]
    assert lan.host.sysctl("host0", "ipv6/accept_ra") == 0
    assert lan.done(ACCESS)["changed"]
    assert not lan.done(ACCESS)["changed"]
    # And it goes whatever it has.
    lan.host.ip("link", "set", "eth0", "mtu", "1200")
    try:
        assert lan.done({"name": "host0", "state": "absent"})["changed"]
        assert lan.done(v4)["changed"]
        assert not lan.done(v4)["changed"]
    finally:
        lan.host.ip("link", "set", "eth0", "mtu", "1500")


def test_ipv6_that_is_switched_off(lan: Lan) -> None:
    v4 = {**ACCESS, "addresses": ["192.0.2.250"], "guests": ["192.0.2.77"]}
    lan.host.sysctl("default", "ipv6/disable_ipv6", 1)
    try:
        output = lan.refuses(ACCESS)
        assert re.search(r"^addresses\[1\]: 2001:db8::250 is IPv6, which is disabled on new links", output)
        lan.done(v4)
        assert not lan.done(v4)["changed"]
    finally:
        lan.host.sysctl("default", "ipv6/disable_ipv6", 0)
    assert "which is disabled on host0" in lan.refuses(ACCESS)
    lan.host.sysctl("host0", "ipv6/disable_ipv6", 0)
    assert lan.done(ACCESS)["changed"]


def test_guests_are_not_out_of_reach_for_an_address_that_somebody_has(lan: Lan) -> None:
    v4 = {**ACCESS, "addresses": ["192.0.2.250"]}
    lan.done({**v4, "guests": ["192.0.2.64/27"]})
    with subprocess.Popen(
        ["ip", "-n", lan.host.name, "-4", "monitor", "route"], stdout=subprocess.PIPE, text=True
    ) as monitor:
        assert monitor.stdout is not None
        try:
            taken = {**v4, "addresses": ["192.0.2.250", "192.0.2.9"], "guests": ["192.0.2.77"]}
            assert "192.0.2.9 is already in use on the LAN" in lan.refuses(taken)
            # So that what was there before it would have been heard.
            lan.done({**v4, "guests": ["192.0.2.77"]})
            time.sleep(0.2)
        finally:
            monitor.terminate()
        deleted = [line.strip() for line in monitor.stdout if line.startswith("Deleted")]
    assert [line.split()[1] for line in deleted] == ["192.0.2.64/27"]


def test_what_a_lease_brought_stays(lan: Lan) -> None:
    wanted = {**ACCESS, "addresses": ["2001:db8::250"], "dhcp4": True}
    lan.done(wanted)
    lan.host.ip("address", "add", "192.0.2.133/32", "dev", "host0", "valid_lft", "600", "preferred_lft", "600")
    lan.host.ip("route", "add", "198.51.100.9", "via", "192.0.2.77", "dev", "host0", "proto", "dhcp", "onlink")
    lan.host.ip("route", "add", "198.51.100.10", "dev", "host0")
    (change,) = lan.done(wanted)["changes"]
    assert change["field"] == "guests"
    assert "192.0.2.133" in lan.host.ip("address", "show", "host0")
    routes = lan.host.ip("route", "show", "dev", "host0")
    assert "198.51.100.9 " in routes
    assert "198.51.100.10 " not in routes
    assert not lan.done(wanted)["changed"]
    # One for ever looks like any other to the kernel, and is known by what the manager has noted.
    index = lan.host.run("cat", "/sys/class/net/host0/ifindex").stdout.strip()
    lan.host.ip(
        "address", "change", "192.0.2.133/32", "dev", "host0", "valid_lft", "forever", "preferred_lft", "forever"
    )
    lease = f"/run/systemd/netif/leases/{index}"
    write = (
        f'mount -t tmpfs none /run; mkdir -p {os.path.dirname(lease)}; echo ADDRESS=192.0.2.133 > {lease}; exec "$@"'
    )
    noted = [*lan.host.prefix, "unshare", "--mount", "sh", "-c", write, "sh"]
    assert not lan.done(wanted, prefix=noted)["changed"]
    assert lan.done(wanted, check=True)["changed"]
    # Without the option it is what it is elsewhere: not declared.
    assert lan.done({**wanted, "dhcp4": False, "guests": ["2001:db8::77"]})["changed"]
    assert "192.0.2.133" not in lan.host.ip("address", "show", "host0")


def test_a_shim_that_is_to_have_a_lease_loses_its_static_address(lan: Lan) -> None:
    lan.done()
    wanted = {**ACCESS, "addresses": ["2001:db8::250"], "dhcp4": True}
    changes = lan.done(wanted)["changes"]
    assert [change["field"] for change in changes] == ["addresses", "guests"]
    assert "192.0.2.250" not in lan.host.ip("address", "show", "host0")
    assert lan.host.ip("-4", "route", "show", "dev", "host0").split() == [
        "192.0.2.77",
        "proto",
        "static",
        "scope",
        "link",
    ]
    assert not lan.done(wanted)["changed"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parent": "nosuch0"}, r"^parent: there is no link nosuch0 on this host"),
        ({"parent": "lo"}, r"^parent: lo is the loopback link"),
        ({"parent": None}, r"^parent: is required, since the link host0 does not exist yet"),
        ({"name": "eth0"}, r"^name: eth0 already exists and is a veth link that is not managed"),
        ({"name": "../x"}, r"^name: '\.\./x' is not a valid link name"),
        ({"name": "all"}, r"^name: 'all' is reserved"),
        ({"mtu": 9000}, r"^mtu: 9000 exceeds the MTU of the parent eth0 \(1500\)"),
        ({"addresses": ["192.0.2.1"], "guests": []}, r"^addresses\[0\]: 192.0.2.1 is already an address of the host"),
        ({"addresses": ["192.0.2.250/24"]}, r"^addresses\[0\]: '192.0.2.250/24' has a prefix length"),
        ({"addresses": ["2001:db8::1"], "guests": []}, r"^addresses\[0\]: 2001:db8::1 is already an address of the"),
        ({"addresses": ["192.0.2.254"], "guests": []}, r"^addresses\[0\]: 192.0.2.254 is the address of a router"),
        ({"guests": ["0.0.0.0/0"]}, r"^guests\[0\]: 0.0.0.0/0 is a default route"),
        ({"guests": ["192.0.2.77", "192.0.2.0/24"]}, r"^guests\[1\]: 192.0.2.0/24 contains an address of the host"),
        ({"guests": ["192.0.2.0/30"]}, r"^guests\[0\]: 192.0.2.0/30 contains an address of the host itself, 192"),
        ({"guests": ["192.0.2.252/30"]}, r"^guests\[0\]: 192.0.2.252/30 contains a router that .*, 192.0.2.254\."),
        ({"guests": ["192.0.2.254"]}, r"^guests\[0\]: 192.0.2.254/32 contains a router that .*, 192.0.2.254\."),
        ({"guests": ["2001:db8::/64"]}, r"^guests\[0\]: 2001:db8::/64 contains an address of the host"),
        ({"guests": ["198.51.100.0/24"]}, r"^guests\[0\]: there already is a route to 198.51.100.0/24 over eth0"),
        ({"guests": ["203.0.113.0/24"]}, r"^guests\[0\]: there already is a route of type blackhole to 203.0.113.0"),
        ({"addresses": [], "guests": ["192.0.2.77"]}, r"^guests\[0\]: 192.0.2.77/32 is IPv4, but the host interface"),
        ({"name": None}, r"one of the following is required: name, shims"),
        ({"shims": []}, r"mutually exclusive: name\|shims"),
    ],
)  # fmt: skip
def test_odd_input_is_refused_with_the_option(lan: Lan, given: dict[str, t.Any], message: str) -> None:
    lan.host.ip("route", "add", "default", "via", "192.0.2.254")
    lan.host.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.253")
    lan.host.ip("route", "add", "blackhole", "203.0.113.0/24")
    params = {name: value for name, value in {**ACCESS, **given}.items() if value is not None}
    assert re.search(message, lan.refuses(params))
