# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NICs that are attached to running guests: nothing gets out of their links before their guards are on."""

from __future__ import annotations

import pathlib
import re
import typing as t

import direct_iface
import guest_flood
import killed_steps
import pytest
from direct_iface import B, C, ok
from flooded_lan import OWN, Lan, lan_of
from pending import settled
from support import PYTHON, ROOT, ansible_path, run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
D = "52:54:00:00:00:0d"
NAMED = re.compile("mvg[0-9a-f]{12}")
_TESTS = str(pathlib.Path(guest_flood.__file__).parent)
# A guest without an operating system sends nothing. So its frames are written into its tap, at the very moment when
# libvirt has attached the NIC. It releases a NIC only when it is reset.
_WRITE = f"""
import os, sys
sys.path.append({_TESTS!r})
import guest_flood, guest_frames
def write(link, mac):
    tap = guest_frames.open_tap(link)
    for frame in guest_flood.forged(bytes.fromhex(mac.replace(":", ""))).values():
        os.write(tap, frame.ljust(60, b"\\0"))
    os.close(tap)
"""
_AT_ONCE = (
    _WRITE
    + """
import libvirt, nftables, re
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader
real_attach, real_detach = libvirt.virDomain.attachDeviceFlags, libvirt.virDomain.detachDeviceAlias
def attach(domain, text, flags):
    result = real_attach(domain, text, flags)
    mac = re.search("mac address='(.*?)'", text.replace('"', "'"))[1]
    (nic,) = [one for one in re.findall("<interface.*?</interface>", domain.XMLDesc(0), re.S) if mac in one]
    if "<interface type='direct'" in nic:
        write(re.search("<target dev='(.*?)'", nic)[1], mac)
    return result
real_commands = nftables.Nftables.json_cmd
def json_cmd(self, commands):
    rules = [one["add"]["rule"] for one in commands["nftables"] if "rule" in one.get("add", {})]
    for rule in rules:
        if "jump" in str(rule["expr"]) and rule["chain"].startswith("link_"):
            index = int(rule["comment"].split()[1])
            with open("/run/at-opening", "a") as file:
                print(loader.programs().policy(index), file=file)
    return real_commands(self, commands)
nftables.Nftables.json_cmd = json_cmd
def detach(domain, alias, flags):
    result = real_detach(domain, alias, flags)
    domain.reset(0)
    return result
libvirt.virDomain.attachDeviceFlags, libvirt.virDomain.detachDeviceAlias = attach, detach
"""
)
# LINK MAC SECONDS: closed, by a clock that is so many seconds ahead.
_CLOSE = """
import nftables, sys, time
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
link, mac, seconds = sys.argv[1:]
commands = [{"add": {"table": {"family": nft.FAMILY, "name": nft.TABLE}}}]
commands += nft.close_link(link, mac, time.time() + int(seconds))
code, _output, error = nftables.Nftables().json_cmd({"nftables": commands})
sys.exit(error if code else 0)
"""
# As it is before Linux 6.16.
_OLD_KERNEL = """
import json, nftables, os
real = nftables.Nftables.json_cmd
def json_cmd(self, commands):
    for one in commands["nftables"]:
        link = one.get("add", {}).get("chain", {}).get("dev")
        if link and not os.path.exists(f"/sys/class/net/{link}"):
            return 1, "", "Error: Could not process rule: No such file or directory"
    return real(self, commands)
nftables.Nftables.json_cmd = json_cmd
"""
# The running guest refuses the first slot, after its link was there and udev has put the guard on.
_SLOT = """
import subprocess
other_attach = libvirt.virDomain.attachDeviceFlags
attempts = []
def refusing(domain, text, flags):
    attempts.append(re.search("target dev=.([a-z0-9]+)", text)[1])
    if len(attempts) == 1:
        words = f"{attempts[0]} link eth0 address 52:54:00:00:00:0b type macvtap mode bridge"
        subprocess.run(["ip", "link", "add", *words.split()], check=True)
        assert loader.main(["link", attempts[0]]) == 0
        subprocess.run(["ip", "link", "del", attempts[0]], check=True)
        raise libvirt.libvirtError("PCI slot is in use")
    return other_attach(domain, text, flags)
libvirt.virDomain.attachDeviceFlags = refusing
"""


class Guest:
    """web1 has the NIC A, and gets B, for which there is a guard. The LAN sees what B sends."""

    def __init__(self, hv: Hypervisor, lan: Lan) -> None:
        self.hv, self.lan, self.mac = hv, lan, B

    def iface(self, patch: str = _AT_ONCE, **params: t.Any) -> dict[str, t.Any]:
        given = params if "interfaces" in params else {"domain": "web1", "mac": self.mac, "source": "eth0", **params}
        return run_module("libvirt_direct_iface", given, prefix=self.hv.prefix, patch=patch, diff=True)

    def guard(self, **params: t.Any) -> dict[str, t.Any]:
        given = {"mac": self.mac, **({} if params else {"addresses": ["192.0.2.10"]}), **params}
        return ok(run_module("macvtap_guard", given, prefix=self.hv.prefix))

    def links(self) -> list[str]:
        found = ok(run_module("macvtap_guard_info", {"macs": [self.mac]}, prefix=self.hv.prefix))["guards"]
        return t.cast("list[str]", found[0]["links"])

    def target(self) -> str:
        found = re.search("<target dev='(.*?)'", direct_iface.element(self.hv.dump("web1", live=True), self.mac))
        assert found
        return found[1]

    def arrived(self) -> set[str]:
        """Let it send, and return what has arrived of that and of what it has sent before."""
        self.hv.run(PYTHON, "-c", f"{_WRITE}\nwrite({self.target()!r}, {self.mac!r})")
        return self.lan.until()

    def ours(self, code: str, *words: str) -> None:
        """Run code that may import the collection."""
        self.hv.run("env", f"PYTHONPATH={ROOT / '.collections'}:{ansible_path()}", PYTHON, "-c", code, *words)

    def closed(self) -> list[str]:
        """Return the names that are closed."""
        return re.findall(r"closed (\S+)\"", self.table())

    def table(self) -> str:
        return self.hv.nft("list table netdev linuxvirt_macvtap")


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
    ok(guest.iface(patch=_AT_ONCE + _OLD_KERNEL))
    assert guest.links() == [guest.target()]
    assert guest.target().startswith("macvtap")
    # As docs/guard.md says.
    guest.lan.until({"own", "mac", "arp", "router"})
    assert guest.arrived() == OWN


def test_a_nic_that_is_not_attached_leaves_nothing_closed(guest: Guest) -> None:
    assert "nonsense" in guest.iface(model="nonsense")["msg"]
    assert "mvg" not in guest.table()


def test_a_link_that_a_killed_run_has_closed_is_opened_by_the_next_ones(guest: Guest) -> None:
    params = {"domain": "web1", "mac": B, "source": "eth0"}
    # Closed.
    assert killed_steps.killed("libvirt_direct_iface", params, prefix=guest.hv.prefix, after=1)
    assert B not in guest.hv.dump("web1", live=True)
    assert len(guest.closed()) == 1
    assert guest.guard()["changed"]
    assert "mvg" not in guest.table()
    assert not guest.guard()["changed"]
    # Attached.
    assert killed_steps.killed("libvirt_direct_iface", params, prefix=guest.hv.prefix, after=2)
    name = guest.target()
    assert guest.closed() == [name]
    guest.hv.run(PYTHON, "-c", f"{_WRITE}\nwrite({name!r}, {B!r})")
    # As udev does.
    guest.hv.run(PYTHON, "/etc/linuxvirt-macvtap/guard", "link", name)
    assert guest.arrived() == OWN
    assert guest.links() == [name]


@pytest.mark.parametrize("target", ["", "web0"])
def test_each_attempt_to_attach_a_nic_is_closed(guest: Guest, target: str) -> None:
    done = ok(guest.iface(patch=_AT_ONCE + _SLOT, target=target, pci_address="0000:05:00.0"))
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
        assert f"closed {name}" in guest.table()
    # Other NICs have the names by then, and no guard. One is attached, and one is of a guest that starts.
    ok(run_module("libvirt_direct_iface", {**params, "mac": C, "target": "web0"}, prefix=guest.hv.prefix))
    assert "closed web0" not in guest.table()
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
    guest.ours(_CLOSE, guest.target(), B, "-61")
    assert "closed" in guest.table()
    assert guest.arrived() > OWN
    guest.guard()
    assert "closed" not in guest.table()


def test_a_nic_whose_guard_is_removed_meanwhile_is_not_left_closed(guest: Guest) -> None:
    guest.guard(state="absent")
    ok(guest.iface(patch=""))
    # As the run has done that attaches it, before the other one.
    guest.ours(_CLOSE, guest.target(), B, "0")
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
