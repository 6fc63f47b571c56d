# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files of links on a hypervisor of the lab, and the program run on them. Managers exist only as state in /run."""

from __future__ import annotations

import json
import re
import signal
import typing as t

import pytest
from managed import ETC, LINK, LINKS, PROGRAM, Host
from support import PYTHONS, ROOT_ONLY, running_module

pytestmark = ROOT_ONLY
HEADER = "# Managed by Ansible (linuxvirt.macvtap): what is changed here is lost."
UNITS = "/etc/systemd/system"
RULES = "/etc/udev/rules.d/90-macvtap-uplinks.rules"


@pytest.mark.parametrize("python", PYTHONS)
def test_files_and_results_and_a_second_run_changes_nothing(host: Host, python: str) -> None:
    host.systemd()
    before = host.files()
    predicted = host.done(check=True, diff=True, python=python, **LINK)
    assert host.files() == before
    done = host.done(diff=True, python=python, **LINK)
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
    again = host.done(python=python, **LINK)
    assert (again["changed"], again["changes"]) == (False, [])


def test_only_the_files_of_an_absent_link_are_removed(host: Host) -> None:
    host.systemd()
    host.sh(f"echo '# mine' > {ETC}/50-macvtap-mine.netdev")
    before = host.files()
    host.done(parent="eth0", mode="bridge", links=[LINK, {"name": "mt1"}])
    host.done(name="mt1", state="absent")
    assert host.done(**LINK)["changed"] is False
    host.done(name="mt-0", state="absent")
    assert host.files() == before
    assert "network.d" not in host.sh(f"ls {ETC}")
    host.done(links=[LINK, {**LINK, "name": "mt1", "altnames": [], "mac": None}])
    host.done(purge=True)
    assert host.files() == before


def test_a_link_keeps_its_address(host: Host) -> None:
    host.systemd()
    made = host.done("macvtap_link", name="mt1", parent="eth0", mode="private")
    (mac,) = (link["mac"] for link in made["links"])
    host.done(name="mt1")
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
    host.done(**{**LINK, "tap": None, "alias": None, "group": None, "altnames": None, "txqueuelen": None})
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
        host.done(**side)
        for path in host.files():
            sides.setdefault(path, set()).add(host.sh(f"cat {path}"))
    killed = 0
    for number, side in ((number, side) for number in range(1, 8) for side in both):
        # Just before it puts the file in place that it has written.
        patch = (
            "import os, signal; replace = os.replace; done = []\n"
            "def kill(*paths, **more):\n"
            f"    done.append(paths); len(done) == {number} and os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return replace(*paths, **more)\n"
            "os.replace = kill\n"
        )
        with running_module("macvtap_persistence", side, prefix=host.hv.prefix, patch=patch) as process:
            killed += process.wait(120) in (-signal.SIGKILL, 128 + signal.SIGKILL)
        for path in host.files():
            # What it had not put in place yet, no manager reads.
            if "/.macvtap-" not in path:
                assert host.sh(f"cat {path}") in sides[path]
    assert killed > 1
    for side in reversed(both):
        host.done(**side)
    assert host.done(**both[0])["changed"] is False
    assert "/.macvtap-" not in host.sh("find /etc -name '.macvtap-*'")


def test_without_systemd_a_warning_shows_the_choices(host: Host) -> None:
    before = host.files()
    done = host.done(parent="eth0", mode="bridge", links=[{"name": "mt-0"}, {"name": "mt1"}])
    (warning,) = (one if isinstance(one, str) else json.dumps(one) for one in done["warnings"])
    assert (
        "no configuration is written for mt-0, mt1, and what earlier runs wrote stays: systemd does not run" in warning
    )
    assert done["links"] == [{"name": "mt-0", "persistence": None}, {"name": "mt1", "persistence": None}]
    assert host.done(parent="eth0", name="mt1", persistence="none").get("warnings", []) == []
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


OLD_IP = """\
#!/bin/sh
[ "$*" != "link help macvtap" ] || exec echo "Usage: ... macvtap mode MODE [flag MODE_FLAG] MODE_OPTS"
exec /run/ip.real "$@"
"""


def test_ip_is_asked_for_the_keywords_that_it_may_not_know(host: Host) -> None:
    host.systemd()
    host.sh("cp --dereference $(command -v ip) /run/ip.real")
    host.hv.run("install", "-m", "755", "/dev/stdin", "/run/ip.old", stdin=OLD_IP)
    before = host.files()
    host.sh("mount --bind /run/ip.old $(realpath $(command -v ip))")
    try:
        failed = host.run(**{**LINK, "bcqueuelen": 500})
        host.done(**{option: value for option, value in LINK.items() if option != "bcqueuelen"}, state="absent")
    finally:
        host.sh("umount $(realpath $(command -v ip))")
    assert re.match(
        "bcqueuelen: the iproute2 of this host does not know bcqueuelen, .* Install iproute2 5.11 or newer",
        failed["msg"],
    )
    assert host.files() == before
    host.done(**LINK)
