# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guards over a reload of the host's own nftables, and over a reboot, where systemd runs."""

from __future__ import annotations

import os
import typing as t

import direct_iface
import libvirtd_fixture
import pytest
import systemd_fixture
from direct_iface import A, domain, nic, ok
from support import PYTHON, run_module, until

pytestmark = [
    *direct_iface.MARKS,
    pytest.mark.skipif(not os.access(systemd_fixture.PROGRAM, os.X_OK), reason="needs systemd"),
]
_FLUSH = f"{PYTHON} -c \"import nftables; nftables.Nftables().cmd('flush ruleset')\""
# What Debian's unit does with a configuration that has only its first line.
_NFTABLES = f"""
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={_FLUSH}
ExecReload={_FLUSH}
ExecStop={_FLUSH}
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def machine() -> t.Iterator[systemd_fixture.Machine]:
    """web1 runs there, and its NIC has a guard."""
    with libvirtd_fixture.hypervisor(f"guard{os.getpid()}") as hv, systemd_fixture.machine(hv) as made:
        made.run("sh", "-c", "cat >/etc/systemd/system/nftables.service", stdin=_NFTABLES)
        made.run("systemctl", "enable", "--now", "nftables.service")
        made.run("virsh", "define", "/dev/stdin", stdin=domain("web1", nic(A)))
        made.run("virsh", "start", "web1")
        ok(run_module("macvtap_guard", {"domain": "web1", "mac": A}, prefix=made.prefix))
        yield made


def guard(machine: systemd_fixture.Machine) -> dict[str, t.Any]:
    (found,) = ok(run_module("macvtap_guard_info", {"macs": [A]}, prefix=machine.prefix))["guards"]
    return t.cast("dict[str, t.Any]", found)


def test_guards_are_back_when_nftables_has_removed_all(machine: systemd_fixture.Machine) -> None:
    assert until(lambda: guard(machine)["links"] != [])
    # firewalld stops that service, and takes its place. Whoever starts it again loses nothing either.
    for verb in ("reload", "restart", "stop", "start"):
        machine.run("systemctl", verb, "nftables.service")
        assert guard(machine)["links"] != [], verb
    assert guard(machine)["rules"] == "loaded"


def test_guards_are_there_after_a_boot(machine: systemd_fixture.Machine) -> None:
    machine.power_off()
    # nftables.service, which is enabled, removes them at boot, as if the kernel were a new one.
    machine.boot()
    assert guard(machine)["rules"] == "loaded"
