# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Pauses that the host does not allow: no room, no directory, an uplink that is taken, a save that takes too long."""

from __future__ import annotations

import re
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, Module, Result, attempt, ok, run_beside
from interrupted import KILL, at, at_moment, files, is_whole, move, source_of, wait
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

SAVES = "/var/lib/libvirt/qemu/save"
FILL = f"subprocess.run('head -c {{}} /dev/zero >{SAVES}/filled', shell=True, stderr=subprocess.DEVNULL)"
TAKE = "subprocess.run('ip link add mt9 link up1 type macvtap mode passthru'.split())"


# The disk seemed fast, and stands still: libvirt's helper does not write the image until the save is aborted.
HELPER, GO = "/usr/lib/libvirt/libvirt_iohelper", "/run/linuxvirt.macvtap-test-go"
STANDING = f"""#!/bin/sh
while [ ! -e {GO} ]; do sleep 0.05; done
exec /run/iohelper "$@"
"""
SLOW = f"""
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import save_directory
save_directory.measure = lambda memory: save_directory.Measured(1 << 40, 1e9, 1e9, 1)
def abort(self, original=libvirt.virDomain.abortJob):
    original(self)
    open("{GO}", "w").close()
libvirt.virDomain.abortJob = abort
"""


@pytest.fixture
def started(hv: Hypervisor) -> Hypervisor:
    """web1 runs, and has memory in use, so that an image of it has some megabytes."""
    hv.define(direct_iface.domain("web1", direct_iface.nic(A), firmware="bios-256k.bin"))
    hv.virsh("start", "web1")
    return hv


@pytest.fixture
def standing(started: Hypervisor) -> t.Iterator[Hypervisor]:
    """web1 runs, and what would be written of it waits for the file GO."""
    # Only for this hypervisor: it has mounts of its own.
    started.run("cp", HELPER, "/run/iohelper")
    started.run("sh", "-c", "cat >/run/standing && chmod +x /run/standing", stdin=STANDING)
    started.run("mount", "--bind", "/run/standing", HELPER)
    yield started
    started.run("touch", GO)
    started.run("umount", HELPER)


@pytest.fixture
def small(started: Hypervisor) -> t.Iterator[Hypervisor]:
    """web1 runs, and there are 192 MiB for images."""
    started.run("mount", "-t", "tmpfs", "-o", "size=192M", "tmpfs", SAVES)
    yield started
    started.clear()
    started.run("umount", SAVES)


def test_a_full_disk_leaves_the_guest_as_it_is(small: Hypervisor, module: Module) -> None:
    before = small.dump("web1"), small.virsh("domid", "web1")
    # The room is used up after it was checked: but for 1 MiB, into which most of the image fits, and all of it.
    for size in ("191M", "1G"):
        small.run("rm", "-f", f"{SAVES}/filled")
        done = at(small, ("managedSave", "before"), FILL.format(size), "up1")
        assert "No space left on device. The guest runs on with the NICs that it had" in done["msg"], done
        assert done["msg"].endswith("The host is as it was before")
        assert files(small, f"{SAVES}/*") == [f"{SAVES}/filled"]
    assert (small.dump("web1"), small.virsh("domid", "web1")) == before
    assert small.virsh("domstate", "web1").strip() == "running"
    # And now it is known.
    for check in (True, False):
        refused = module(check=check, **move("up1"))
        assert "MiB are free in the file system of libvirt's managed saves" in refused["msg"], refused
    small.run("rm", f"{SAVES}/filled")
    assert ok(module(**move("up1")))["changed"]
    assert is_whole(small)


def test_a_save_that_takes_longer_than_promised_is_aborted(standing: Hypervisor) -> None:
    started = standing
    before = started.dump("web1"), started.virsh("domid", "web1")
    aborted = run_beside(started, SLOW, {**move("up1"), "pause_max": 1})
    assert re.search(
        r"its save took longer than [\d.]+ s, so that pause_max could not be kept, and was aborted\. "
        r"The guest runs on with the NICs that it had\. The host is as it was before$",
        aborted["msg"],
    )
    assert is_whole(started)
    assert source_of(started) == "eth0"
    assert (started.dump("web1"), started.virsh("domid", "web1")) == before
    assert "linuxvirt.macvtap:pause" not in started.dump("web1", live=True)


@pytest.mark.parametrize(
    ("take", "fault", "give"),
    [
        ("mv {0} {0}.away", "No such file or directory", "[ -e {0} ] && rmdir {0}; mv {0}.away {0}"),
        ("mount --bind {0} {0}; mount -o remount,bind,ro {0}", "Read-only file system", "umount {0}"),
    ],
    ids=["missing", "read-only"],
)
def test_a_guest_without_a_directory_for_its_image_runs_on(
    started: Hypervisor, module: Module, take: str, fault: str, give: str
) -> None:
    started.run("sh", "-c", take.format(SAVES))
    try:
        predicted = ok(module(check=True, **move("up1")))
        assert predicted["pauses"][0]["forecast_seconds"] is None
        promised = module(**move("up1"), pause_max=60)
        assert f"is unknown: {SAVES} cannot be measured: {fault}" in promised["msg"]
        done = module(**move("up1"))
        assert "The guest runs on with the NICs that it had" in done["msg"], done
        assert done["msg"].endswith("The host is as it was before")
        assert source_of(started) == "eth0"
    finally:
        started.run("sh", "-c", give.format(SAVES))
    assert started.virsh("domstate", "web1").strip() == "running"


def test_an_uplink_that_others_pass_through_meanwhile(started: Hypervisor, module: Module) -> None:
    address = started.run("cat", "/sys/class/net/up1/address")
    beside = at_moment(("managedSave", "after"), TAKE)
    passed: Result = {**move("up1"), "mode": "passthrough"}
    # The new one is taken: the guest has its old one.
    done = run_beside(started, beside, passed)
    assert "The guest runs on with the NICs that it had" in done["msg"], done
    assert done["msg"].endswith("The host is as it was before")
    assert is_whole(started)
    assert source_of(started) == "eth0"
    started.run("ip", "link", "del", "mt9")
    assert started.run("cat", "/sys/class/net/up1/address") == address
    # The old one is taken, which the guest no longer needs.
    ok(module(**passed))
    assert started.run("cat", "/sys/class/net/up1/address").strip() == A
    ok(run_beside(started, beside, {**move("eth0"), "mode": "bridge"}))
    started.run("ip", "link", "del", "mt9")
    assert started.run("cat", "/sys/class/net/up1/address") == address
    assert is_whole(started)


# QEMU answers nobody, and so the monitor's command is a job that lasts. The run is killed while its own request waits.
HANG = """
        subprocess.run("kill -STOP $(cat /run/libvirt/qemu/web1.pid)", shell=True)
        command = ["setsid", "virsh", "qemu-monitor-command", "web1", '{{"execute":"query-status"}}']
        subprocess.Popen(command, stdout=-3, stderr=-3)
        __import__("time").sleep(1)
        threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
"""


def test_a_request_that_waits_for_another_job_when_the_run_is_killed(started: Hypervisor, module: Module) -> None:
    ok(module(**move("up1")))
    before = started.virsh("domid", "web1")
    try:
        killed = at(started, ("managedSave", "before"), HANG.strip().format() + "  # " + KILL, "eth0")
        # Longer than a save takes that begins at once.
        time.sleep(7)
    finally:
        started.run("sh", "-c", "kill -CONT $(cat /run/libvirt/qemu/web1.pid)")
    assert killed["rc"]
    # It is saved now, and restored by the keeper.
    wait(lambda: attempt(started, "domid", "web1") != "" or started.virsh("domid", "web1") != before)
    wait(lambda: is_whole(started))
    assert source_of(started) == "up1"


def test_pauses_are_listed(started: Hypervisor, module: Module) -> None:
    ok(module(**move("up1")))

    def listed(hv: Hypervisor) -> list[tuple[str, bool, bool]]:
        found = ok(run_module("libvirt_direct_iface_info", {}, prefix=hv.prefix))["pauses"]
        return [(one["state"], one["saved"], one["pid"] is not None) for one in found]

    assert listed(started) == []
    assert at(started, ("setMetadata", "before"), KILL, "eth0")["rc"]
    # libvirt might still save the guest.
    assert listed(started) == [("interrupted", False, True)]
    # The next run takes it over.
    ok(module(**move("eth0")))
    assert listed(started) == []
