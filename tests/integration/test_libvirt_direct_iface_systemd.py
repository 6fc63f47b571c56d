# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What guests were asked to release is watched where systemd runs: over a reboot of the host, and whoever is killed."""

from __future__ import annotations

import os
import typing as t

import direct_iface
import libvirtd_fixture
import pytest
import systemd_fixture
from direct_iface import A, Result, domain, nic, ok
from support import run_module, until

pytestmark = [
    *direct_iface.MARKS,
    pytest.mark.skipif(not os.access(systemd_fixture.PROGRAM, os.X_OK), reason="needs systemd"),
]

STATE = "/var/lib/linuxvirt.macvtap"
UNIT = "linuxvirt-macvtap-keeper.service"


@pytest.fixture(scope="module")
def machine() -> t.Iterator[systemd_fixture.Machine]:
    """web1 runs there, with no operating system and the interface A."""
    with libvirtd_fixture.hypervisor(f"boots{os.getpid()}") as hv, systemd_fixture.machine(hv) as made:
        made.run("virsh", "define", "/dev/stdin", stdin=domain("web1", nic(A)))
        made.run("virsh", "start", "web1")
        yield made


def ask(machine: systemd_fixture.Machine, model: str) -> Result:
    declared: Result = {"domain": "web1", "mac": A, "model": model, "live": "replug", "timeout": 0}
    return ok(run_module("libvirt_direct_iface", declared, prefix=machine.prefix))


def pid(machine: systemd_fixture.Machine) -> int:
    """Return the process of the unit, 0 if there is none at the moment."""
    return int(machine.run("systemctl", "show", "--value", "--property=MainPID", UNIT))


def pending(machine: systemd_fixture.Machine) -> list[tuple[str, int]]:
    requests = ok(run_module("libvirt_direct_iface_info", {}, prefix=machine.prefix))["pending"]
    return [(one["state"], one["pid"]) for one in requests]


def has(machine: systemd_fixture.Machine, model: str) -> bool:
    return f"<model type='{model}'/>" in machine.run("virsh", "dumpxml", "web1")


def other_model(machine: systemd_fixture.Machine) -> str:
    """Return a model that the guest's NIC does not have, whatever the tests before this one have left."""
    return "e1000e" if has(machine, "virtio") else "virtio"


def files(machine: systemd_fixture.Machine) -> str:
    places = f"{STATE}/*.json /etc/systemd/system/{UNIT} /etc/systemd/system/multi-user.target.wants/{UNIT}"
    return machine.run("sh", "-c", f"ls -d {places} 2>/dev/null || true")


@pytest.mark.parametrize("number", ["KILL", "TERM"])
def test_systemd_starts_the_keeper_again(machine: systemd_fixture.Machine, number: str) -> None:
    model = other_model(machine)
    asked = ask(machine, model)
    assert asked["pending"][0]["pid"] == pid(machine)
    assert len(files(machine).split()) == 3
    # Also while it starts.
    for _time in range(5):
        machine.run("systemctl", "kill", "--kill-who=all", f"--signal={number}", UNIT)
    machine.run("virsh", "reset", "web1")
    assert until(lambda: has(machine, model))
    assert until(lambda: not files(machine))
    assert until(lambda: machine.run("systemctl", "show", "--value", "--property=ActiveState", UNIT) == "inactive\n")


def test_a_guest_that_was_saved_over_a_reboot_gets_back_what_it_releases(machine: systemd_fixture.Machine) -> None:
    model = other_model(machine)
    assert "after a reboot" not in str(ask(machine, model)["warnings"])
    machine.power_off()
    machine.boot()
    assert until(lambda: "running" in machine.run("virsh", "domstate", "web1"))
    assert not has(machine, model)
    # The request is of the saved instance until the keeper has found it in the restored one.
    assert until(lambda: bool(pending(machine)))
    assert pending(machine) == [("held", pid(machine))]
    machine.run("virsh", "reset", "web1")
    assert until(lambda: has(machine, model))
    assert until(lambda: not files(machine))
