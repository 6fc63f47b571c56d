# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A real guest floods the LAN with forged frames all its life, and none of them gets there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t

import direct_iface
import libvirtd_fixture
from direct_iface import A, nic, ok
from flooded_lan import OWN, SOURCE, lan_of
from support import run_module, until

pytestmark = direct_iface.MARKS
_FLOOD = """
for nic in /sys/class/net/eth*; do ip link set ${nic##*/} up; done
python3 -I -S -c "$0" flood "$1" </dev/null >/dev/null 2>&1 &
"""


def guard(hv: libvirtd_fixture.Hypervisor, **options: t.Any) -> None:
    ok(run_module("macvtap_guard", {"mac": A, "addresses": ["192.0.2.10"], **options}, prefix=hv.prefix))


def iface(hv: libvirtd_fixture.Hypervisor, **options: t.Any) -> None:
    params = {"domain": "web1", "mac": A, "source": "eth0", **options}
    assert ok(run_module("libvirt_direct_iface", params, prefix=hv.prefix))["restart_required"] == []


def migrate(source: libvirtd_fixture.Hypervisor, destination: libvirtd_fixture.Hypervisor) -> None:
    # The network namespaces of the two have none in common, and /dev is one for all.
    meeting = f"/dev/shm/flood{os.getpid()}"
    how = ["--live", "--persistent", "--undefinesource", "--migrateuri", f"unix://{meeting}"]
    argv = ["virsh", "-q", "-c", source.uri, "migrate", "web1", destination.uri, *how]
    subprocess.run(argv, check=True, capture_output=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(meeting)


def test_nothing_forged_arrives_at_any_moment_of_a_guests_life() -> None:
    with libvirtd_fixture.hypervisors(f"flood{os.getpid()}", ("hv1", "hv2")) as (hv, other):
        whole_life(hv, other)


def whole_life(hv: libvirtd_fixture.Hypervisor, other: libvirtd_fixture.Hypervisor) -> None:
    with lan_of(hv, A) as lan:
        for one in (hv, other):
            guard(one)
            # It has read the hook then.
            one.restart()
        other.define_guest("web1", nic(A))
        other.virsh("undefine", "web1")
        hv.define_guest("web1", nic(A))
        hv.virsh("start", "web1")
        hv.in_guest("web1", "sh", "-c", _FLOOD, SOURCE, A)
        assert lan.until_flooded() == OWN
        hv.virsh("managedsave", "web1")
        hv.virsh("start", "web1")
        assert lan.until_flooded() == OWN
        iface(hv, live="pause", mode="private")
        assert lan.until_flooded() == OWN
        iface(hv, live="replug", model="virtio-non-transitional")
        assert lan.until_flooded() == OWN
        hv.restart()
        for rate in (50000, 60000, 70000):
            guard(hv, rate=rate)
        assert lan.until_flooded() == OWN
        guard(hv, policy="count")
        assert until(lambda: lan.kinds() == {"own", "mac", "arp", "router"})
        guard(hv)
        lan.kinds()
        assert lan.until_flooded() == OWN
        migrate(hv, other)
        # The name that the link was given for its guard goes with the running guest alone.
        assert "mvg" not in other.dump("web1")
        assert lan.until_flooded() == OWN
        other.virsh("reset", "web1")
        other.in_guest("web1", "sh", "-c", _FLOOD, SOURCE, A)
        assert lan.until_flooded() == OWN
