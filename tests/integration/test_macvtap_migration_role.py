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


def play(hosts: Hosts, directory: pathlib.Path, collections: pathlib.Path, source: Hypervisor, to: Hypervisor) -> None:
    """Move web1 by the role."""
    declared = {
        hv.cell.name: {
            "ansible_host": f"{hv.cell.name}.{hv.cell.lab}",
            "macvtap_uplink": hv.uplink,
            "macvtap_migration_uri": moved_guests.uri(hv),
            # See moved_guests.migrate().
            "macvtap_migration_live": False,
        }
        for hv in hosts.all
    }
    inventory, playbook = directory / "inventory.yml", directory / "play.yml"
    inventory.write_text(yaml.safe_dump({"hypervisors": {"hosts": declared}}))
    guests = [{"domain": "web1", "destination": to.cell.name}]
    role = {"role": "linuxvirt.macvtap.macvtap_migration", "vars": {"macvtap_migration_guests": guests}}
    playbook.write_text(yaml.safe_dump([{"hosts": source.cell.name, "gather_facts": False, "roles": [role]}]))
    installed.Fleet(source.lab, directory, collections).play(str(playbook), inventory=inventory)


def test_a_guest_that_receives_all_multicast_does_so_on_the_other_host(
    hosts: Hosts, tmp_path: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, there = hosts.all
    moved = moved_guests.start(hosts)
    guest = multicast_guest.Guest(here)
    assert not guest.hears()
    ok(run_module("libvirt_direct_iface", {"domain": "web1", "mac": A, "allmulticast": True}, prefix=here.prefix))
    assert guest.hears()
    play(hosts, tmp_path, installed.collections(tmp_path_factory.getbasetemp() / "installed"), here, there)
    moved_guests.assert_whole(hosts, moved, there)
    guest.hv = there
    assert (guest.answers(), guest.hears()) == (True, True)
