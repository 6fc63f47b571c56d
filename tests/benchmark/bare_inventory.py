# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Read the inventory of so many recorded hypervisors with so many guests each, so many times, and print the costs."""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import tempfile
import time
import typing as t

from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader

_PLUGIN = "linuxvirt.macvtap.guests"
_ASKS = "ansible_collections.linuxvirt.macvtap.plugins.plugin_utils.ask_hypervisors"


def recorded(hypervisors: int, guests: int) -> dict[str, t.Any]:
    """Return what hypervisors answer: as the module returns it, for guests with an address of each family."""
    return {
        f"hv{number}": {
            "result": {"changed": False, "guests": [_guest(number, guest) for guest in range(guests)], "others": []},
            "connection": {"inventory_hostname": f"hv{number}", "ansible_host": f"hv{number}.example"},
        }
        for number in range(hypervisors)
    }


def _guest(number: int, guest: int) -> dict[str, t.Any]:
    low = f"{number >> 8:02x}:{number & 255:02x}:{guest:02x}"
    found = {"source": "learned", "sources": ["learned"], "state": "claimed", "age": 0.5, "prefix": None, "shim": None}
    addresses = [
        {"address": f"10.{number >> 8}.{number & 255}.{guest + 1}", "family": "ipv4", "scope": "global", **found},
        {"address": f"2001:db8::{number:x}:{guest + 1:x}", "family": "ipv6", "scope": "global", **found},
    ]
    nic = {
        "mac": f"52:54:00:{low}",
        "type": "direct",
        "link": f"macvtap{guest}",
        "uplink": "eth0",
        "vlan": None,
        "mode": "bridge",
        "network": None,
        "portgroup": None,
        "not_asked": None,
        "addresses": addresses,
    }
    uuid = f"00000000-0000-0000-0000-{number:06d}{guest:06d}"
    return {"name": f"web{number}-{guest}", "uuid": uuid, "state": "running", "interfaces": [nic]}


def main() -> None:
    hypervisors, guests, rounds = map(int, sys.argv[1:])
    # Before anything of the collection is imported.
    init_plugin_loader()
    ask_hypervisors = importlib.import_module(_ASKS)
    # As they are when they come in.
    answers = json.dumps(recorded(hypervisors, guests))
    ask_hypervisors.ask = lambda _question: json.loads(answers)  # type: ignore[attr-defined]
    wall, cpu, found = [], [], 0
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "hosts.yml").write_text("{}")
        file = pathlib.Path(directory, "macvtap_guests.yml")
        file.write_text(json.dumps({"plugin": _PLUGIN, "inventory": ["hosts.yml"]}))
        for _round in range(rounds):
            data, plugin = InventoryData(), inventory_loader.get(_PLUGIN)
            started, started_cpu = time.perf_counter(), time.process_time()
            plugin.parse(data, DataLoader(), str(file), cache=False)
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - started_cpu)
            found = sum("ansible_host" in host.vars for host in data.hosts.values())
    print(json.dumps({"wall": wall, "cpu": cpu, "guests": found}))


if __name__ == "__main__":
    main()
