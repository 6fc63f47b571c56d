# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of playbooks on a fleet that is as declared: site, verify and preflight, beside Ansible's ping.

The lab has two hypervisors, which a larger inventory has under many names: for the controller they are different hosts.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import typing as t
from dataclasses import dataclass, field

import harness
import peers
from figures import Figure, Size
from harness import ROOT, Cost, Session, median

sys.path += [str(ROOT / "tests"), str(ROOT / "extensions" / "molecule" / "lab")]

from labkit import cells, guest, image, indexes, lifecycle, model, shell, ssh

_MACS = ("52:54:00:00:01:{:02x}", "52:54:00:00:02:{:02x}")
_GUESTS = ("web1", "web2")
_FORKS = 10
# What others have for the same NIC and the same link.
_PEER = "community.libvirt.virt and ip link"


@dataclass
class FleetSession(Session):
    """A session with two hypervisors that are as declared. ``xml`` are their domains."""

    lab: model.Lab
    xml: list[str] = field(default_factory=list)


@contextlib.contextmanager
def session(_python: str) -> t.Iterator[FleetSession]:
    """Give a session with a lab of two hypervisors."""
    lab = lifecycle.create(model.declare(f"bench-{os.getpid()}", ("hv1", "hv2")), index_count=indexes.COUNT)
    try:
        with tempfile.TemporaryDirectory(prefix="macvtap-bench-") as scratch:
            for name, hypervisor in zip(_GUESTS, lab.hypervisors):
                guest.define(lab.hypervisor(hypervisor), name, image.cache_dir(None), memory=192)
            made = FleetSession(sys.executable, pathlib.Path(scratch), lab)
            _play(made, "site", 2)
            made.xml = [_xml(lab.hypervisor(hypervisor), name) for hypervisor, name in zip(lab.hypervisors, _GUESTS)]
            yield made
    finally:
        lifecycle.destroy(lab.name)


def again(made: FleetSession, size: Size) -> list[Figure]:
    """The playbooks for each number of hosts, as multiples of ping."""
    found = []
    peers_there = () if peers.missing("community.libvirt") else (_PEER,)
    for hosts in size.fleets:
        played: dict[str, list[Cost]] = {}
        for _round in range(size.rounds):
            for name in ("ping", "site", "verify", "preflight", "show", *peers_there):
                played.setdefault(name, []).append(_play(made, name, hosts))
        parts = {f"{name}, wall": median(one.wall for one in runs) for name, runs in played.items()}
        parts.update(
            {f"{name}, CPU of the controller": median(one.cpu for one in runs) for name, runs in played.items()}
        )
        parts["site, memory in MiB"] = max(one.peak for one in played["site"]) / 2**20
        ratio = median(site.wall / ping.wall for site, ping in zip(played["site"], played["ping"]))
        each = (parts["site, CPU of the controller"] - parts["ping, CPU of the controller"]) / hosts
        what = f"site again on {hosts} hosts, {_FORKS} at once; ansible -m ping = 1"
        note = f"{1000 * each:.0f} ms of the controller's CPU for a host, more than ping"
        found.append(Figure(f"site {hosts}", what, ratio, "×", size.rounds, 2.5, parts=parts, note=note))
    return found


def _xml(hypervisor: model.Cell, domain: str) -> str:
    return shell.run([*cells.enter(hypervisor), "virsh", "--quiet", "dumpxml", "--inactive", domain])


def run_once(made: FleetSession, _size: Size, _case: str, _around: str) -> Cost:
    return _play(made, "site", 2)


def _inventory(made: FleetSession, hosts: int) -> pathlib.Path:
    path = made.scratch / f"{hosts}.json"
    own = {
        f"host{number}": {
            "ansible_host": ssh.host(made.lab.hypervisor(made.lab.hypervisors[number % 2])),
            # Each its own LAN: many names are the same host, with the same addresses.
            "macvtap_segment": f"lan{number}",
            "macvtap_domains_interfaces": [{"domain": _GUESTS[number % 2], "mac": _MACS[number % 2].format(1)}],
            "macvtap_links_links": [{"name": "spare0", "mac": _MACS[number % 2].format(2), "state": "down"}],
            "peers_xml": made.xml[number % 2] if made.xml else "",
        }
        for number in range(hosts)
    }
    common = {
        "ansible_connection": "ssh",
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {made.lab.ssh_config}",
        "ansible_python_interpreter": ssh.PYTHON,
        "ansible_pipelining": True,
        "macvtap_uplink": "eth0",
        "macvtap_links_persistence": "none",
        # Each LAN has guests of the same names.
        "macvtap_preflight_allow": ["migration"],
    }
    path.write_text(json.dumps({"hypervisors": {"hosts": own, "vars": common}}))
    return path


def _peers_play(made: FleetSession) -> pathlib.Path:
    """Write a play that has each domain defined as it is, and the link there."""
    link = "ip link add {{ link.name }} link {{ macvtap_uplink }} address {{ link.mac }} type macvtap mode bridge"
    tasks = [
        {"community.libvirt.virt": {"command": "define", "xml": "{{ peers_xml }}"}},
        {"ansible.builtin.command": {"cmd": link, "creates": "/sys/class/net/{{ link.name }}"}},
    ]
    variables = {"link": "{{ macvtap_links_links[0] }}"}
    play = {"hosts": "hypervisors", "gather_facts": False, "vars": variables, "tasks": tasks}
    path = made.scratch / "peers.json"
    path.write_text(json.dumps([play]))
    return path


def _play(made: FleetSession, name: str, hosts: int) -> Cost:
    """Run a playbook, ping, or the peers' play.

    :raises BenchmarkError: it failed.
    """
    words = {"ping": ["adhoc", "hypervisors", "-m", "ping"], _PEER: ["playbook", str(_peers_play(made))]}.get(
        name, ["playbook", f"linuxvirt.macvtap.{name}"]
    )
    argv = [made.python, "-m", "ansible", *words, "-i", str(_inventory(made, hosts)), "--forks", str(_FORKS)]
    environment = {
        **made.environment(),
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.collections'}:{peers.COLLECTIONS}",
        "ANSIBLE_HOME": str(made.scratch / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    return harness.run(argv, environment, cwd=made.scratch)
