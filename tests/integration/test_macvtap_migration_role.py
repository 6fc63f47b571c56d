# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest that the role macvtap_migration moves goes on receiving its multicast groups."""

from __future__ import annotations

import typing as t

import direct_iface
import installed
import moved_guests
import multicast_guest
import yaml
from direct_iface import A, ok
from moved_guests import Hosts
from support import run_module

if t.TYPE_CHECKING:
    import pathlib

    import pytest
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
Values = t.Dict[str, t.Any]
# Its firmware halts at once.
ON_BRIDGE = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>old1</name><memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
  <devices>
    <interface type='bridge'><mac address='52:54:00:00:01:09'/><source bridge='br9'/><model type='virtio'/></interface>
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
  <qemu:commandline><qemu:arg value='-bios'/><qemu:arg value='qboot.rom'/></qemu:commandline>
</domain>"""


def play(
    hosts: Hosts, directory: pathlib.Path, collections: pathlib.Path, source: Hypervisor, role: Values, **more: t.Any
) -> str:
    """Run a role on one of the hosts, all of which declare ``more``."""
    declared = {
        hv.cell.name: {
            "ansible_host": f"{hv.cell.name}.{hv.cell.lab}",
            "macvtap_uplink": hv.uplink,
            "macvtap_migration_uri": moved_guests.uri(hv),
            # See moved_guests.migrate().
            "macvtap_migration_live": False,
            **more,
        }
        for hv in hosts.all
    }
    inventory, playbook = directory / "inventory.yml", directory / "play.yml"
    inventory.write_text(yaml.safe_dump({"hypervisors": {"hosts": declared}}))
    playbook.write_text(yaml.safe_dump([{"hosts": source.cell.name, "gather_facts": False, "roles": [role]}]))
    return installed.Fleet(source.lab, directory, collections).play(str(playbook), inventory=inventory).stdout


def guarded(hv: Hypervisor) -> dict[str, int]:
    """Return the addresses with a guard, and on how many links it is."""
    found = ok(run_module("macvtap_guard_info", {}, prefix=hv.prefix))["guards"]
    return {one["mac"]: len(one["links"]) for one in found}


def test_a_guest_that_receives_all_multicast_does_so_on_the_other_host(
    hosts: Hosts, tmp_path: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, there = hosts.all
    moved = moved_guests.start(hosts)
    guest = multicast_guest.Guest(here)
    assert not guest.hears()
    ok(run_module("libvirt_direct_iface", {"domain": "web1", "mac": A, "allmulticast": True}, prefix=here.prefix))
    assert guest.hears()
    guests = [{"domain": "web1", "destination": there.cell.name}]
    role = {"role": "linuxvirt.macvtap.macvtap_migration", "vars": {"macvtap_migration_guests": guests}}
    collections = installed.collections(tmp_path_factory.getbasetemp() / "installed")
    play(hosts, tmp_path, collections, here, role)
    moved_guests.assert_whole(hosts, moved, there)
    guest.hv = there
    assert (guest.answers(), guest.hears()) == (True, True)
    # As a run leaves it that was killed right after the move: this host still keeps it, and the destination not yet.
    ok(run_module("libvirt_guest_rules", {"nics": [{"mac": A, "guard": {}}]}, prefix=here.prefix))
    play(hosts, tmp_path, collections, here, role)
    assert [guarded(hv) for hv in hosts.all] == [{}, {A: 1}]
    # What is complete is announced once more, and changes nothing.
    again = play(hosts, tmp_path, collections, here, role)
    assert "Check that it is heard on the LAN from there" in again
    assert "changed=0" in again


def assert_declared_on_both(hosts: Hosts, directory: pathlib.Path, collections: pathlib.Path) -> None:
    """See that both hosts can declare old1 with a guard, and that what they declare stays when it moves back."""
    here, there = hosts.all
    mac = "52:54:00:00:01:09"
    declares = {
        "macvtap_domains_interfaces": [{"domain": "old1", "mac": mac, "guard": {}}],
        "macvtap_domains_on_missing": "skip",
    }
    declared: Values = {"role": "linuxvirt.macvtap.macvtap_domains"}
    for hv in hosts.all:
        assert "changed=1" in play(hosts, directory, collections, hv, declared, **declares)
    home = {"macvtap_migration_guests": [{"domain": "old1", "destination": here.cell.name}]}
    back = {"role": "linuxvirt.macvtap.macvtap_migration", "vars": home}
    play(hosts, directory, collections, there, back, **declares)
    assert [guarded(hv).get(mac) for hv in hosts.all] == [1, 0]
    # And with a guest that no host has.
    declares["macvtap_domains_interfaces"] = [
        {"domain": name, "mac": one} for name, one in (("old1", mac), ("old9", A))
    ]
    for hv in hosts.all:
        assert "changed=0" in play(hosts, directory, collections, hv, declared, **declares)
    fleet = installed.Fleet(here.lab, directory, collections)
    verified = fleet.play("verify", inventory=directory / "inventory.yml").stdout
    assert "no host that was looked at has a domain 'old9'" in verified
    assert "'old1'" not in verified
    limited = fleet.play("verify", "--limit", there.cell.name, inventory=directory / "inventory.yml").stdout
    assert "no host that was looked at has 2 of its domains, such as 'old1'" in limited


def test_a_guest_gets_off_its_bridge_by_a_move(
    hosts: Hosts, tmp_path: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, there = hosts.all
    here.run("ip", "link", "add", "br9", "type", "bridge")
    here.run("ip", "link", "set", "br9", "up")
    try:
        for number in (1, 2):
            here.define(ON_BRIDGE.replace("old1", f"old{number}").replace("01:09", f"0{number}:09"))
            here.virsh("start", f"old{number}")
        # It would wait too, and cannot be moved.
        here.virsh("managedsave", "old2")
        nics = [{"domain": f"old{n}", "mac": f"52:54:00:00:0{n}:09", "convert": True} for n in (1, 2)]
        variables = {"macvtap_domains_interfaces": nics, "macvtap_domains_migrate_to": there.cell.name}
        role = {"role": "linuxvirt.macvtap.macvtap_domains", "vars": variables}
        collections = installed.collections(tmp_path_factory.getbasetemp() / "installed")
        play(hosts, tmp_path, collections, here, role)
        assert [hv.virsh("list", "--all", "--name").split() for hv in hosts.all] == [["old2"], ["old1"]]
        for options in ((), ("--inactive",)):
            shown = there.virsh("dumpxml", "old1", *options)
            assert "<interface type='direct'>" in shown
            assert f"<source dev='{there.uplink}' mode='bridge'/>" in shown
        assert len(there.macvtaps()) == 1
        assert_declared_on_both(hosts, tmp_path, collections)
    finally:
        for hv in hosts.all:
            for name in hv.virsh("list", "--name").split():
                hv.virsh("destroy", name)
            for name in hv.virsh("list", "--all", "--name").split():
                hv.virsh("undefine", "--managed-save", name)
            absent = {"mac": "52:54:00:00:01:09", "state": "absent"}
            ok(run_module("macvtap_guard", absent, prefix=hv.prefix))
        here.run("ip", "link", "del", "br9")
