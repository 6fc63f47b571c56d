# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of the controller alone: site on hosts that answer what was recorded, beside Ansible's ping.

Nothing else runs on its processors: no module, no SSH. So it can have more hosts than a machine could run.
"""

from __future__ import annotations

import json
import pathlib
import sys

import harness
from figures import Figure, Size
from harness import ROOT, Cost, Session, median

sys.path += [str(ROOT / "tests"), str(ROOT / ".collections")]

import fleet

_NICS = 20
_FORKS = 10
_CONNECTIONS = pathlib.Path(__file__).parent / "connection"


def again(made: Session, size: Size) -> list[Figure]:
    """The playbook for each number of hosts, as multiples of ping, and how the cost of a host grows."""
    found, of_host = [], {}
    for hosts in size.fleets:
        inventory = _inventory(made, hosts)
        played = {name: [_play(made, name, inventory) for _round in range(size.rounds)] for name in ("ping", "site")}
        parts = {f"{name}, wall": median(one.wall for one in runs) for name, runs in played.items()}
        parts.update({f"{name}, CPU": median(one.cpu for one in runs) for name, runs in played.items()})
        parts.update({f"{name}, memory in MiB": max(one.peak for one in runs) / 2**20 for name, runs in played.items()})
        of_host[hosts] = parts["site, CPU"] / hosts
        what = f"site again on {hosts} recorded hosts × {_NICS} NICs, {_FORKS} at once; ansible -m ping = 1"
        note = f"{1000 * of_host[hosts]:.0f} ms of the controller's CPU for a host"
        ratio = parts["site, wall"] / parts["ping, wall"]
        found.append(Figure(f"recorded {hosts}", what, ratio, "×", size.rounds, 2.5, parts=parts, note=note))
    few, many = min(of_host), max(of_host)
    what = f"CPU of the controller for a host of {many} recorded ones; for one of {few} = 1"
    parts = {f"{hosts} hosts": cost for hosts, cost in of_host.items()}
    return [*found, Figure("recorded growth", what, of_host[many] / of_host[few], "×", size.rounds, 1, parts=parts)]


def _inventory(made: Session, hosts: int) -> pathlib.Path:
    directory = made.scratch / f"recorded-{hosts}"
    directory.mkdir()
    declared = {}
    for name, one in fleet.many(hosts, _NICS).items():
        (directory / f"{name}.json").write_text(json.dumps(one["found"]))
        declared[name] = {"macvtap_domains_interfaces": one["declared"]["macvtap_domains_interfaces"]}
    common = {
        "ansible_connection": "recorded",
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "macvtap_uplink": "eth0",
        "recorded_directory": str(directory),
    }
    path = directory / "inventory.json"
    path.write_text(json.dumps({"hypervisors": {"hosts": declared, "vars": common}}))
    return path


def _play(made: Session, name: str, inventory: pathlib.Path) -> Cost:
    """Run site or ping.

    :raises BenchmarkError: it failed.
    """
    words = ["adhoc", "hypervisors", "-m", "ping"] if name == "ping" else ["playbook", f"linuxvirt.macvtap.{name}"]
    environment = {
        **made.environment(),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_CONNECTION_PLUGINS": str(_CONNECTIONS),
        "ANSIBLE_HOME": str(made.scratch / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    argv = [made.python, "-m", "ansible", *words, "-i", str(inventory), "--forks", str(_FORKS)]
    return harness.run(argv, environment, cwd=made.scratch)
