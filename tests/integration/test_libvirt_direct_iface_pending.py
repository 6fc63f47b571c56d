# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that release a NIC late, or never: no request is left alone, whatever becomes of the run and its keeper."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, guest_has, nic, ok
from support import run_module, running_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

STATE = "/run/linuxvirt.macvtap"


@pytest.fixture
def guest(hv: Hypervisor) -> Hypervisor:
    """web1 has an operating system and the NICs A and B, and is suspended: it answers when it goes on."""
    hv.define_guest("web1", nic(A), nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    hv.virsh("suspend", "web1")
    return hv


def until(true: t.Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def files(hv: Hypervisor) -> str:
    return hv.run("sh", "-c", f"ls {STATE}/*.json 2>/dev/null || true").strip()


def keepers(hv: Hypervisor) -> list[int]:
    """Return the processes of the keeper, in the hypervisor's own numbers."""
    found = hv.run("sh", "-c", f"grep -lz ^{STATE}/keeper.pyz /proc/[0-9]*/cmdline || true")
    return [int(path.split("/")[2]) for path in found.split()]


def settled(hv: Hypervisor) -> bool:
    return until(lambda: not files(hv) and not keepers(hv))


def macs(hv: Hypervisor, *, live: bool) -> set[str]:
    return set(re.findall(r"<mac address='(.*?)'/>", hv.dump("web1", live=live)))


def on(hv: Hypervisor, mac: str, source: str) -> bool:
    """Whether the running guest has this NIC on ``source``; it may have it not at all at that moment."""
    interfaces = re.findall(r"<interface type.*?</interface>", hv.dump("web1", live=True), re.S)
    return any(mac in one and f"dev='{source}'" in one for one in interfaces)


def pending(hv: Hypervisor) -> list[Result]:
    found: list[Result] = ok(run_module("libvirt_direct_iface_info", {}, prefix=hv.prefix))["pending"]
    return found


def test_a_guest_that_releases_it_late_gets_it_back(guest: Hypervisor, module: Module) -> None:
    declared: Result = {"domain": "web1", "mac": A, "source": "up1", "live": "replug", "timeout": 0}
    done = ok(module(**declared))
    assert [one["mac"] for one in done["pending"]] == [A]
    (shown,) = pending(guest)
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


@pytest.mark.parametrize("what", ["one", "other", "both", "libvirtd", "end"])
def test_the_keeper_survives(started: Hypervisor, module: Module, what: str) -> None:
    ok(module(domain="web1", mac=A, model="e1000e", live="replug", timeout=0))
    assert len(keepers(started)) == 2
    before = sorted(keepers(started))
    if what == "libvirtd":
        started.restart()
    elif what == "end":
        started.virsh("destroy", "web1")
        started.virsh("start", "web1")
        assert settled(started)
        assert "e1000e" in started.dump("web1", live=True)
        return
    else:
        chosen = {"one": before[:1], "other": before[1:], "both": before}[what]
        started.run("kill", "-KILL", *map(str, chosen))
    if what == "both":
        # Nobody is left to start it again but the next run, whatever it is about.
        result = ok(run_module("libvirt_direct_iface_info", {}, prefix=started.prefix))
        assert result["pending"][0]["pid"] is None
        assert "the next run of libvirt_direct_iface that is not in check mode starts it" in str(result["warnings"])
        assert "were not watched: the keeper process, which attaches them again, was not running" in str(
            ok(module(domain="web1", mac=A))["warnings"]
        )
    assert until(lambda: len(keepers(started)) == 2)
    # QEMU takes out then what it was asked for.
    started.virsh("reset", "web1")
    assert until(lambda: "e1000e" in started.dump("web1", live=True))
    assert macs(started, live=True) == {A}
    assert settled(started)


@pytest.mark.parametrize("command", ["managedsave", "save"])
def test_a_guest_that_was_saved_gets_back_what_it_releases_when_it_was_restored(
    started: Hypervisor, module: Module, command: str
) -> None:
    """QEMU saves what it was asked for, and carries it out in the next instance."""
    ok(module(domain="web1", mac=A, model="e1000e", live="replug", timeout=0))
    image = "/run/web1.saved"
    if command == "save":
        started.virsh("save", "web1", image)
        started.virsh("restore", image)
        started.run("rm", image)
    else:
        started.virsh("managedsave", "web1")
        started.virsh("start", "web1")
    assert until(lambda: bool(ok(module(domain="web1", mac=A))["pending"]))
    started.virsh("reset", "web1")
    assert until(lambda: "e1000e" in started.dump("web1", live=True))
    assert settled(started)


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


def test_a_nic_that_cannot_come_back_is_shown_and_comes_back_when_it_can(started: Hypervisor, module: Module) -> None:
    """Its link's name is another's by then, and its source has gone for a while."""
    for command in ("add up2 type veth peer name far2", "set up2 up", "set far2 up"):
        started.run("ip", "link", *command.split())
    ok(module(domain="web1", mac=A, target="web0", source="up2", live="replug", timeout=0))
    started.virsh("destroy", "web1")
    assert settled(started)
    started.virsh("start", "web1")
    ok(module(domain="web1", mac=A, model="e1000e", live="replug", timeout=0))
    started.run("ip", "link", "add", "held", "type", "veth", "peer", "name", "far3")
    started.run("ip", "link", "set", "up2", "name", "up3")
    started.virsh("reset", "web1")
    assert until(lambda: any(one["state"] == "released" and one["error"] for one in pending(started)))
    result = run_module("libvirt_direct_iface_info", {}, prefix=started.prefix)
    assert "the guest has released this NIC, and it is not attached again yet" in str(result["warnings"])
    started.run("ip", "link", "set", "held", "name", "web0")
    started.run("ip", "link", "set", "up3", "name", "up2")
    assert until(lambda: A in started.dump("web1", live=True))
    assert "e1000e" in element(started.dump("web1", live=True), A)
    assert settled(started)
    assert "veth" in started.run("ip", "-d", "link", "show", "web0")
    for name in ("web0", "up2"):
        started.run("ip", "link", "del", name)


@contextlib.contextmanager
def read_only(hv: Hypervisor) -> t.Iterator[None]:
    hv.run("mkdir", "-p", "-m", "700", STATE)
    hv.run("mount", "--bind", STATE, STATE)
    try:
        hv.run("mount", "-o", "remount,bind,ro", STATE)
        yield
    finally:
        hv.run("umount", STATE)


def test_no_request_is_made_that_cannot_be_recorded(started: Hypervisor, module: Module) -> None:
    replug: Result = {"domain": "web1", "mac": A, "model": "e1000e", "live": "replug", "timeout": 0}
    absent: Result = {"domain": "web1", "mac": A, "state": "absent", "timeout": 0}
    before = started.dump("web1")
    with read_only(started):
        for declared in (replug, absent):
            assert module(**declared)["msg"] == (
                f"cannot read or write the outstanding requests in {STATE}: Read-only file system. "
                "No guest was asked to release a NIC. The host is as it was before"
            )
    assert started.dump("web1") == before
    # The keeper brings back all the same what was written down before.
    ok(module(**replug))
    with read_only(started):
        started.virsh("reset", "web1")
        assert until(lambda: "e1000e" in started.dump("web1", live=True))
    assert settled(started)


def test_a_newer_program_takes_over_from_the_one_that_runs(started: Hypervisor, module: Module) -> None:
    ok(module(domain="web1", mac=A, model="e1000e", live="replug", timeout=0))
    started.run("sh", "-c", f"cd {STATE} && echo '# an older one' | cat keeper.pyz - > new && mv new keeper.pyz")
    older = set(keepers(started))
    assert until(lambda: len(set(keepers(started)) - older) == 1)
    ok(module(domain="web1", mac=A, source="up1", live="replug", timeout=0))
    assert started.run("sh", "-c", f"grep -c 'an older one' {STATE}/keeper.pyz || true") == "0\n"
    started.virsh("reset", "web1")
    assert settled(started)
    assert on(started, A, "up1")
