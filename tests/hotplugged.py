# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A running guest that gets a NIC with a guard, which sends what is forged at the very moment when it has it."""

from __future__ import annotations

import pathlib
import re
import typing as t

import direct_iface
import guest_flood
from direct_iface import B, ok
from support import PYTHON, ROOT, ansible_path, run_module

if t.TYPE_CHECKING:
    from flooded_lan import Lan
    from libvirtd_fixture import Hypervisor

_TESTS = str(pathlib.Path(guest_flood.__file__).parent)
# A guest without an operating system sends nothing. So its frames are written into its tap, at the very moment when
# libvirt has attached the NIC. It releases a NIC only when it is reset.
WRITE = f"""
import os, sys
sys.path.append({_TESTS!r})
import guest_flood, guest_frames
def write(link, mac):
    tap = guest_frames.open_tap(link)
    for frame in guest_flood.forged(bytes.fromhex(mac.replace(":", ""))).values():
        os.write(tap, frame.ljust(60, b"\\0"))
    os.close(tap)
"""
AT_ONCE = (
    WRITE
    + """
import libvirt, nftables, re
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_loader, loader
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
                print(guard_loader.programs().policy(index), file=file)
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
CLOSE = """
import nftables, sys, time
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft, guard_table
link, mac, seconds = sys.argv[1:]
chain = nft.chain_of(link)
former = guard_table.GuardTable().rules(chain).get(chain)
commands = [{"add": {"table": {"family": nft.FAMILY, "name": nft.TABLE}}}]
commands += nft.close_link(link, mac, time.time() + int(seconds), former)
code, _output, error = nftables.Nftables().json_cmd({"nftables": commands})
sys.exit(error if code else 0)
"""
# As it is before Linux 6.16.
OLD_KERNEL = """
import json, nftables, os
real = nftables.Nftables.json_cmd
def json_cmd(self, commands):
    for one in commands["nftables"]:
        link = one.get("add", one.get("create", {})).get("chain", {}).get("dev")
        if link and not os.path.exists(f"/sys/class/net/{link}"):
            return 1, "", "Error: Could not process rule: No such file or directory"
    return real(self, commands)
nftables.Nftables.json_cmd = json_cmd
"""
# No guard can be put on.
UNOPENED = """
import nftables
real = nftables.Nftables.json_cmd
def json_cmd(self, commands):
    return (1, "", "Error: no room") if "'jump': {'target': 'guard_" in str(commands) else real(self, commands)
nftables.Nftables.json_cmd = json_cmd
"""
# MAC LINK TEXT: the keeper's command fails, and says so.
FAILED_OPEN = (
    UNOPENED
    + """
import contextlib, io, sys
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader
mac, link, text = sys.argv[1:]
with contextlib.redirect_stderr(io.StringIO()) as errors:
    assert loader.main(["open", mac, link]) == 1
assert text in errors.getvalue() and "no room" in errors.getvalue(), errors.getvalue()
"""
)
# The running guest refuses the first slot, after its link was there and udev has put the guard on.
SLOT = """
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

    def iface(self, patch: str = AT_ONCE, **params: t.Any) -> dict[str, t.Any]:
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
        self.hv.run(PYTHON, "-c", f"{WRITE}\nwrite({self.target()!r}, {self.mac!r})")
        return self.lan.until()

    def ours(self, code: str, *words: str) -> None:
        """Run code that may import the collection."""
        self.hv.run("env", f"PYTHONPATH={ROOT / '.collections'}:{ansible_path()}", PYTHON, "-c", code, *words)

    def closed(self) -> list[str]:
        """Return the names that are closed."""
        return re.findall(r"closed@\d+ (\S+)\"", self.table())

    def table(self) -> str:
        return self.hv.nft("list table netdev linuxvirt_macvtap")
