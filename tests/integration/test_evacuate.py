# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The playbooks evacuate and return over three hypervisors, whose uplinks have unlike names."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import direct_iface
import installed
import moved_guests
import pytest
import yaml
from direct_iface import domain, nic
from installed import Fleet, changed
from moved_guests import Hosts
from support import run_module

pytestmark = direct_iface.MARKS

NAMES = tuple(f"web{n}" for n in range(1, 5))
MACS = {name: f"52:54:00:00:07:{n:02x}" for n, name in enumerate(NAMES)}


class Lab(t.NamedTuple):
    hosts: Hosts
    fleet: Fleet
    file: pathlib.Path

    def play(self, playbook: str, *more: str, check: bool = True) -> t.Any:
        kept = f"macvtap_migration_file={self.file.parent / 'evacuated.json'}"
        return self.fleet.play(playbook, "-e", kept, *more, inventory=self.file, check=check)

    def running(self) -> dict[str, list[str]]:
        return {hv.cell.name: sorted(hv.virsh("list", "--name").split()) for hv in self.hosts.all}

    def stored(self) -> dict[str, list[str]]:
        return {hv.cell.name: sorted(hv.virsh("list", "--all", "--name").split()) for hv in self.hosts.all}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """Four small guests on hv1, of which web1 is declared on hv3, and hv2 and hv3 with nothing."""
    with moved_guests.made(f"evacuate{os.getpid()}", ("hv1", "hv2", "hv3")) as hosts:
        home = tmp_path_factory.mktemp("evacuate")
        fleet = Fleet(hosts.source.lab, home, installed.collections(tmp_path_factory.getbasetemp() / "installed"))
        for name in NAMES:
            hosts.source.define(domain(name, nic(MACS[name], hosts.source.uplink)))
            hosts.source.virsh("start", name)
        declared: dict[str, dict[str, t.Any]] = {
            hv.cell.name: {
                "ansible_host": f"{hv.cell.name}.{hv.cell.lab}",
                "macvtap_uplink": hv.uplink,
                "macvtap_migration_uri": moved_guests.uri(hv),
            }
            for hv in hosts.all
        }
        declared["hv3"]["macvtap_domains_interfaces"] = [{"domain": "web1", "mac": MACS["web1"], "mode": "private"}]
        file = home / "inventory.yml"
        file.write_text(yaml.safe_dump({"hypervisors": {"hosts": declared}}))
        yield Lab(hosts, fleet, file)


def leave_behind(lab: Lab, stored: str, guarded: str) -> None:
    """Have hv1 store a guest that runs elsewhere, and keep a guard for another one."""
    (there,) = [hv for hv in lab.hosts.all[1:] if stored in hv.virsh("list", "--name").split()]
    lab.hosts.source.define(there.dump(stored))
    guard = {"guards": [{"mac": MACS[guarded]}]}
    direct_iface.ok(run_module("macvtap_guard", guard, prefix=lab.hosts.source.prefix))
    assert guards(lab) == [MACS[guarded]]


def guards(lab: Lab) -> list[str]:
    """Return the MAC addresses that hv1 has guards for."""
    found = run_module("macvtap_guard_info", {}, prefix=lab.hosts.source.prefix)
    return [one["mac"] for one in found["guards"]]


def test_guests_leave_a_host_for_two_others_and_come_home(lab: Lab) -> None:
    source = lab.hosts.source
    where = ["-e", "macvtap_migration_from=hv1", "-e", json.dumps({"macvtap_migration_apart": [["web2", "web3"]]})]
    before = lab.running()
    checked = lab.play("evacuate", *where, "--check")
    assert "web1  hv1  →  hv3" in checked.stdout
    assert lab.running() == before

    lab.play("evacuate", *where)
    running = lab.running()
    assert running["hv1"] == []
    assert sorted(running["hv2"] + running["hv3"]) == sorted(NAMES)
    # The inventory declares it there.
    assert "web1" in running["hv3"]
    assert "mode='private'" in lab.hosts.on("hv3").dump("web1", live=True)
    assert len({host for host, names in running.items() for name in ("web2", "web3") if name in names}) == 2
    assert running["hv2"]
    assert lab.stored() == running
    for hv in lab.hosts.all[1:]:
        for name in running[hv.cell.name]:
            assert f"<source dev='{hv.uplink}'" in hv.dump(name)
        assert len(hv.macvtaps()) == len(running[hv.cell.name])
    assert source.macvtaps() == []

    # As if it had been killed right after two of the moves: one guest is still stored, of the other a guard is left.
    leave_behind(lab, "web2", "web3")
    again = lab.play("evacuate", *where)
    assert lab.running() == lab.stored() == running
    assert guards(lab) == []
    # It is not shown as if it were still to go.
    assert "web3  hv1" not in again.stdout

    lab.play("return")
    assert lab.running() == {"hv1": sorted(NAMES), "hv2": [], "hv3": []}
    assert lab.stored() == lab.running()
    assert set(changed(lab.play("return"))) == {0}


def test_no_guest_moves_if_one_cannot(lab: Lab) -> None:
    # Its address is taken on both of the others.
    for hv in lab.hosts.all[1:]:
        hv.define(domain("clash1", nic(MACS["web4"], hv.uplink)))
    try:
        before = lab.running()
        done = lab.play("evacuate", "-e", "macvtap_migration_from=hv1", check=False)
        assert done.returncode != 0
        assert "No guest was moved, because these cannot move:" in done.stdout
        assert f"has the address {MACS['web4']} already, in clash1" in done.stdout
        assert lab.running() == before
    finally:
        for hv in lab.hosts.all[1:]:
            hv.virsh("undefine", "clash1")
