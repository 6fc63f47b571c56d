# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains with a managed save, or under a job, before a run changes them."""

from __future__ import annotations

import subprocess
import time
import typing as t

import direct_iface
from direct_iface import A, B, Module, Result, domain, element, impacts, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def test_a_managed_save_comes_back_as_it_was_saved(started: Hypervisor, module: Module) -> None:
    started.virsh("managedsave", "web1")
    entries: list[Result] = [{"domain": "web1", "mac": A, "mode": "private"}, {"domain": "web1", "mac": B}]
    due = [{"domain": "web1", "mac": A, "fields": ["mode"]}, {"domain": "web1", "mac": B, "fields": ["state"]}]
    for changes in (True, False):
        done = ok(module(interfaces=entries, source="eth0"))
        assert done["changed"] == changes
        assert done["restart_required"] == due
        assert ("virsh managedsave-remove web1" in str(done.get("warnings"))) == changes
        assert set(impacts(done).values()) == ({"restart"} if changes else set())
    started.virsh("start", "web1")
    assert "mode='bridge'" in element(started.dump("web1", live=True), A)
    assert ok(module(interfaces=entries, source="eth0", live="none"))["restart_required"] == due


def test_a_job_that_allows_no_change_is_an_error_at_once(started: Hypervisor, module: Module) -> None:
    started.run("mkfifo", "/run/dump")
    # Nobody reads it further than its first bytes, so that the dump ends with its reader, and no sooner.
    reading = "echo $$ > /run/reader; exec sleep 600 < /run/dump"
    with (
        subprocess.Popen([*started.prefix, "sh", "-c", reading]),
        subprocess.Popen([*started.prefix, "virsh", "-q", "dump", "web1", "/run/dump"]),
    ):
        try:
            deadline = time.monotonic() + 20
            while "Dump" not in started.virsh("domjobinfo", "web1") and time.monotonic() < deadline:
                time.sleep(0.1)
            failed = module(domain="web1", mac=B, source="up1", mode="bridge")
            stored = ok(module(domain="web1", mac=B, source="up1", mode="bridge", live="none"))
            # Not the second half of a minute that libvirt waits for the job to end.
            assert "Dump" in started.virsh("domjobinfo", "web1")
        finally:
            started.run("sh", "-c", "kill $(cat /run/reader)")
    started.run("rm", "/run/dump")
    assert "domain 'web1' has a job in progress (dump)" in failed["msg"]
    assert stored["changed"]


def test_a_backup_lets_a_guest_be_changed_and_a_crash_does_not(hv: Hypervisor, module: Module) -> None:
    more = (
        "<panic model='isa'/><disk type='file'><driver name='qemu' type='raw'/><source file='/run/disk'/>"
        "<target dev='vda' bus='virtio'/></disk></devices>"
    )
    crashing = domain("web1", nic(A)).replace("<devices>", "<on_crash>preserve</on_crash><devices>")
    hv.run("truncate", "--size=1M", "/run/disk")
    hv.define(crashing.replace("</devices>", more))
    hv.virsh("start", "web1")
    backup = (
        "<domainbackup mode='pull'><server transport='unix' socket='/run/backup'/><disks>"
        "<disk name='vda' type='file'><scratch file='/run/scratch'/></disk></disks></domainbackup>"
    )
    hv.virsh("backup-begin", "web1", "/dev/stdin", stdin=backup)
    assert "live" in impacts(ok(module(domain="web1", mac=A, mode="private"))).values()
    assert "Backup" in hv.virsh("domjobinfo", "web1")
    hv.virsh("domjobabort", "web1")
    # As a kernel that panics does: by the port of pvpanic.
    hv.virsh("qemu-monitor-command", "web1", "--hmp", "o /b 0x505 1")
    deadline = time.monotonic() + 20
    while "crashed" not in hv.virsh("domstate", "web1") and time.monotonic() < deadline:
        time.sleep(0.05)
    done = ok(module(domain="web1", mac=A, mode="bridge"))
    assert "web1 52:54:00:00:00:0a: the guest has crashed, and is not touched" in str(done["warnings"])
    assert done["restart_required"] == [{"domain": "web1", "mac": A, "fields": ["mode"]}]
