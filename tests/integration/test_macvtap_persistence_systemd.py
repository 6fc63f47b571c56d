# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which unit systemd starts for an uplink that udev reports, whatever the uplink's name is.

udev would handle the devices of the whole machine, so its answer is written where it keeps those.
"""

from __future__ import annotations

import os
import typing as t

import libvirtd_fixture
import pytest
import systemd_fixture
from support import ROOT_ONLY, run_module, until

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import make_links

pytestmark = [
    *ROOT_ONLY,
    pytest.mark.skipif(not os.access(systemd_fixture.PROGRAM, os.X_OK), reason="needs systemd"),
]
NAMES = ["wan", "br-lan", "bond-a.b-c", "a@b", "c+d,e"]
# As udev has the device after 99-systemd.rules and ours.
_UDEV = r"""
mkdir -p /run/udev/data /run/udev/tags/systemd
touch /run/udev/control
for name in "$@"; do
    n=n$(cat "/sys/class/net/$name/ifindex")
    printf 'I:1\nE:SYSTEMD_WANTS=%s\nE:SYSTEMD_ALIAS=/sys/subsystem/net/devices/%s\nG:systemd\nQ:systemd\nV:1\n' \
        "$0" "$name" >"/run/udev/data/$n"
    touch "/run/udev/tags/systemd/$n"
done
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def machine() -> t.Iterator[systemd_fixture.Machine]:
    with libvirtd_fixture.hypervisor(f"units{os.getpid()}") as hv, systemd_fixture.machine(hv) as made:
        yield made


def appear(machine: systemd_fixture.Machine, *names: str) -> None:
    for name in names:
        machine.run("ip", "link", "add", "name", name, "up", "type", "veth", "peer", "name", f"{name[:9]}-far")
    (wants,) = [line.split('"')[1] for line in make_links.RULES.splitlines() if "SYSTEMD_WANTS" in line]
    machine.run("sh", "-ec", _UDEV, wants, *names)


def test_each_uplink_gets_its_links_when_it_appears(machine: systemd_fixture.Machine) -> None:
    links = {name: f"mt{number}" for number, name in enumerate(NAMES)}
    for name in NAMES:
        machine.run("ip", "link", "add", "name", name, "up", "type", "veth", "peer", "name", f"{name[:9]}-far")
    declared = [{"name": link, "parent": name, "mode": "bridge"} for name, link in links.items()]
    result = run_module("macvtap_persistence", {"links": declared}, prefix=machine.prefix, python=machine.python)
    assert result["rc"] == 0, result
    # Once more for an uplink that comes back.
    for _time in range(2):
        for name in NAMES:
            machine.run("ip", "link", "del", name)
        machine.run("sh", "-c", "rm -rf /run/udev; systemctl daemon-reload")
        appear(machine, *NAMES)
        shown = ""

        def all_there() -> bool:
            nonlocal shown
            shown = machine.run("ip", "-br", "link", "show")
            return all(f"{link}@{name} " in shown for name, link in links.items())

        assert until(all_there), shown
        units = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "macvtap-links@*")
        assert len(units.splitlines()) == len(NAMES), units
        assert all(" loaded active exited " in line for line in units.splitlines()), units
        # systemd waits for no device that does not come.
        assert machine.run("systemctl", "list-jobs", "--plain", "--no-legend") == ""
