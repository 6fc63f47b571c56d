# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs that are killed between a guard and its NIC: each goes on where the last one was killed, one step further."""

from __future__ import annotations

import json
import re
import typing as t

import direct_iface
import killed_steps
import pytest
from direct_iface import A, B, ok
from support import PYTHON, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
C = "52:54:00:00:00:0c"
_MOST_STEPS = 30
_FILES = (
    "find /etc/linuxvirt-macvtap /etc/libvirt/hooks /etc/udev/rules.d /etc/systemd/system /run/linuxvirt-macvtap "
    "-name '*guard*' ! -path '/run/*/guards.json' 2>/dev/null; true"
)


@pytest.fixture(autouse=True)
def _without_guards(hv: Hypervisor) -> t.Iterator[None]:
    yield
    hv.run("sh", "-c", "ip link del guarded0 2>/dev/null; true")
    hv.clear()
    macs = [{"mac": mac, "state": "absent"} for mac in (A, B, C)]
    ok(run_module("macvtap_guard", {"guards": macs}, prefix=hv.prefix))
    assert hv.run("sh", "-c", _FILES) == ""


def guards(hv: Hypervisor) -> dict[str, t.Any]:
    found = ok(run_module("macvtap_guard_info", {}, prefix=hv.prefix))["guards"]
    return {one["mac"]: one for one in found}


def check(hv: Hypervisor) -> None:
    """See that each link that is up has the guard of its NIC, if there is one."""
    known = guards(hv)
    on = {link: mac for mac, one in known.items() for link in one["links"] if one["rules"] == "loaded"}
    for link in json.loads(hv.run("ip", "-j", "link", "show", "up", "type", "macvtap")):
        if link and link["address"] in known:
            assert on.get(link["ifname"]) == link["address"], link["ifname"]


def step_by_step(hv: Hypervisor, module: str, params: dict[str, t.Any], whenever: t.Callable[[], bool | None]) -> int:
    """Run a task, killed after one step, until a run has none any more. Return how many were killed.

    The next run is killed after its second step if ``whenever`` says that its first is that of the last run once more.
    """
    after = 1
    for count in range(_MOST_STEPS):
        if not killed_steps.killed(module, params, prefix=hv.prefix, after=after):
            assert ok(run_module(module, params, prefix=hv.prefix))["changed"] is False
            return count
        after = 2 if whenever() else 1
        check(hv)
    raise AssertionError("it is never done")


def udev(hv: Hypervisor) -> None:
    """Do what udev does a moment after a link was attached."""
    links = re.findall(r"<target dev='(.*?)'/>", hv.dump("web1", live=True))
    for link in links:
        hv.run(
            "sh", "-c", f"[ ! -e /etc/linuxvirt-macvtap/guard ] || {PYTHON} /etc/linuxvirt-macvtap/guard link {link}"
        )


def test_a_new_link_is_never_up_without_its_guard(hv: Hypervisor) -> None:
    link = {"name": "guarded0", "parent": "eth0", "mac": C, "guard": {"addresses": ["192.0.2.12"]}}
    assert step_by_step(hv, "macvtap_link", link, lambda: None) >= 8
    assert guards(hv)[C]["links"] == ["guarded0"]
    assert guards(hv)[C]["persistent"]
    assert step_by_step(hv, "macvtap_link", {**link, "state": "absent"}, lambda: None) >= 5
    assert guards(hv) == {}


def test_a_nic_and_its_guard_are_complete_in_the_end(started: Hypervisor) -> None:
    hv = started
    ok(run_module("macvtap_guard", {"domain": "web1", "mac": A}, prefix=hv.prefix))
    before = guards(hv)[A]

    def whenever() -> bool:
        udev(hv)
        assert hv.virsh("domstate", "web1").strip() == "running"
        is_attached = B in hv.dump("web1", live=True)
        return not is_attached and "closed" in hv.nft("list table netdev linuxvirt_macvtap")

    nic = {"domain": "web1", "mac": B, "source": "eth0", "guard": {"addresses": ["192.0.2.11"]}}
    assert step_by_step(hv, "libvirt_direct_iface", nic, whenever) >= 4
    (link,) = guards(hv)[B]["links"]
    assert f"<target dev='{link}'/>" in direct_iface.element(hv.dump("web1", live=True), B)
    assert guards(hv)[B]["persistent"]
    # The guard of a NIC that the guest has already.
    other = {**nic, "guard": {"addresses": ["192.0.2.12"]}}

    def again() -> bool:
        # The program has put back what was stored, because the killed run had only loaded the new rules.
        return whenever() or "192.0.2.12" not in guards(hv)[B]["addresses"]

    # And one to remove what a killed run has closed, if its minute is over.
    assert step_by_step(hv, "libvirt_direct_iface", other, again) in (2, 3)
    assert guards(hv)[A] == before
    # It keeps the NIC, as it has no operating system, and so the guard stays.
    gone = {**other, "state": "absent", "timeout": 0}
    assert killed_steps.killed("libvirt_direct_iface", gone, prefix=hv.prefix)
    assert guards(hv)[B]["links"] == [link]
    ok(run_module("libvirt_direct_iface", gone, prefix=hv.prefix))
    assert guards(hv)[B]["links"] == [link]
