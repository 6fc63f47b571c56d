# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files of shims on a hypervisor of the lab, and the program run on them."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from managed import ETC, LINKS, PROGRAM, Host
from support import ROOT_ONLY

pytestmark = ROOT_ONLY

INTERFACES = "/etc/network/interfaces.d/macvtap"
SYSCTL = "/etc/sysctl.d/90-macvtap.conf"
SHIM: dict[str, t.Any] = {
    "name": "host-0",
    "parent": "eth0",
    "mac": "52:54:00:00:00:07",
    "addresses": ["192.0.2.41", "2001:db8:1::41"],
    "guests": ["192.0.2.20/31", "2001:db8:1::21", "192.0.2.22"],
}
SETTINGS = ("ipv4/conf/host-0/arp_filter", "ipv4/conf/host-0/arp_announce", "ipv6/conf/host-0/accept_ra")


def test_files_and_results_and_a_second_run_changes_nothing(host: Host) -> None:
    host.systemd()
    predicted = host.done(check=True, diff=True, shims=[SHIM])
    assert host.files() == {}
    done = host.done(diff=True, shims=[SHIM])
    assert (done["changes"], done["diff"]) == (predicted["changes"], predicted["diff"])
    assert done["links"] == [{"name": "host-0", "persistence": "systemd"}]
    written = host.files()
    assert {path for path, mode in written.items() if mode == "644"} == {
        "/etc/NetworkManager/conf.d/90-macvtap.conf",
        f"{ETC}/00-macvtap-host-0.network",
        "/etc/systemd/system/macvtap-links@.service",
        "/etc/systemd/system/macvtap-links.service",
        f"{LINKS}/eth0",
        PROGRAM,
        SYSCTL,
        "/etc/udev/rules.d/90-macvtap-uplinks.rules",
    }
    assert sorted(host.files()) == done["files"]
    again = host.done(shims=[SHIM])
    assert (again["changed"], again["changes"]) == (False, [])


def test_purge_takes_what_is_written_of_shims_that_are_not_listed_and_no_link(host: Host) -> None:
    host.systemd()
    host.done(links=[{"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:01"}])
    host.done(shims=[SHIM])

    def written(**options: t.Any) -> set[str | None]:
        return {one["kind"] for one in host.done(**options)["written"]}

    assert written(shims=[SHIM], purge=True) == {"macvtap", "macvlan"}
    assert written(shims=[], purge=True) == {"macvtap"}
    host.done(shims=[SHIM])
    assert written(links=[], purge=True) == {"macvlan"}


def test_links_and_shims_are_managed_by_different_calls(host: Host) -> None:
    host.systemd()
    link = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:01"}
    host.done(shims=[SHIM])
    alone = host.files(), host.sh(f"cat {' '.join(host.files())}")
    host.done(links=[link], purge=True)
    beside = host.files()
    assert len(beside) > len(alone[0])
    host.done(purge=True)
    assert (host.files(), host.sh(f"cat {' '.join(host.files())}")) == alone
    host.done(links=[link], purge=True)
    host.done(shims=[{"name": "host-0", "state": "absent"}])
    assert set(host.files()) == {path for path in beside if "host-0" not in path} - {SYSCTL}
    host.done(purge=True)
    assert host.files() == {}


def test_only_root_can_read_a_profile_of_networkmanager(host: Host) -> None:
    host.systemd()
    shim = {**SHIM, "addresses": ["2001:db8:1::41"], "dhcp4": True}
    host.done(persistence="networkmanager", shims=[shim])
    path = "/etc/NetworkManager/system-connections/macvtap-host-0.nmconnection"
    assert host.files()[path] == "600"
    host.sh(f"chmod 644 {path}")
    (change,) = host.done(persistence="networkmanager", shims=[shim])["changes"]
    assert (change["field"], host.files()[path]) == ("mode", "600")


@pytest.mark.parametrize("backend", ["systemd", "ifupdown"])
def test_the_program_creates_the_shim_as_declared(host: Host, backend: str) -> None:
    host.systemd() if backend == "systemd" else host.ifupdown()
    host.done(shims=[SHIM], persistence=backend)
    # With the shim there, as after a run of the role, the same again harms nothing.
    for _time in range(2):
        if backend == "systemd":
            assert host.boot() == ""
        else:
            for command in re.findall(r"^    (?:pre|post)-up (.*)$", host.sh(f"cat {INTERFACES}"), re.MULTILINE):
                host.sh(command)
        (link,) = json.loads(host.sh("ip -d -j address show dev host-0"))
        data = link["linkinfo"]
        assert (data["info_kind"], data["info_data"]["mode"], link["link"]) == ("macvlan", "bridge", "eth0")
        assert (link["address"], link["ifalias"]) == (SHIM["mac"], "linuxvirt.macvtap host access")
        assert "UP" in link["flags"]
        own = [one for one in link["addr_info"] if one["scope"] == "global"]
        assert [(one["local"], one["prefixlen"]) for one in own] == [("192.0.2.41", 32), ("2001:db8:1::41", 128)]
        assert host.sh(f"cd /proc/sys/net; cat {' '.join(SETTINGS)}").split() == ["1", "2", "0"]
        routes = [
            one
            for family in ("-4", "-6")
            for one in json.loads(host.sh(f"ip {family} -j route show dev host-0"))
            # Of the shim's own addresses the kernel makes some.
            if one["protocol"] != "kernel"
        ]
        assert [(one["dst"], one.get("prefsrc")) for one in routes] == [
            ("192.0.2.20/31", "192.0.2.41"),
            ("192.0.2.22", "192.0.2.41"),
            ("2001:db8:1::21", None),
        ]
        assert {one["protocol"] for one in routes} == {"static"}


def test_bad_input_names_the_option_and_writes_nothing(host: Host) -> None:
    host.systemd()
    for bad, path in (
        ({"addresses": ["192.0.2.41/24"]}, "shims[0].addresses[0]"),
        ({"guests": ["0.0.0.0/0"]}, "shims[0].guests[0]"),
        ({"name": "host*"}, "shims[0].name"),
        ({"parent": "lo", "persistence": "networkd"}, "shims[0].parent"),
    ):
        failed = host.run(shims=[{**SHIM, **bad}])
        assert failed["msg"].startswith(f"{path}: "), failed["msg"]
    assert host.files() == {}


def test_routes_to_the_hosts_own_addresses_are_refused(host: Host) -> None:
    host.systemd()
    host.sh("ip addr add 192.0.2.1/24 dev up1")
    try:
        for check in (True, False):
            for bad, why in (
                ({"guests": ["192.0.2.0/30"]}, "guests[0]: 192.0.2.0/30 contains an address of the host itself"),
                (
                    {"addresses": ["192.0.2.1"], "guests": []},
                    "addresses[0]: 192.0.2.1 is already an address of the host",
                ),
            ):
                failed = host.run(shims=[{**SHIM, **bad}], check=check)
                assert failed["msg"].startswith(f"shims[0].{why}, "), failed["msg"]
        assert host.files() == {}
    finally:
        host.sh("ip addr flush dev up1")


@pytest.mark.parametrize("written", ["add", "replace"])
def test_the_program_leaves_routes_of_others_alone(host: Host, written: str) -> None:
    """Two guests are reached by other routes, which something else has set, and all others over the shim."""
    host.systemd()
    host.done(shims=[SHIM])
    host.sh(f"sed -i 's/^route add/route {written}/' {LINKS}/eth0; grep -q '^route {written}' {LINKS}/eth0")
    routes = ["192.0.2.22 dev up1 scope link metric 0", "2001:db8:1::21 dev up1 metric 1024"]
    host.sh("".join(f"ip route add {route}; " for route in routes))
    try:
        message = host.boot()
        assert sorted(line.partition(": RTNETLINK")[0] for line in message.splitlines()) == [
            "<4>host-0: ip route add 192.0.2.22/32 dev host-0 proto static src 192.0.2.41",
            "<4>host-0: ip route add 2001:db8:1::21/128 dev host-0 proto static",
        ]
        assert "File exists" in message
        assert host.sh("ip route show 192.0.2.22").startswith("192.0.2.22 dev up1 ")
        assert host.sh("ip -6 route show 2001:db8:1::21").startswith("2001:db8:1::21 dev up1 ")
        assert host.sh("ip route show 192.0.2.20/31").startswith("192.0.2.20/31 dev host-0 proto static ")
    finally:
        host.sh("".join(f"ip route del {route}; " for route in routes))


def test_the_program_does_not_complain_of_a_route_that_it_has_set(host: Host) -> None:
    host.systemd()
    host.done(shims=[SHIM])
    # Whatever it is set for twice.
    host.sh(f"sed -i '/^route add/p' {LINKS}/eth0")
    assert host.boot() == ""
    assert host.sh("ip route show dev host-0; ip -6 route show dev host-0").count(" proto static ") == 3
