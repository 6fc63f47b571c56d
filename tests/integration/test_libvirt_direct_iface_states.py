# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains that start, stop, vanish, are saved or under a job while, or before, a run changes them."""

from __future__ import annotations

import subprocess
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, impacts, nic, ok, run_beside
from support import running_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor


pytestmark = direct_iface.MARKS

D = "52:54:00:00:00:0d"
# The guests have no operating system and answer nothing. To be prepended to what each of two kinds of somebody does.
ONCE = """
connection, apply, done = libvirt.open("qemu:///system"), Hypervisor.apply, []
def raced(self, steps, journal):
    if not done:
        done.append(act(connection.lookupByName("web1")))
    apply(self, steps, journal)
Hypervisor.apply = raced
"""


def macs(hv: Hypervisor, name: str, *, live: bool) -> list[str]:
    return [mac for mac in (A, B, C, D) if f"<mac address='{mac}'/>" in hv.dump(name, live=live)]


def test_a_guest_that_is_started_while_a_run_goes_on_keeps_its_nic(hv: Hypervisor) -> None:
    hv.define(domain("web1", nic(A)))
    hv.define(domain("slow", nic(B)))
    hv.virsh("start", "slow")
    declared: Result = {
        "interfaces": [
            {"domain": "web1", "mac": A, "driver": {"name": "qemu"}},
            {"domain": "slow", "mac": B, "state": "absent"},
            # Refused only when it is attached, after the wait.
            {"domain": "slow", "mac": D, "source": "up1", "model": "nonsense"},
        ],
        "mode": "bridge",
        "timeout": 5,
    }
    before = hv.dump("web1")
    with running_module("libvirt_direct_iface", declared, prefix=hv.prefix, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while "name='qemu'" not in hv.dump("web1") and time.monotonic() < deadline:
            time.sleep(0.05)
        hv.virsh("start", "web1")
        message = process.communicate(timeout=60)[0]
    assert process.returncode == 1, message
    assert hv.dump("web1") == before
    assert macs(hv, "web1", live=True) == [A]
    assert macs(hv, "slow", live=False) == macs(hv, "slow", live=True) == [B]
    assert f"web1 {A}: the guest was started while this ran" in message
    assert f"slow {B}: the guest was asked to release this NIC and may still do so" in message
    assert "The run was rolled back as far as possible" in message


def test_a_new_nic_of_a_domain_that_is_started_meanwhile_is_as_planned(hv: Hypervisor) -> None:
    hv.define(domain("web1", nic(A)))
    code = "act = lambda domain: domain.create()"
    done = ok(run_beside(hv, code + ONCE, {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge"}))
    assert macs(hv, "web1", live=False) == [A, B]
    assert done["restart_required"] == [{"domain": "web1", "mac": B, "fields": ["state"]}]
    assert set(impacts(done).values()) <= {"config", "restart"}


# The guest is started anew with B and C, so that B has the alias that A had.
ANEW = f"""
import re
def act(domain):
    document = domain.XMLDesc(3)
    without = re.sub(r"<interface type='direct'>\\s*<mac address='{A}'/>.*?</interface>", "", document, flags=re.S)
    assert "{A}" not in without
    domain.destroy()
    domain.connect().defineXML(without)
    domain.create()
    domain.connect().defineXML(document)
"""
AT_THE_REQUEST = """
detach = libvirt.virDomain.detachDeviceAlias
def raced(self, *arguments):
    act(self)
    return detach(self, *arguments)
libvirt.virDomain.detachDeviceAlias = raced
"""


@pytest.mark.parametrize("moment", [ONCE, AT_THE_REQUEST])
def test_another_instance_of_a_guest_loses_no_nic_by_its_place(hv: Hypervisor, moment: str) -> None:
    hv.define(domain("web1", nic(A), nic(B), nic(C)))
    hv.virsh("start", "web1")
    done = ok(run_beside(hv, ANEW + moment, {"domain": "web1", "mac": A, "state": "absent", "timeout": 1}))
    assert [one["mac"] for one in done["pending"]] == []
    assert macs(hv, "web1", live=False) == [B, C]
    hv.virsh("reset", "web1")
    # Nothing between what is read and the request can be seen; the keeper is told of what the request has met.
    deadline = time.monotonic() + 20
    while hv.run("sh", "-c", "ls /run/linuxvirt.macvtap/*.json 2>/dev/null || true"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert macs(hv, "web1", live=True) == [B, C]


def test_a_domain_that_is_undefined_meanwhile_stays_so_and_the_others_are_put_back(hv: Hypervisor) -> None:
    for name, mac in (("web0", C), ("web1", A)):
        hv.define(domain(name, nic(mac)))
    before = hv.dump("web0")
    declared: Result = {
        "interfaces": [{"domain": "web0", "mac": C}, {"domain": "web1", "mac": A}],
        "mode": "private",
    }
    failed = run_beside(hv, "act = lambda domain: domain.undefine()" + ONCE, declared)
    assert failed["msg"] == (
        "interfaces[1]: domain 'web1' was undefined, renamed or moved while this ran. The host is as it was before"
    )
    assert hv.virsh("list", "--all", "--name").split() == ["web0"]
    assert hv.dump("web0") == before


def test_a_lost_update_is_never_ok(hv: Hypervisor) -> None:
    hv.define(domain("web1", nic(A)))
    # Right after the module has stored it, and read it back.
    code = """
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hypervisor import Hypervisor
apply = Hypervisor.apply
def raced(self, steps, journal):
    connection = libvirt.open("qemu:///system")
    document = connection.lookupByName("web1").XMLDesc(3)
    apply(self, steps, journal)
    connection.defineXML(document)
Hypervisor.apply = raced
"""
    failed = run_beside(hv, code, {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge"})
    assert "the change was made, but the host still differs" in failed["msg"]
    assert macs(hv, "web1", live=False) == [A]


# Another editor stores a title right before (or, once the run's own define has returned, after) what the run stores.
BESIDE = """
other, define, editing = libvirt.open("qemu:///system"), libvirt.virConnect.defineXML, []
def edit(number):
    document = other.lookupByName("web1").XMLDesc(3)
    define(other, document.replace("<title>", f"<title>edited {number} "))
def raced(self, document):
    editing.append(None)
    if len(editing) in BEFORE:
        edit(len(editing))
    return define(self, document)
libvirt.virConnect.defineXML = raced
"""


@pytest.mark.parametrize(
    "signalled", ["", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"], ids=["", "signal"]
)
@pytest.mark.parametrize(("on_error", "stays"), [("rollback", []), ("keep", [B])])
def test_what_another_editor_stores_right_before_the_define_is_no_silent_loss(
    hv: Hypervisor, on_error: str, stays: list[str], signalled: str
) -> None:
    hv.define(domain("web1", nic(A)))
    declared: Result = {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge", "on_error": on_error}
    beside = BESIDE.replace("BEFORE", "(1,)").replace("edit(len(editing))", f"edit(len(editing)); {signalled}")
    failed = run_beside(hv, beside, declared)
    assert failed["rc"] == 1
    assert failed["msg"].startswith("stopped by SIGTERM. ") == bool(signalled)
    assert "domain 'web1' was changed by another editor at the moment when this run stored it" in failed["msg"]
    assert "as it was before" not in failed["msg"]
    assert ("What the other editor has stored of domain 'web1' may be lost" in failed["msg"]) == (not stays)
    assert macs(hv, "web1", live=False) == [A, *stays]
    assert "edited" not in hv.dump("web1")


def test_an_editor_before_the_last_read_or_during_the_rollback_is_distinguished(hv: Hypervisor) -> None:
    hv.define(domain("web1", nic(A)))
    declared: Result = {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge"}
    beside = BESIDE.replace("BEFORE", "()")
    done = ok(run_beside(hv, f"{beside}\nact = lambda domain: edit(1)" + ONCE, declared))
    assert done["changed"]
    assert "edited 1" in hv.dump("web1")
    # The rollback's define is the second.
    hv.virsh("start", "web1")
    failed = run_beside(hv, BESIDE.replace("BEFORE", "(2,)"), {**declared, "mac": C, "model": "nonsense"})
    assert "'nonsense' is not a valid device model name" in failed["msg"]
    assert "What the other editor has stored of domain 'web1' may be lost" in failed["msg"]
    assert "as it was before" not in failed["msg"]
    assert macs(hv, "web1", live=False) == [A, B]


def test_two_runs_wait_for_each_other(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    declared: Result = {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge"}
    held = ["flock", "/run/linuxvirt.macvtap.domains.lock", "sh", "-c", "echo; read _"]
    with subprocess.Popen([*hv.prefix, *held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert "is changing domains on this host and holds" in module(lock_timeout=0, **declared)["msg"]
        assert module(check=True, lock_timeout=0, **declared)["changed"]
        with running_module("libvirt_direct_iface", declared, prefix=hv.prefix) as run:
            time.sleep(1)
            assert macs(hv, "web1", live=False) == [A]
            other.communicate(b"\n")
            assert run.wait(60) == 0
    assert macs(hv, "web1", live=False) == [A, B]


def test_a_run_that_loses_libvirtd_puts_back_what_it_did(started: Hypervisor) -> None:
    before = started.dump("web1")
    code = f"""
import subprocess, time
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.guests import Guests
bring, done = Guests.bring, []
def raced(self, *arguments, **more):
    if not done:
        done.append(subprocess.run(["sh", "-c", "kill -KILL $(cat /run/{started.daemon}.pid)"], check=True))
        while subprocess.run(["/usr/sbin/{started.daemon}", "-d"], capture_output=True).returncode:
            time.sleep(0.05)
    return bring(self, *arguments, **more)
Guests.bring = raced
"""
    failed = run_beside(started, code, {"domain": "web1", "mac": A, "mode": "private"})
    assert failed["msg"].endswith("The host is as it was before")
    assert started.dump("web1") == before


def test_a_source_keeps_its_address_where_nothing_can_be_passed_through(started: Hypervisor) -> None:
    address = started.run("cat", "/sys/class/net/up1/address")
    # Somebody takes the source between the plan and the attempt.
    code = """
import subprocess
act = lambda domain: subprocess.run("ip link add mt9 link up1 type macvtap mode bridge".split(), check=True)
"""
    declared: Result = {"domain": "web1", "mac": B, "source": "up1", "mode": "passthrough"}
    failed = run_beside(started, code + ONCE, declared)
    assert failed["msg"].startswith(f"cannot add {B} to the running domain 'web1'")
    assert failed["msg"].endswith("The host is as it was before")
    assert started.run("cat", "/sys/class/net/up1/address") == address
    started.run("ip", "link", "del", "mt9")
