# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper of requests that guests have not answered: it survives, and is told all that it must know."""

from __future__ import annotations

import contextlib
import subprocess
import typing as t

import direct_iface
import pytest
from direct_iface import A, Module, Result, element, ok
from pending import STATE, keepers, macs, on, pending, settled
from support import run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


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
        assert "The keeper process was not running: NICs that" in str(ok(module(domain="web1", mac=A))["warnings"])
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
    # Whoever writes there at this moment keeps it busy.
    remount = [*hv.prefix, "mount", "-o", "remount,bind,ro", STATE]
    try:
        assert until(lambda: subprocess.run(remount, check=False, capture_output=True).returncode == 0)
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
