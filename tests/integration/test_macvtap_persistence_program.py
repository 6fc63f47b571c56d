# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that creates the links at boot, run on a hypervisor of the lab: what it makes, waits for and logs."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from managed import LINK, LINKS, MAC, PROGRAM, Host, as_declared
from support import ROOT_ONLY

pytestmark = ROOT_ONLY


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"state": "down", "addrgenmode": "random"},
        {"mode": "source", "source_macs": ["02:00:00:00:00:01", "02:00:00:00:00:02"], "nodst": True},
        {"mode": "passthru", "mac": None, "promiscuous": False, "parent": "up1"},
        {"queues": {"tx": 4, "rx": 2}},
        {"mode": "source", "source_macs": [f"02:00:00:00:01:{n:02x}" for n in range(100)]},
    ],
)
@pytest.mark.parametrize("backend", ["systemd", "ifupdown"])
def test_the_program_creates_the_link_as_declared(host: Host, backend: str, more: dict[str, t.Any]) -> None:
    host.systemd() if backend == "systemd" else host.ifupdown()
    parent = more.get("parent", "eth0")
    # Of a link in mode passthru that has gone the kernel keeps the count.
    heard = allmulti(host, parent)
    host.done(persistence=backend, **{**LINK, **more})
    # With the link there, as after a run of the role, the same again harms nothing.
    for _time in range(2):
        if backend == "systemd":
            assert host.boot(parent) == ""
        else:
            text = host.sh("cat /etc/network/interfaces.d/macvtap")
            for command in re.findall(r"^    (?:pre|post)-up (.*)$", text, re.MULTILINE):
                host.sh(command)
        as_declared(host, **more)
    # In every mode the parent takes in what the link is to hear.
    assert allmulti(host, parent) == heard + (more.get("state") != "down")


def allmulti(host: Host, name: str) -> int:
    return int(re.findall(r" allmulti (\d+) ", host.sh(f"ip -d link show {name}"))[0])


def test_the_program_logs_what_it_cannot_create_and_creates_the_rest(host: Host) -> None:
    host.systemd()
    host.sh("ip link set up1 mtu 1400")
    declared: dict[str, t.Any] = {
        "vlans": [{"parent": "eth0", "id": 20}, {"parent": "eth0.20", "id": 5, "name": "svlan"}],
        "parent": "eth0",
        "mode": "bridge",
        "links": [
            # The kernel here has no VLANs; what stands on one cannot be there either.
            {"name": "a1", "parent": "svlan", "mac": "52:54:00:00:00:02"},
            {**LINK, "altnames": ["eth0", "web-1"], "mac": MAC},
            {"name": "mt1", "parent": "up1", "mtu": 1300, "mac": "52:54:00:00:00:03"},
        ],
    }
    host.done(**declared)
    has_vlans = "vlan" in host.sh("ip link add link eth0 name probe type vlan id 9 2>&1 && ip link del probe; true")
    message = host.boot()
    assert "mt-0: ip link property add dev mt-0 altname eth0 altname web-1: " in message
    assert has_vlans or "eth0.20: ip link add link eth0 name eth0.20 type vlan protocol 802.1Q id 20: " in message
    (link,) = json.loads(host.sh("ip -d -j link show dev mt-0"))
    assert ("UP" in link["flags"], link["mtu"], link["ifalias"]) == (True, 1400, LINK["alias"])
    # The host does not answer on it.
    assert "NOARP" in link["flags"]
    assert host.sh("cat /proc/sys/net/ipv6/conf/mt-0/accept_ra").strip() == "0"
    assert "mt1@" not in host.sh("ip -br link show")
    # The uplink whose MTU is too small gets its links all the same, and what it can have when it can have it.
    host.sh(f"sed -i 's/mtu 1300/mtu 1500/' {LINKS}/up1; (sleep 1; ip link set up1 mtu 1500) & sh {PROGRAM} up1; wait")
    assert json.loads(host.sh("ip -j link show dev mt1"))[0]["mtu"] == 1500


def test_the_program_leaves_existing_links_alone(host: Host) -> None:
    host.systemd()
    host.done(**LINK, state="up")
    host.sh("ip link add link up1 name mt-0 type macvlan mode private; ip link set mt-0 mtu 1300 up")
    before = host.sh("ip -d link show")
    assert host.boot() == "<4>mt-0: this link exists and is not a macvtap link; it is left as it is\n"
    assert host.sh("ip -d link show") == before
    host.sh("ip link del mt-0")
    assert [host.boot(), host.boot()] == ["", ""]


def test_the_program_works_without_ipv6(host: Host) -> None:
    host.systemd()
    # Below 1280 bytes the kernel has none on a link.
    shim = {"name": "host-0", "parent": "eth0", "addresses": ["192.0.2.41"], "guests": ["192.0.2.20/31"]}
    small = {**LINK, "mtu": 1200}
    host.done(links=[small], shims=[{**shim, "mtu": 1280}])
    host.sh(f"sed -i 's/mtu 1280/mtu 1200/' {LINKS}/eth0")
    try:
        assert host.boot() == ""
        (link,) = json.loads(host.sh("ip -j link show dev mt-0"))
        assert ("UP" in link["flags"], link["mtu"]) == (True, 1200)
        assert "192.0.2.20/31 proto static scope link src 192.0.2.41" in host.sh("ip -4 route show dev host-0")
    finally:
        host.sh("ip link del host-0")


@pytest.mark.parametrize("by", ["mac", "altname", "name"])
def test_the_program_finds_the_uplink_by_address_or_name(host: Host, by: str) -> None:
    host.systemd()
    message = {"mac": host.sh("cat /sys/class/net/up1/address").strip(), "name": "up1", "altname": "lan-b"}[by]
    host.sh("ip link property add dev up1 altname lan-b")
    try:
        host.done(name="mt1", parent=message, mode="bridge", mac=MAC)
        host.sh("ip link set up1 down; ip link set up1 name other")
        host.boot("eth0")
        # A virtual link has no device of its own, by which physical links are known.
        found = by == "altname"
        host.boot("other")
        assert ("mt1@other" in host.sh("ip -br link")) is found
    finally:
        host.sh("ip link set other name up1; ip link property del dev up1 altname lan-b; ip link set up1 up")


@pytest.mark.parametrize("name", ["web,1", "a.b,c+d@e-f_g", "0,@+.-_"])
def test_the_program_creates_links_of_every_name_that_is_taken(host: Host, name: str) -> None:
    host.systemd()
    altname = f"lan{name}"
    host.sh(f"ip link property add dev up1 altname {altname}")
    try:
        host.done(links=[{"name": name, "parent": altname, "mode": "bridge", "mac": MAC, "altnames": [f"x{name}"]}])
        assert host.boot("up1") == ""
        (link,) = json.loads(host.sh(f"ip -j link show dev 'x{name}'"))
        assert (link["ifname"], link["link"], link["address"], "UP" in link["flags"]) == (name, "up1", MAC, True)
    finally:
        host.sh(f"ip link property del dev up1 altname {altname}; ip link del '{name}' || true")


def test_the_program_waits_for_uplinks_and_logs_missing_ones(host: Host) -> None:
    host.systemd()
    host.sh("ip link add gone0 type veth peer gone1; ip link property add dev up1 altname lan-b")
    host.sh("ip link add br-lan up type veth peer name far0")
    # There is no systemd here: what it is asked to start is what was found.
    host.sh("mkdir -p /run/bin; printf '#!/bin/sh\necho $*\n' > /run/bin/systemctl; chmod +x /run/bin/systemctl")
    try:
        mac = host.sh("cat /sys/class/net/gone0/address").strip()
        links = [
            {"name": f"mt{number}", "parent": message, "mode": "bridge", "mac": f"52:54:00:00:00:0{number}"}
            for number, message in enumerate(["eth0", "lan-b", "gone0", "br-lan"], 1)
        ]
        host.done(links=links)
        host.sh(f"ip link del gone0; mv {LINKS}/gone0 {LINKS}/{mac}; sed -i s/tries=20/tries=1/ {PROGRAM}")
        message = host.sh(f"PATH=/run/bin:$PATH sh {PROGRAM}").splitlines()
        assert sorted(message) == [
            f"<4>{mac}: this uplink does not exist; its links are created when it appears",
            r"start --no-block macvtap-links@sys-devices-virtual-net-br\x2dlan.service",
            "start --no-block macvtap-links@sys-devices-virtual-net-eth0.service",
            "start --no-block macvtap-links@sys-devices-virtual-net-up1.service",
        ]
        # A unit's name has a limit. Then there is none, and no path is lost for it.
        host.sh("printf '#!/bin/sh\nexit 1\n' > /run/bin/systemd-escape; chmod +x /run/bin/systemd-escape")
        host.sh(f"PATH=/run/bin:$PATH sh {PROGRAM}")
        assert "mt4@br-lan" in host.sh("ip -br link show")
    finally:
        host.sh("ip link property del dev up1 altname lan-b; ip link del gone0 2>/dev/null || true; rm -rf /run/bin")
        host.sh("ip link del br-lan; ip link del mt2 2>/dev/null || true")


def test_a_renamed_link_is_up_at_boot(host: Host) -> None:
    """The kernel sets one of two links with one MAC address up, so the stale one must not be written beside it."""
    host.systemd()
    old = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": MAC}
    host.done(**old)
    before = host.sh(f"cat {LINKS}/eth0")
    for check in (True, False):
        refused = host.run(**{**old, "name": "mt1"}, check=check)["msg"]
        assert refused.startswith(f"mac: {MAC} is also the MAC address of mt0, which an earlier run wrote for the next")
    assert host.sh(f"cat {LINKS}/eth0") == before
    host.done(links=[{**old, "name": "mt1"}, {"name": "mt0", "state": "absent"}])
    assert host.boot() == ""
    (link,) = json.loads(host.sh("ip -j link show dev mt1"))
    assert ("UP" in link["flags"], link["address"]) == (True, MAC)
    # A link that leaves mode passthru has the address of its parent until it is recreated.
    host.sh("ip link del mt1; ip link add link up1 name mt1 type macvtap mode passthru")
    host.done(name="mt1", parent="up1", mode="bridge")
    host.sh("ip link del mt1")
    assert host.boot("up1") == ""
    assert "UP" in json.loads(host.sh("ip -j link show dev mt1"))[0]["flags"]
