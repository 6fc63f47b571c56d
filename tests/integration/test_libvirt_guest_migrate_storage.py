# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests with disks that libvirt_guest_migrate moves: disks that both hosts see, and disks that are copied."""

from __future__ import annotations

import typing as t

import direct_iface
import disks
import moved_guests
import pytest
from direct_iface import ok
from disks import MIB
from killed_moves import path
from moved_guests import Guest, Hosts, move

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
SIZE = 4 * MIB
DIRECTORY = "/var/lib/libvirt/images/disks"
FILE, BASE = f"{DIRECTORY}/web1.img", f"{DIRECTORY}/base.raw"
POOL = f"<pool type='dir'><name>disks</name><target><path>{DIRECTORY}</path></target></pool>"
# What the backing file has.
OLD = b"old " * (SIZE // 4)


@pytest.fixture
def guest(hosts: Hosts) -> t.Iterator[Guest]:
    """web1 runs on the first host. Both have an empty directory for disks."""
    for hv in hosts.all:
        hv.run("mkdir", "-p", DIRECTORY)
    yield moved_guests.start(hosts)
    for hv in hosts.all:
        hv.run("sh", "-c", "virsh -q pool-destroy disks 2>/dev/null; true")
        hv.run("rm", "-rf", DIRECTORY)


def plug(hv: Hypervisor, disk: str) -> None:
    hv.virsh("attach-device", "web1", "/dev/stdin", "--live", "--config", stdin=disk)
    in_guest(hv, "until [ -b /dev/vda ]; do sleep 0.1; done")


def in_guest(hv: Hypervisor, script: str) -> str:
    return hv.in_guest("web1", "sh", "-c", script)


def write(hv: Hypervisor, text: str, at: int = 0) -> None:
    """Have the guest write to its disk, at so many MiB."""
    in_guest(hv, f"printf %s '{text}' | dd of=/dev/vda bs=1M seek={at} conv=fsync,notrunc 2>/dev/null")


def read(hv: Hypervisor, length: int, at: int = 0) -> str:
    """Return what the guest reads from its disk, and not from its memory."""
    return in_guest(
        hv,
        "sync; echo 3 >/proc/sys/vm/drop_caches; "
        f"dd if=/dev/vda bs=1M skip={at} count=1 2>/dev/null | head -c {length}",
    )


def copied(hosts: Hosts, guest: Guest, storage: str) -> None:
    """Move web1 with what it has written to its disk, and see that it goes on with that."""
    here, there = hosts.all
    write(here, "written here")
    write(here, "here too", 3)
    before = path(here, FILE).read_bytes()
    done = ok(move(here, there, transport="tls", storage=storage))
    assert done["changed"]
    moved_guests.assert_whole(hosts, guest, there)
    assert (read(there, 12), read(there, 8, 3)) == ("written here", "here too")
    write(there, "and there", 1)
    assert read(there, 9, 1) == "and there"
    # The source's own stays as it was when the guest left, for whoever wants it back.
    assert path(here, FILE).read_bytes() == before
    assert path(there, FILE).read_bytes() != before


@pytest.mark.parametrize("made_by", ["the user", "libvirt"])
def test_a_disk_is_copied(hosts: Hosts, guest: Guest, made_by: str) -> None:
    here, there = hosts.all
    path(here, FILE).write_bytes(OLD)
    if made_by == "libvirt":
        there.virsh("pool-create", "/dev/stdin", stdin=POOL)
    else:
        there.run("truncate", "-s", str(SIZE), FILE)
    plug(here, disks.element(FILE))
    copied(hosts, guest, "copy")
    assert path(there, FILE).read_bytes()[2 * MIB : 3 * MIB] == OLD[:MIB]


def test_what_a_disk_has_over_its_backing_file_is_copied(hosts: Hosts, guest: Guest) -> None:
    here, there = hosts.all
    for hv in hosts.all:
        path(hv, BASE).write_bytes(OLD)
        path(hv, FILE).write_bytes(disks.overlay(BASE, SIZE))
    plug(here, disks.element(FILE, "qcow2"))
    copied(hosts, guest, "incremental")
    assert path(there, BASE).read_bytes() == OLD
    assert OLD[:MIB] not in path(there, FILE).read_bytes()
    assert read(there, 8, 2) == "old old "


def test_a_disk_that_both_hosts_see_is_not_copied(hosts: Hosts, guest: Guest, tmp_path: t.Any) -> None:
    here, there = hosts.all
    with disks.block_device(tmp_path / "shared", SIZE) as device:
        plug(here, disks.element(device, block=True))
        write(here, "written here")
        ok(move(here, there))
        moved_guests.assert_whole(hosts, guest, there)
        assert read(there, 12) == "written here"
        write(there, "and there", 1)
        ok(move(there, here))
        assert (read(here, 12), read(here, 9, 1)) == ("written here", "and there")
        hosts.clear()


def test_a_guest_stays_if_its_disk_would_not_be_there(hosts: Hosts, guest: Guest) -> None:
    here, there = hosts.all
    path(here, FILE).write_bytes(OLD)
    plug(here, disks.element(FILE))
    for check in (True, False):
        refused = move(here, there, check=check)
        assert refused["msg"].startswith(f"storage: {FILE} is on a file system of this host alone (")
        assert refused["msg"].endswith("To have the disks copied, set storage: copy")
        tunnelled = move(here, there, check=check, storage="copy")
        assert "storage: libvirt cannot copy disks through its own connection" in tunnelled["msg"]
    # Neither a file nor a pool for it. Over SSH libvirt would not always say so.
    to = moved_guests.uri(there, "tls")
    failed = move(here, there, destination_uri=to, transport="tls", storage="copy")
    assert "did not move to hv2: " in failed["msg"]
    assert DIRECTORY in failed["msg"]
    assert "It is still here" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    moved_guests.assert_whole(hosts, guest, here)
    # A guest that does not run has only its configuration moved.
    here.virsh("destroy", "web1")
    assert "storage: the guest does not run" in move(here, there, transport="tls", storage="copy")["msg"]
    assert "moves the configuration alone" in str(ok(move(here, there))["warnings"])
