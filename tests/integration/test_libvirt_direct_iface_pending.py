# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that release a NIC late, or never: no request is left alone, whatever becomes of the run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, guest_has, nic, ok
from pending import STATE, keepers, macs, on, pending, settled
from support import run_module, running_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


@pytest.fixture
def guest(hv: Hypervisor) -> Hypervisor:
    """web1 has an operating system and the NICs A and B, and is suspended: it answers when it goes on."""
    hv.define_guest("web1", nic(A), nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    hv.virsh("suspend", "web1")
    return hv


def test_a_guest_that_releases_it_late_gets_it_back(guest: Hypervisor, module: Module) -> None:
    declared: Result = {"domain": "web1", "mac": A, "source": "up1", "live": "replug", "timeout": 0}
    done = ok(module(**declared))
    assert [one["mac"] for one in done["pending"]] == [A]
    (shown,) = pending(guest)
    # The playbooks show and report have it from there.
    assert ok(run_module("macvtap_host_info", {}, prefix=guest.prefix))["pending"] == [shown]
    assert (shown["domain"], shown["mac"], shown["returns"]["source"]) == ("web1", A, "up1")
    assert shown["pid"] in keepers(guest)
    # A run that has nothing to do with it keeps it.
    assert not ok(module(domain="web1", mac=B))["changed"]
    guest.virsh("resume", "web1")
    assert until(lambda: on(guest, A, "up1"))
    assert guest_has(guest, "web1", {A, B})
    assert settled(guest)
    again = ok(module(**declared))
    assert (again["changed"], again["pending"], again["restart_required"]) == (False, [], [])


def test_a_removal_that_was_rolled_back_is_not_carried_out_later(guest: Hypervisor, module: Module) -> None:
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": B, "state": "absent"},
            {"domain": "web1", "mac": C, "source": "up1", "model": "nonsense"},
        ],
        timeout=0,
    )
    assert failed["msg"].endswith(
        "The run was rolled back as far as possible. "
        f"web1 {B}: the guest was asked to release this NIC and may still do so. It is then attached again as it is "
        "stored"
    )
    assert [one["mac"] for one in failed["pending"]] == [B]
    guest.virsh("resume", "web1")
    assert settled(guest)
    assert macs(guest, live=False) == macs(guest, live=True) == {A, B}
    assert guest_has(guest, "web1", {A, B})


def test_a_removal_comes_to_its_end_and_one_that_is_taken_back_does_not(guest: Hypervisor, module: Module) -> None:
    gone: Result = {"interfaces": [{"domain": "web1", "mac": m, "state": "absent"} for m in (A, B)], "timeout": 0}
    assert len(ok(module(**gone))["pending"]) == 2
    done = ok(module(domain="web1", mac=A, source="eth0", mode="bridge"))
    assert [one["mac"] for one in done["pending"]] == [A]
    guest.virsh("resume", "web1")
    assert settled(guest)
    assert guest_has(guest, "web1", {A})
    assert macs(guest, live=False) == macs(guest, live=True) == {A}


@pytest.mark.parametrize(("number", "source"), [(signal.SIGKILL, "up1"), (signal.SIGTERM, "eth0")])
def test_a_run_that_is_ended_while_it_waits_leaves_no_guest_without_its_nic(
    guest: Hypervisor, module: Module, number: signal.Signals, source: str
) -> None:
    declared: Result = {"domain": "web1", "mac": A, "source": "up1", "live": "replug"}
    how: t.Dict[str, t.Any] = {"prefix": guest.prefix, "start_new_session": True, "stdout": subprocess.PIPE}
    with running_module("libvirt_direct_iface", declared, **how) as process:
        assert until(lambda: bool(keepers(guest)))
        # It is written down a moment before it is asked for, which nothing shows.
        time.sleep(2)
        os.killpg(process.pid, number)
        message = process.communicate(timeout=60)[0]
    if number == signal.SIGTERM:
        assert (
            f"stopped by SIGTERM. The run was rolled back as far as possible. web1 {A}: the guest was asked to"
            in message
        )
    assert f"source dev='{source}'" in element(guest.dump("web1"), A)
    guest.virsh("resume", "web1")
    assert settled(guest)
    assert guest_has(guest, "web1", {A, B})
    assert f"source dev='{source}'" in element(guest.dump("web1", live=True), A)
    assert ok(module(**declared))["changed"] == (source == "eth0")


def test_a_removal_that_is_kept_in_a_failed_run_has_a_keeper(started: Hypervisor, module: Module) -> None:
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": A, "state": "absent"},
            {"domain": "web1", "mac": C, "source": "up1", "model": "nonsense"},
        ],
        timeout=0,
        on_error="keep",
    )
    assert failed["rc"] == 1
    assert [one["mac"] for one in failed["pending"]] == [A]
    assert len(keepers(started)) == 2
    started.virsh("reset", "web1")
    assert until(lambda: macs(started, live=True) == set())
    assert settled(started)


def test_a_transient_guest_gets_back_what_was_declared(hv: Hypervisor, module: Module) -> None:
    hv.virsh("create", "/dev/stdin", stdin=domain("web1", nic(A)))
    declared: Result = {"domain": "web1", "mac": A, "model": "e1000e", "live": "replug", "timeout": 0}
    done = ok(module(**declared))
    assert "the NIC is attached again, by process" in str(done["warnings"])
    hv.virsh("reset", "web1")
    assert until(lambda: "e1000e" in hv.dump("web1", live=True))
    assert settled(hv)
    assert not ok(module(**declared))["changed"]


def test_a_nic_comes_back_as_it_was_changed_after_it_was_asked_for(started: Hypervisor, module: Module) -> None:
    ok(module(domain="web1", mac=A, model="e1000e", live="replug", timeout=0))
    later: Result = {"domain": "web1", "mac": A, "mode": "private", "allmulticast": True}
    assert ok(module(**later))["pending"]
    # The keeper looks at it four times a second.
    path = (
        f"{STATE}/{ok(run_module('libvirt_direct_iface_info', {}, prefix=started.prefix))['domains'][0]['uuid']}.json"
    )
    assert until(lambda: '"allmulticast": true' in started.run("cat", path))
    started.virsh("reset", "web1")
    assert until(lambda: "e1000e" in started.dump("web1", live=True))
    assert settled(started)
    again = ok(module(**later))
    assert (again["changed"], again["pending"], again["restart_required"]) == (False, [], [])


def test_each_guest_is_back_as_soon_as_its_own_nic_is_gone(guest: Hypervisor) -> None:
    """One guest stops and one does not answer; the third answers, and is not kept waiting."""
    guest.virsh("resume", "web1")
    for name, mac in (("slow", C), ("stops", "52:54:00:00:00:0d")):
        guest.define(domain(name, nic(mac)))
        guest.virsh("start", name)
    declared: Result = {
        "interfaces": [
            {"domain": "slow", "mac": C},
            {"domain": "stops", "mac": "52:54:00:00:00:0d"},
            {"domain": "web1", "mac": A},
        ],
        "source": "up1", "live": "replug", "timeout": 15,
    }  # fmt: skip
    how: Result = {"stdout": subprocess.PIPE, "text": True}
    with running_module("libvirt_direct_iface", declared, prefix=guest.prefix, stdout=how["stdout"]) as process:
        assert until(lambda: on(guest, A, "up1"))
        assert process.poll() is None
        guest.virsh("destroy", "stops")
        message = process.communicate(timeout=60)[0]
    assert process.returncode == 0, message
    assert "stops 52:54:00:00:00:0d: the guest stopped while this ran" in message
    assert guest_has(guest, "web1", {A, B})
    assert "up1" in guest.dump("stops")
