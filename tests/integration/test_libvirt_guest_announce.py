# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that their host announces: the switch learns where they are. They have no operating system, so say nothing."""

from __future__ import annotations

import json
import subprocess
import typing as t

import direct_iface
import moved_guests
import pytest
from direct_iface import A, Result, domain, nic, ok
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor
    from moved_guests import Hosts

pytestmark = direct_iface.MARKS
# Nothing gets out of the uplink.
DROPPING = (
    "add table netdev mute; add chain netdev mute out "
    "{{ type filter hook egress device {uplink} priority 0; policy drop; }}"
)


QUIET = "/proc/sys/net/ipv6/conf/default/disable_ipv6"


@pytest.fixture
def quiet(hv: Hypervisor) -> t.Iterator[Hypervisor]:
    """A host that itself sends nothing on new links: each is up for a moment before its guest has the tap."""
    hv.run("sh", "-c", f"echo 1 >{QUIET}")
    yield hv
    hv.run("sh", "-c", f"echo 0 >{QUIET}")


def announce(hv: Hypervisor, *, check: bool = False, name: str = "web1", **more: t.Any) -> Result:
    return run_module("libvirt_guest_announce", {"domain": name, **more}, check=check, prefix=hv.prefix)


def forget(hv: Hypervisor) -> None:
    """Let the switch forget what it has learnt at this host's port."""
    in_switch = ["ip", "-n", hv.lab.switch.netns]
    subprocess.run([*in_switch, "link", "set", hv.cell.ports["eth0"], "type", "bridge_slave", "fdb_flush"], check=True)


def is_learnt(hv: Hypervisor) -> bool:
    """Whether the switch has learnt that the address A is behind this host's port."""
    command = ["bridge", "-n", hv.lab.switch.netns, "-j", "fdb", "show", "brport", hv.cell.ports["eth0"]]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return A in [one["mac"] for one in json.loads(found)]


def start(hv: Hypervisor, mode: str = "bridge", more: str = "") -> None:
    hv.define(domain("web1", nic(A, hv.uplink, mode, more)))
    hv.virsh("start", "web1")
    forget(hv)


@pytest.mark.parametrize("mode", ["bridge", "vepa", "private", "passthrough"])
def test_the_switch_learns_where_a_guest_is_in_every_mode(quiet: Hypervisor, mode: str) -> None:
    start(quiet, mode)
    assert ok(announce(quiet, check=True))["interfaces"][0]["announced"] is False
    assert not is_learnt(quiet)
    done = ok(announce(quiet))
    ((link, *_rest),) = quiet.macvtaps()
    assert done["interfaces"] == [{"mac": A, "link": link, "uplink": "eth0", "announced": True, "reason": None}]
    assert (done["changed"], done["running"]) == (False, True)
    assert is_learnt(quiet)


def test_a_guest_that_does_not_run_is_not_announced(quiet: Hypervisor) -> None:
    start(quiet)
    quiet.virsh("suspend", "web1")
    (paused,) = ok(announce(quiet))["interfaces"]
    assert (paused["announced"], paused["reason"]) == (False, "the guest is paused")
    quiet.virsh("destroy", "web1")
    stopped = ok(announce(quiet))
    assert (stopped["running"], stopped["interfaces"]) == (False, [])
    assert not is_learnt(quiet)


def test_a_link_that_is_set_down_is_not_announced(quiet: Hypervisor) -> None:
    start(quiet, more="<link state='down'/>")
    (found,) = ok(announce(quiet))["interfaces"]
    assert (found["announced"], found["reason"]) == (False, "its link is set down (link_state)")
    assert not is_learnt(quiet)


def test_a_guest_that_cannot_be_heard_is_named_and_not_announced(quiet: Hypervisor) -> None:
    start(quiet)
    ((link, *_rest),) = quiet.macvtaps()
    begins = f"domain: domain 'web1' runs on hv1. These NICs could not be announced on the LAN: {A}: "
    quiet.run("ip", "link", "set", link, "down")
    assert announce(quiet)["msg"] == f"{begins}its link {link} is down"
    quiet.run("ip", "link", "set", link, "up")
    quiet.nft(DROPPING.format(uplink="eth0"))
    try:
        assert announce(quiet)["msg"].startswith(f"{begins}no frame with its address was seen to leave eth0")
    finally:
        quiet.nft("delete table netdev mute")
    assert not is_learnt(quiet)
    ok(announce(quiet))


def test_a_link_that_goes_meanwhile_ends_it(quiet: Hypervisor) -> None:
    start(quiet)
    announcing = "ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.announcing"
    patch = (
        f"import subprocess\nfrom {announcing} import _Path as path\nreal = path.send\n"
        "def send(self):\n    real(self)\n    subprocess.run(['ip', 'link', 'set', self.asked.link, 'down'])\n"
        "path.send = send\n"
    )
    failed = run_module("libvirt_guest_announce", {"domain": "web1"}, prefix=quiet.prefix, patch=patch)
    assert failed["msg"].endswith("has gone, or is down: the guest has stopped, or left this host")


def test_what_is_wrong_is_named(quiet: Hypervisor) -> None:
    quiet.define(domain("web1", nic(A)))
    assert announce(quiet, name="wep1")["msg"] == "domain: hv1 has no domain 'wep1'; did you mean web1?"
    remote = announce(quiet, uri="qemu+ssh://hv2/system")
    assert remote["msg"].startswith("uri: qemu+ssh://hv2/system is not this host's own libvirt")


def test_a_guarded_guest_is_heard_after_its_move(hosts: Hosts) -> None:
    hv1, hv2 = hosts.all
    hv1.define(domain("web1", nic(A)))
    hv1.virsh("start", "web1")
    ok(run_module("libvirt_guest_rules", {"nics": [{"mac": A, "guard": {}}]}, prefix=hv2.prefix))
    hv2.restart()
    ok(moved_guests.move(hv1, hv2))
    forget(hv2)
    (found,) = ok(announce(hv2))["interfaces"]
    assert (found["uplink"], found["announced"]) == (hv2.uplink, True)
    assert is_learnt(hv2)
