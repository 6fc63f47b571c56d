# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What others do between the look of libvirt_guest_migrate at a guest and its move."""

from __future__ import annotations

import direct_iface
import moved_guests
import pytest
from direct_iface import A, Result, domain, element, nic, ok
from direct_network import source
from moved_guests import Hosts, Where, move
from support import meanwhile

pytestmark = direct_iface.MARKS
VIRSH = ["virsh", "-q", "-c"]


@pytest.fixture
def running(hosts: Hosts) -> Hosts:
    """web1 runs on the first host, with no operating system."""
    hosts.source.define(domain("web1", nic(A)))
    hosts.source.virsh("start", "web1")
    return hosts


def beside(hosts: Hosts, *command: str, function: str = "planner.plan", when: str = "after") -> Result:
    """Move web1 while a command runs on its host, by default between the look and the move."""
    return move(*hosts.all, patch=meanwhile(when, f"_migration.{function}", command))


def test_a_daemon_that_is_restarted(running: Hosts) -> None:
    ok(beside(running, "sh", "-c", running.source.restart_script))
    assert moved_guests.where(running, "web1") == Where(["hv2"], [], ["hv2"])


def test_a_guest_that_is_stopped(running: Hosts) -> None:
    stopped = beside(running, *VIRSH, "qemu:///system", "destroy", "web1")
    assert stopped["msg"] == (
        "domain: domain 'web1' was started or stopped meanwhile. Run again. The host is as it was before"
    )
    assert moved_guests.where(running, "web1") == Where([], [], ["hv1"])
    ok(move(*running.all))
    assert moved_guests.where(running, "web1") == Where([], [], ["hv2"])


def test_a_domain_that_somebody_starts_on_the_destination(running: Hosts) -> None:
    document = running.source.dump("web1").replace("dev='eth0'", "dev='lan0'")
    start = f"virsh -q -c {moved_guests.uri(running.destination)} create /dev/stdin"
    failed = beside(running, "sh", "-c", f'printf %s "$0" | {start}', document)
    assert "did not move to hv2" in failed["msg"]
    # Both run, and neither is of this run's making.
    assert moved_guests.where(running, "web1") == Where(["hv1", "hv2"], [], ["hv1"])
    assert "The host is as it was before" not in failed["msg"]
    assert "running on hv1, running on hv2" in failed["msg"]
    refused = move(*running.all)
    assert "runs both here and on hv2. Neither is touched" in refused["msg"]


def test_what_is_stored_meanwhile_arrives(running: Hosts) -> None:
    hv1, hv2 = running.all
    document = hv1.dump("web1")
    changed = document.replace(element(document, A), nic(A, mode="vepa"))
    done = beside(running, "sh", "-c", 'printf %s "$0" | virsh -q -c qemu:///system define /dev/stdin', changed)
    assert done["rc"] == 0 or "Run again" in done["msg"], done
    if done["rc"]:
        assert moved_guests.where(running, "web1") == Where(["hv1"], [], ["hv1"])
        ok(move(hv1, hv2))
    assert source(hv2) == "direct dev=lan0 mode=vepa"
    assert source(hv2, live=True) == "direct dev=lan0 mode=bridge"
