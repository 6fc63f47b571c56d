# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Rules for guests that hear all multicast, and links that are or are not a guest's, on a hypervisor with udev."""

from __future__ import annotations

import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, domain, impacts, nic, ok
from support import ROOT, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

FILE = "/etc/udev/rules.d/90-macvtap-domains.rules"
_SOCKET = (
    "import os, stat; os.makedirs('/run/udev', exist_ok=True); os.mknod('/run/udev/control', stat.S_IFSOCK | 0o600)"
)


class Host:
    """A hypervisor that looks as if it had udev."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def rules(self) -> str:
        return self.hv.run("sh", "-c", f"cat {FILE} 2>/dev/null || true")

    def hears(self, result: Result) -> bool:
        name = result["interfaces"][0]["live"]["target"]
        return "ALLMULTI" in self.hv.run("ip", "link", "show", name)


@pytest.fixture
def udev(hv: Hypervisor) -> t.Iterator[Host]:
    hv.run("/usr/bin/python3", "-c", _SOCKET)
    try:
        yield Host(hv)
    finally:
        hv.run("rm", "-rf", "/run/udev/control", FILE)


def test_a_rule_goes_with_its_domain_and_stays_where_another_has_the_address(udev: Host, module: Module) -> None:
    for name in ("web1", "web2"):
        udev.hv.define(domain(name, nic(A)))
    ok(module(domain="web1", mac=A, allmulticast=True))
    assert A in udev.rules()
    refused = module(domain="web2", mac=A, allmulticast=False)
    assert refused["msg"].startswith("allmulticast: the udev rule to remove matches the address")
    left = ok(module(domain="web1", mac=A, state="absent"))
    assert "because an interface of domain web2 has the same address" in str(left["warnings"])
    assert A in udev.rules()
    # Undefined by other tools, it leaves its rule.
    udev.hv.virsh("undefine", "web2")
    for check in (True, False):
        gone = ok(module(domain="web2", mac=A, state="absent", check=check))
        assert impacts(gone) == {"allmulticast": "config"}
        assert (A in udev.rules()) is check
    assert not ok(module(domain="web2", mac=A, state="absent"))["changed"]


def test_a_session_libvirt_removes_no_rule_of_the_systems(udev: Host, module: Module) -> None:
    udev.hv.define(domain("web1", nic(A)))
    ok(module(domain="web1", mac=A, allmulticast=True))
    session = "qemu:///session"
    udev.hv.run("virsh", "--quiet", "--connect", session, "define", "/dev/stdin", stdin=domain("own1", nic(A)))
    try:
        ok(module(uri=session, domain="own1", mac=A, state="absent"))
        assert A in udev.rules()
    finally:
        udev.hv.run("virsh", "--quiet", "--connect", session, "undefine", "own1")


def test_rules_edited_by_hand_are_restored_after_a_failed_run(udev: Host, module: Module) -> None:
    udev.hv.define(domain("web1", nic(A)))
    ok(module(domain="web1", mac=A, allmulticast=True))
    udev.hv.run("sed", "-i", "s/allmulticast on/allmulticast off/; 1a # by hand", FILE)
    before = udev.rules()
    assert not ok(module(domain="web1", mac=A))["changed"]
    udev.hv.virsh("start", "web1")
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": A, "allmulticast": False},
            {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge", "model": "nonsense"},
        ]
    )
    assert failed["msg"].endswith("The host is as it was before")
    assert udev.rules() == before
    ok(module(domain="web1", mac=A, allmulticast=False))
    assert A not in udev.rules()
    assert "# by hand" in udev.rules()


def test_another_link_that_has_the_name_is_left_alone(udev: Host, module: Module) -> None:
    udev.hv.define(domain("web1", nic(A)))
    udev.hv.virsh("start", "web1")
    name = ok(module(domain="web1", mac=A))["interfaces"][0]["live"]["target"]
    udev.hv.run("ip", "link", "set", name, "name", "moved0")
    udev.hv.run("ip", "link", "add", "link", "up1", "name", name, "type", "macvtap", "mode", "bridge")
    try:
        done = ok(module(domain="web1", mac=A, mode="private", allmulticast=True))
        assert impacts(done) == {"mode": "restart", "allmulticast": "restart"}
        shown = udev.hv.run("ip", "-d", "link", "show", name)
        assert "ALLMULTI" not in shown
        assert "mode bridge" in shown
    finally:
        udev.hv.run("ip", "link", "del", name)
        udev.hv.run("ip", "link", "set", "moved0", "name", name)
    assert impacts(ok(module(domain="web1", mac=A, mode="private"))) == {"mode": "live"}


def test_nothing_is_done_where_a_library_is_missing_that_is_needed_later(udev: Host) -> None:
    hv = udev.hv
    hv.define(domain("web1", nic(A)))
    hv.virsh("start", "web1")
    before = hv.dump("web1")
    hv.run("sh", "-c", "mkdir -p /run/without/pyroute2; echo raise ImportError >/run/without/pyroute2/__init__.py")
    prefix = [*hv.prefix, "env", f"PYTHONPATH=/run/without:{ROOT / '.collections'}"]
    added = {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge", "allmulticast": True}
    try:
        for check in (True, False):
            for declared in (
                {"domain": "web1", "mac": A, "allmulticast": True},
                {"domain": "web1", "mac": A, "mode": "private"},
                added,
            ):
                failed = run_module("libvirt_direct_iface", declared, check=check, prefix=prefix)
                assert "required Python library (pyroute2)" in failed["msg"]
                assert hv.dump("web1") == before
                assert udev.rules() == ""
        # What needs it not is done without.
        ok(run_module("libvirt_direct_iface", {"domain": "web1", "mac": A, "link_state": "down"}, prefix=prefix))
    finally:
        hv.run("rm", "-r", "/run/without")


def test_a_running_passthrough_guests_link_keeps_it_and_its_parents_count(udev: Host, module: Module) -> None:
    hv = udev.hv
    hv.define(domain("web1", nic(A, "up1", "passthrough")))
    assert module(domain="web1", mac=A, allmulticast=True)["msg"].startswith(
        "allmulticast: allmulticast has no effect in mode passthrough"
    )
    hv.virsh("start", "web1")
    result = ok(module(domain="web1", mac=A))
    hv.run("ip", "link", "set", result["interfaces"][0]["live"]["target"], "allmulticast", "on")
    done = ok(module(domain="web1", mac=A, allmulticast=False, live="replug"))
    assert (done["changed"], done["restart_required"][0]["fields"]) == (False, ["allmulticast"])
    assert udev.hears(result)
    hv.virsh("destroy", "web1")


def test_the_diff_matches_its_header_on_a_host_without_udev(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    hv.virsh("start", "web1")
    done = ok(module(domain="web1", mac=A, allmulticast=True, alias="ua-lan"))
    assert impacts(done) == {"allmulticast": "live", "alias": "restart"}
    (diff,) = done["diff"]
    assert diff["before"].endswith("\nallmulticast: no\n")
    assert diff["after"].endswith("\nallmulticast: yes\n")
