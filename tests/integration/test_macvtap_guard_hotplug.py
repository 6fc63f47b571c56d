# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NICs that are attached to running guests: nothing gets out of their links before their guards are on."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import killed_steps
import pytest
from direct_iface import B, C, ok
from flooded_lan import OWN, lan_of
from hotplugged import AT_ONCE, CLOSE, FAILED_OPEN, OLD_KERNEL, SLOT, UNOPENED, WRITE, Guest
from pending import settled
from support import PYTHON, run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
D = "52:54:00:00:00:0d"
NAMED = re.compile("mvg[0-9a-f]{12}")


@pytest.fixture
def guest(started: Hypervisor) -> t.Iterator[Guest]:
    with lan_of(started, B) as lan:
        made = Guest(started, lan)
        made.guard()
        started.run("rm", "-f", "/run/at-opening")
        yield made
        started.clear()
        started.run("sh", "-c", "for one in web2 lan9; do ip link del $one 2>/dev/null; done; true")
        made.guard(state="absent")
        assert "mvg" not in made.table()


def test_nothing_gets_out_of_a_nic_before_its_guard_is_on(guest: Guest) -> None:
    stored = ok(guest.iface())["interfaces"][0]["stored"]
    assert guest.arrived() == OWN
    assert guest.links() == [guest.target()]
    # The name is the running guest's alone, and no difference.
    assert "target" not in stored
    assert guest.target() not in guest.hv.dump("web1")
    assert ok(guest.iface())["changed"] is False
    info = ok(run_module("libvirt_direct_iface_info", {"domains": ["web1"]}, prefix=guest.hv.prefix))
    assert {one["mac"]: one["differences"] for one in info["domains"][0]["interfaces"]}[B] == []
    # A replug, also one that is undone.
    ok(guest.iface(model="e1000e", live="replug"))
    assert guest.arrived() == OWN
    failed = guest.iface(
        live="replug",
        interfaces=[
            {"domain": "web1", "mac": B, "source": "eth0", "model": "virtio"},
            {"domain": "web1", "mac": C, "source": "eth0", "model": "nonsense"},
        ],
    )
    assert "nonsense" in failed["msg"]
    assert "e1000e" in direct_iface.element(guest.hv.dump("web1", live=True), B)
    assert guest.arrived() == OWN
    assert "closed" not in guest.table()
    # Nothing is left of the names that are not used any more.
    assert not guest.guard()["changed"]
    assert {*re.findall("mvg[0-9a-f]{12}", guest.table())} == {guest.target()}
    # No link was opened before the program was there that checks where checksums are written.
    assert {*guest.hv.run("cat", "/run/at-opening").split()} == {"drop"}


def test_a_nic_on_a_network_is_closed_too(guest: Guest) -> None:
    network = "<network><name>lan</name><forward mode='bridge'><interface dev='eth0'/></forward></network>"
    guest.hv.virsh("net-define", "/dev/stdin", stdin=network)
    guest.hv.virsh("net-start", "lan")
    ok(guest.iface(interfaces=[{"domain": "web1", "mac": B, "network": "lan"}]))
    assert NAMED.fullmatch(guest.target())
    assert guest.arrived() == OWN


def test_a_nic_keeps_the_name_that_is_declared(guest: Guest) -> None:
    ok(guest.iface(target="web0"))
    assert guest.arrived() == OWN
    assert guest.links() == [guest.target()] == ["web0"]


def test_a_nic_whose_link_cannot_be_closed_has_its_guard_right_after(guest: Guest) -> None:
    ok(guest.iface(patch=AT_ONCE + OLD_KERNEL))
    assert guest.links() == [guest.target()]
    assert guest.target().startswith("macvtap")
    # As docs/guard.md says.
    guest.lan.until({"own", "mac", "arp", "router"})
    assert guest.arrived() == OWN


def test_a_nic_without_a_guard_is_not_said_to_be_closed_if_it_is_not(guest: Guest) -> None:
    failed = guest.iface(patch=UNOPENED + OLD_KERNEL.replace("real", "other"), on_error="keep")
    assert "the guest may send anything: " in failed["msg"]
    assert "gets out before" not in failed["msg"]
    assert settled(guest.hv)
    # As the keeper does, of one that was closed, and whose minute is over.
    for seconds, text in (("0", "gets out before"), ("-61", "the guest may send anything")):
        guest.ours(CLOSE, guest.target(), B, seconds)
        guest.ours(FAILED_OPEN, B, guest.target(), text)
    guest.guard()
    assert "closed" not in guest.table()


def test_a_nic_that_is_not_attached_leaves_nothing_closed(guest: Guest) -> None:
    assert "nonsense" in guest.iface(model="nonsense")["msg"]
    assert "mvg" not in guest.table()


def test_a_link_that_a_killed_run_has_closed_is_opened_by_the_next_ones(guest: Guest) -> None:
    params = {"domain": "web1", "mac": B, "source": "eth0"}
    # Closed.
    assert killed_steps.killed("libvirt_direct_iface", params, prefix=guest.hv.prefix, after=1)
    assert B not in guest.hv.dump("web1", live=True)
    (name,) = guest.closed()
    # It could be about to come.
    assert guest.guard(addresses=["192.0.2.10"], rate=50000)["changed"]
    assert guest.closed() == [name]
    # As if that had been a minute ago.
    guest.ours(CLOSE, name, B, "-61")
    assert guest.guard()["changed"]
    assert not guest.guard()["changed"]
    assert "mvg" not in guest.table()
    # Attached.
    assert killed_steps.killed("libvirt_direct_iface", params, prefix=guest.hv.prefix, after=2)
    name = guest.target()
    assert guest.closed() == [name]
    guest.hv.run(PYTHON, "-c", f"{WRITE}\nwrite({name!r}, {B!r})")
    # As udev does.
    guest.hv.run(PYTHON, "/etc/linuxvirt-macvtap/guard", "link", name)
    assert guest.arrived() == OWN
    assert guest.links() == [name]


@pytest.mark.parametrize("target", ["", "web0"])
def test_each_attempt_to_attach_a_nic_is_closed(guest: Guest, target: str) -> None:
    done = ok(guest.iface(patch=AT_ONCE + SLOT, target=target, pci_address="0000:05:00.0"))
    assert "PCI slot is in use" in str(done["warnings"])
    assert guest.arrived() == OWN
    assert guest.links() == [guest.target()]


def test_a_nic_of_another_type_that_a_rollback_attaches_gets_no_guard(guest: Guest) -> None:
    """On its link, what the guest sends comes in, and what goes out is for the guest."""
    guest.hv.run("ip", "link", "add", "lan9", "type", "bridge")
    bridged = f"<interface type='bridge'><mac address='{B}'/><source bridge='lan9'/><model type='virtio'/></interface>"
    for where in ("--live", "--config"):
        guest.hv.virsh("attach-device", "web1", "/dev/stdin", where, stdin=bridged)
    failed = guest.iface(
        live="replug",
        interfaces=[
            {"domain": "web1", "mac": B, "source": "eth0", "convert": True},
            {"domain": "web1", "mac": C, "source": "eth0", "model": "nonsense"},
        ],
    )
    assert "nonsense" in failed["msg"]
    assert "The rollback failed" not in failed["msg"]
    assert "type='bridge'" in direct_iface.element(guest.hv.dump("web1", live=True), B)
    assert guest.target() not in guest.table()


def test_a_declared_name_that_a_killed_run_has_closed_silences_no_other_nic(guest: Guest) -> None:
    params = {"domain": "web1", "mac": B, "source": "eth0"}
    for name in ("web0", "web2"):
        given = {**params, "target": name}
        assert killed_steps.killed("libvirt_direct_iface", given, prefix=guest.hv.prefix, after=1)
        assert name in guest.closed()
    # Other NICs have the names by then, and no guard. One is attached, and one is of a guest that starts.
    ok(run_module("libvirt_direct_iface", {**params, "mac": C, "target": "web0"}, prefix=guest.hv.prefix))
    assert guest.closed() == ["web2"]
    guest.hv.run("ip", "link", "add", "web2", "link", "eth0", "type", "macvtap", "mode", "bridge")
    nic = f"<interface type='direct'><mac address='{D}'/><target dev='web2'/></interface>"
    document = f"<domain><devices>{nic}</devices></domain>"
    guest.hv.run(PYTHON, "/etc/linuxvirt-macvtap/guard", "qemu", "web2", "start", "begin", "-", stdin=document)
    assert "closed" not in guest.table()


def test_a_nic_that_was_attached_and_not_opened_is_opened_by_the_next_task(guest: Guest) -> None:
    params = {"domain": "web1", "mac": B, "source": "eth0"}
    assert killed_steps.killed("libvirt_direct_iface", params, prefix=guest.hv.prefix, after=3)
    assert "closed" in guest.table()
    guest.guard()
    assert guest.arrived() == OWN
    assert guest.links() == [guest.target()]


def test_a_nic_that_nobody_opens_is_closed_for_a_minute(guest: Guest) -> None:
    params = {"domain": "web1", "mac": B, "source": "eth0"}
    assert killed_steps.killed("libvirt_direct_iface", params, prefix=guest.hv.prefix, after=2)
    # As if that had been a minute ago.
    guest.ours(CLOSE, guest.target(), B, "-61")
    assert "closed" in guest.table()
    assert guest.arrived() > OWN
    guest.guard()
    assert "closed" not in guest.table()


def test_a_nic_whose_guard_is_removed_meanwhile_is_not_left_closed(guest: Guest) -> None:
    guest.guard(state="absent")
    ok(guest.iface(patch=""))
    # As the run has done that attaches it, before the other one.
    guest.ours(CLOSE, guest.target(), B, "0")
    assert "closed" in guest.table()
    # As the keeper does.
    code = "from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader; import sys; "
    guest.ours(f"{code} sys.exit(loader.main(sys.argv[1:]))", "open", B, guest.target())
    assert "closed" not in guest.table()


def test_what_a_guest_releases_late_is_closed_too(guest: Guest) -> None:
    ok(guest.iface(patch=""))
    # The keeper attaches it.
    ok(guest.iface(patch="", model="e1000e", live="replug", timeout=0))
    guest.hv.virsh("reset", "web1")
    assert until(lambda: "e1000e" in guest.hv.dump("web1", live=True))
    assert settled(guest.hv)
    assert NAMED.fullmatch(guest.target())
    assert guest.links() == [guest.target()]
    assert guest.arrived() == OWN
    assert "closed" not in guest.table()


def test_a_nic_that_a_run_puts_no_guard_on_gets_it_from_the_keeper(guest: Guest) -> None:
    failed = guest.iface(patch=UNOPENED, on_error="keep")
    assert "has no guard" in failed["msg"]
    assert re.search("gets out before [0-9:]{8} UTC: .*no room", failed["msg"])
    assert settled(guest.hv)
    assert guest.links() == [guest.target()]
    assert guest.arrived() == OWN
    assert "closed" not in guest.table()


def test_a_guest_is_restored_beside_another_that_has_its_mac_address(guest: Guest) -> None:
    """On another LAN. If a NIC is to get the name of a link, libvirt 9.0 deletes that link."""
    ok(guest.iface(patch=""))
    image = "/run/web1.saved"
    guest.hv.virsh("save", "web1", image)
    guest.hv.virsh("detach-device", "web1", "/dev/stdin", "--config", stdin=direct_iface.nic(B))
    guest.hv.define(direct_iface.domain("web2", direct_iface.nic(D)))
    guest.hv.virsh("start", "web2")
    ok(guest.iface(patch="", domain="web2", source="up1"))
    guest.hv.virsh("restore", image)
    guest.hv.run("rm", image)
    names = {re.findall("<target dev='(mvg.*?)'", guest.hv.dump(one, live=True))[0] for one in ("web1", "web2")}
    guest.guard()
    assert len(names) == 2
    assert {*guest.links()} == names
