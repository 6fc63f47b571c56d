# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files of links on a hypervisor of the lab, and the program run on them. Managers exist only as state in /run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import typing as t

import pytest
from managed import TAKE_AWAY
from support import MODULES, PYTHONS, module_environment, module_input, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

MAC = "52:54:00:00:00:01"
HEADER = "# Managed by Ansible (linuxvirt.macvtap): what is changed here is lost."
ETC = "/etc/systemd/network"
UNITS = "/etc/systemd/system"
LINKS = "/etc/linuxvirt-macvtap/links"
PROGRAM = "/etc/linuxvirt-macvtap/make-links"
RULES = "/etc/udev/rules.d/90-macvtap-uplinks.rules"
# All that the role would say of a link.
LINK: dict[str, t.Any] = {
    "name": "mt-0",
    "parent": "eth0",
    "mode": "bridge",
    "mac": MAC,
    "mtu": 1400,
    "txqueuelen": 77,
    "bcqueuelen": 500,
    "group": 7,
    "alias": "50% of $x; 'a' \"b\" `c` \\d #e",
    "altnames": ["web-1", "other"],
    "gso_max_size": 30000,
    "addrgenmode": "none",
    "allmulticast": True,
    "tap": {"mode": "0660"},
}
FILES = (
    "find /etc/systemd/network /etc/systemd/system /etc/NetworkManager /etc/network /etc/udev /etc/linuxvirt-macvtap "
    "-newer /run/mark "
    "! -type d -printf '%p %m\n' 2>/dev/null | sort"
)


class Host:
    """The hypervisor, with a network manager of which there is only what it would leave in /run."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def sh(self, script: str) -> str:
        return self.hv.run("sh", "-ec", script)

    def run(self, module: str = "macvtap_persistence", **params: t.Any) -> dict[str, t.Any]:
        how = {key: params.pop(key) for key in ("check", "diff", "python") if key in params}
        return run_module(module, params, prefix=self.hv.prefix, **how)

    def files(self) -> dict[str, str]:
        """Return the modes of the files that tests have made, by their paths."""
        return dict(line.rsplit(" ", 1) for line in self.sh(FILES).splitlines())

    def systemd(self) -> None:
        self.sh("mkdir -p /run/systemd/system")

    def boot(self, uplink: str = "eth0") -> str:
        """Do what the unit of the uplink does, and return what it says."""
        return self.sh(f"sh {PROGRAM} {uplink}")

    def networkd(self) -> None:
        self.sh(f"printf '[Match]\nName=eth0\n' > {ETC}/20-eth0.network")
        self.sh("mkdir -p /run/systemd/netif/links")
        self.sh(
            f"printf 'ADMIN_STATE=configured\nNETWORK_FILE={ETC}/20-eth0.network\n'"
            " > /run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)"
        )

    def ifupdown(self) -> None:
        self.sh(
            "mkdir -p /etc/network /run/network; echo 'source /etc/network/interfaces.d/*' > /etc/network/interfaces"
        )
        self.sh("echo eth0=eth0 > /run/network/ifstate")


@pytest.fixture
def host(hv: Hypervisor) -> t.Iterator[Host]:
    made = Host(hv)
    made.sh(f"mkdir -p {ETC} /etc/udev/rules.d; touch -d '1 second ago' /run/mark")
    yield made
    made.sh(TAKE_AWAY)


def ok(result: dict[str, t.Any]) -> dict[str, t.Any]:
    assert result["rc"] == 0, result
    return result


def as_declared(host: Host, **more: t.Any) -> None:
    """Assert that macvtap_link finds nothing to do."""
    found = ok(host.run("macvtap_link", check=True, **{**LINK, "tap": None, **more}))
    assert found["changes"] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_files_and_results_and_a_second_run_changes_nothing(host: Host, python: str) -> None:
    host.systemd()
    before = host.files()
    predicted = ok(host.run(check=True, diff=True, python=python, **LINK))
    assert host.files() == before
    done = ok(host.run(diff=True, python=python, **LINK))
    assert done["changes"] == predicted["changes"]
    assert done["diff"] == predicted["diff"]
    assert done["links"] == [{"name": "mt-0", "persistence": "systemd"}]
    written = host.files()
    links = {f"{UNITS}/multi-user.target.wants/macvtap-links.service"}
    assert {path: mode for path, mode in written.items() if path not in before} == {
        "/etc/NetworkManager/conf.d/90-macvtap.conf": "644",
        f"{ETC}/00-macvtap-mt-0.network": "644",
        f"{LINKS}/eth0": "644",
        PROGRAM: "644",
        f"{UNITS}/macvtap-links@.service": "644",
        f"{UNITS}/macvtap-links.service": "644",
        **dict.fromkeys(links, "777"),
        RULES: "644",
    }
    assert sorted(set(written) - set(before)) == done["files"] == predicted["files"]
    shown = {one["before_header"]: one["after"] for one in done["diff"]}
    for path in set(done["files"]) - links:
        assert host.sh(f"cat {path}") == shown[path]
    again = ok(host.run(python=python, **LINK))
    assert (again["changed"], again["changes"]) == (False, [])


def test_only_the_files_of_an_absent_link_are_removed(host: Host) -> None:
    host.systemd()
    host.sh(f"echo '# mine' > {ETC}/50-macvtap-mine.netdev")
    before = host.files()
    ok(host.run(parent="eth0", mode="bridge", links=[LINK, {"name": "mt1"}]))
    ok(host.run(name="mt1", state="absent"))
    assert ok(host.run(**LINK))["changed"] is False
    ok(host.run(name="mt-0", state="absent"))
    assert host.files() == before
    assert "network.d" not in host.sh(f"ls {ETC}")
    ok(host.run(links=[LINK, {**LINK, "name": "mt1", "altnames": [], "mac": None}]))
    ok(host.run(purge=True))
    assert host.files() == before


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
    ok(host.run(persistence=backend, **{**LINK, **more}))
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
    ok(host.run(**declared))
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
    ok(host.run(**LINK, state="up"))
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
    ok(host.run(links=[small], shims=[{**shim, "mtu": 1280}]))
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
        ok(host.run(name="mt1", parent=message, mode="bridge", mac=MAC))
        host.sh("ip link set up1 down; ip link set up1 name other")
        host.boot("eth0")
        # A virtual link has no device of its own, by which physical links are known.
        found = by == "altname"
        host.boot("other")
        assert ("mt1@other" in host.sh("ip -br link")) is found
    finally:
        host.sh("ip link set other name up1; ip link property del dev up1 altname lan-b; ip link set up1 up")


def test_the_program_waits_for_uplinks_and_logs_missing_ones(host: Host) -> None:
    host.systemd()
    host.sh("ip link add gone0 type veth peer gone1; ip link property add dev up1 altname lan-b")
    # There is no systemd here: what it is asked to start is what was found.
    host.sh("mkdir -p /run/bin; printf '#!/bin/sh\necho $*\n' > /run/bin/systemctl; chmod +x /run/bin/systemctl")
    try:
        mac = host.sh("cat /sys/class/net/gone0/address").strip()
        links = [
            {"name": f"mt{number}", "parent": message, "mode": "bridge", "mac": f"52:54:00:00:00:0{number}"}
            for number, message in enumerate(["eth0", "lan-b", "gone0"], 1)
        ]
        ok(host.run(links=links))
        host.sh(f"ip link del gone0; mv {LINKS}/gone0 {LINKS}/{mac}; sed -i s/tries=20/tries=1/ {PROGRAM}")
        message = host.sh(f"PATH=/run/bin:$PATH sh {PROGRAM}").splitlines()
        assert sorted(message) == [
            f"<4>{mac}: this uplink does not exist; its links are created when it appears",
            "start --no-block macvtap-links@eth0.service",
            "start --no-block macvtap-links@up1.service",
        ]
    finally:
        host.sh("ip link property del dev up1 altname lan-b; ip link del gone0 2>/dev/null || true; rm -rf /run/bin")


def test_a_link_keeps_its_address(host: Host) -> None:
    host.systemd()
    made = ok(host.run("macvtap_link", name="mt1", parent="eth0", mode="private"))
    (mac,) = (link["mac"] for link in made["links"])
    ok(host.run(name="mt1"))
    assert f"\nlink add link % name mt1 address {mac} type macvtap mode private\n" in host.sh(f"cat {LINKS}/eth0")


def test_an_unmanaged_file_is_left_alone(host: Host) -> None:
    host.systemd()
    host.sh(f"echo '# mine' > {RULES}")
    before = host.files()
    failed = host.run(**LINK)
    assert f"{RULES} is not managed by this collection" in failed["msg"]
    assert host.files() == before
    assert host.sh(f"cat {RULES}") == "# mine\n"


def test_the_hosts_own_links_keep_their_files_and_their_addresses(host: Host) -> None:
    host.networkd()
    host.systemd()
    host.sh("printf 'ADMIN_STATE=unmanaged\n' > /run/systemd/netif/links/$(cat /sys/class/net/up1/ifindex)")
    host.sh("ip addr add 192.0.2.1/24 dev up1")
    before = host.files()
    try:
        for check in (True, False):
            links = [LINK, {"name": "up1", "parent": "eth0"}]
            refused = host.run(links=links, check=check)["msg"]
            assert refused.startswith("links[1].name: up1 is a name of up1, ")
            refused = host.run(links=[{**LINK, "parent": "up1"}], persistence="networkd", check=check)["msg"]
            assert refused.startswith("links[0].persistence: networkd creates links by the uplink's file, and ")
            refused = host.run(vlans=[{"parent": "lo", "id": 20}], check=check)["msg"]
            assert refused.startswith("vlans[0].parent: lo is the loopback link")
        assert host.files() == before
    finally:
        host.sh("ip addr flush dev up1")


def test_if_one_file_cannot_be_written_none_is(host: Host) -> None:
    host.systemd()
    ok(host.run(**{**LINK, "tap": None, "alias": None, "group": None, "altnames": None, "txqueuelen": None}))
    before, texts = host.files(), host.sh(f"tail -n +1 {ETC}/*macvtap* {LINKS}/*")
    host.sh("mount -t tmpfs -o ro tmpfs /etc/udev/rules.d")
    failed = host.run(links=[{**LINK, "mode": "private"}, {"name": "mt1", "parent": "eth0", "mode": "bridge"}])
    assert f"{RULES} cannot be written: Read-only file system" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    host.sh("umount /etc/udev/rules.d")
    assert (host.files(), host.sh(f"tail -n +1 {ETC}/*macvtap* {LINKS}/*")) == (before, texts)


def test_a_killed_run_leaves_complete_files_and_the_next_run_finishes(host: Host) -> None:
    host.systemd()
    # Each file of the one differs from the other's, and one is there in one of them alone.
    both: list[dict[str, t.Any]] = [
        {"links": [{**LINK, "mode": "private", "allmulticast": False}, {"name": "mt1", "state": "absent"}]},
        {"links": [LINK, {**LINK, "name": "mt1", "mac": None, "altnames": []}]},
    ]
    sides: dict[str, set[str]] = {}
    for side in both:
        ok(host.run(**side))
        for path in host.files():
            sides.setdefault(path, set()).add(host.sh(f"cat {path}"))
    killed = 0
    for number, side in ((number, side) for number in range(1, 8) for side in both):
        # Just before it puts the file in place that it has written.
        code = (
            "import os, runpy, signal, sys; replace = os.replace; done = []\n"
            "def kill(*paths, **more):\n"
            f"    done.append(paths); len(done) == {number} and os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return replace(*paths, **more)\n"
            "os.replace = kill\n"
            f"runpy.run_module({MODULES + '.macvtap_persistence'!r}, run_name='__main__', alter_sys=True)"
        )
        ended = subprocess.run(
            [*host.hv.prefix, sys.executable, "-c", code],
            input=module_input(side),
            capture_output=True,
            text=True,
            check=False,
            env=module_environment(),
        )
        killed += ended.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        for path in host.files():
            # What it had not put in place yet, no manager reads.
            if "/.macvtap-" not in path:
                assert host.sh(f"cat {path}") in sides[path]
    assert killed > 1
    for side in reversed(both):
        ok(host.run(**side))
    assert ok(host.run(**both[0]))["changed"] is False
    assert "/.macvtap-" not in host.sh("find /etc -name '.macvtap-*'")


def test_without_systemd_a_warning_shows_the_choices(host: Host) -> None:
    before = host.files()
    done = ok(host.run(parent="eth0", mode="bridge", links=[{"name": "mt-0"}, {"name": "mt1"}]))
    (warning,) = (one if isinstance(one, str) else json.dumps(one) for one in done["warnings"])
    assert (
        "no configuration is written for mt-0, mt1, and what earlier runs wrote stays: systemd does not run" in warning
    )
    assert done["links"] == [{"name": "mt-0", "persistence": None}, {"name": "mt1", "persistence": None}]
    assert ok(host.run(parent="eth0", name="mt1", persistence="none")).get("warnings", []) == []
    assert host.files() == before


def test_bad_input_is_one_clear_error(host: Host) -> None:
    host.systemd()
    assert "set name, links, vlans, shims or purge" in host.run()["msg"]
    bad = {**LINK, "alias": "two\nlines"}
    assert host.run(links=[LINK | {"name": "mt1", "altnames": []}, bad])["msg"].startswith("links[1].alias: ")
    assert host.run(links=[], vlans=[{"id": 20}])["msg"].startswith("vlans[0].parent: ")
    assert "only on hosts without systemd" in host.run(**LINK, persistence="ifupdown")["msg"]
    host.sh("rmdir /run/systemd/system")
    assert "/etc/network/interfaces.d" in host.run(**LINK, persistence="ifupdown")["msg"]
