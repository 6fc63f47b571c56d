# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One of the lab's hypervisors, for tests of what talks to libvirt."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import types
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

import left_over
import preloaded
from support import OTHER_ROOT, PYTHON, ROOT, ansible_path

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import cells, guest, image, lifecycle, management, model, switch
from labkit.hypervisor import System


def system_in(root: str | Path) -> System:
    """Return the system that has this root directory, as the tests' hypervisors run it."""
    return System(Path(root), (ROOT, Path(ansible_path())))


SYSTEM = system_in(OTHER_ROOT or "/")


# What macvtap_guard installs with the first guard.
GUARD_FILES = (
    "/etc/linuxvirt-macvtap/guard* /etc/linuxvirt-macvtap/checksum* /etc/udev/rules.d/*macvtap-guard* "
    "/etc/libvirt/hooks/qemu.d/macvtap-guard "
    "/etc/systemd/system/macvtap-guard.service /etc/systemd/system/*/macvtap-guard.*"
)
# Where it says that libvirt's own rules are gone too, which it sets once: it then starts no network that needs them.
_FLUSHED = "/run/nftables-flushed"


@dataclass(frozen=True)
class Hypervisor:
    """``prefix`` is the command that runs another one on it. Beside its uplink it has the link up1."""

    cell: model.Cell
    uplink: str = model.UPLINK
    system: System = SYSTEM

    @property
    def daemon(self) -> str:
        """Either libvirtd or, where libvirt has a daemon for each driver, virtqemud."""
        return self.system.daemon

    @property
    def python(self) -> str:
        """What runs modules on it."""
        return PYTHON if self.system == SYSTEM else "/usr/bin/python3"

    @property
    def socket(self) -> str:
        return f"/run/libvirt/{'libvirt' if self.daemon == 'libvirtd' else self.daemon}-sock"

    @property
    def uri(self) -> str:
        """What the machine itself reaches this hypervisor's daemon by."""
        return f"qemu+unix:///system?socket={cells.root_of(self.cell)}{self.socket}"

    @property
    def release(self) -> int:
        """The major version of libvirt."""
        return int(self.run("virsh", "--version").split(".")[0])

    @property
    def lab(self) -> model.Lab:
        return model.require(self.cell.lab)

    @property
    def prefix(self) -> list[str]:
        return cells.enter(self.cell)

    def macvtaps(self) -> list[tuple[str, int, str]]:
        """Return name, index and MAC address of each macvtap link; its operational state may follow a second later."""
        links = json.loads(self.run("ip", "-j", "link", "show", "type", "macvtap"))
        return [(link["ifname"], link["ifindex"], link["address"]) for link in links if link]

    def run(self, *command: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*self.prefix, *command], input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def virsh(self, *arguments: str, stdin: str = "") -> str:
        return self.run("virsh", "--quiet", "--connect", "qemu:///system", *arguments, stdin=stdin)

    def hairpin(self, on: bool) -> None:
        """Let the switch port that the uplink is plugged into reflect frames, or not."""
        switch.set_hairpin(self.lab, self.cell, on)

    @property
    def start_script(self) -> str:
        """A shell script that starts this hypervisor's libvirtd, once an ended one has released its lock."""
        start = shlex.join(self.system.start_daemon(self.lab))
        return f"for try in $(seq 300); do {start} && exit; sleep 0.1; done; exit 1"

    @property
    def restart_script(self) -> str:
        """A shell script that kills this hypervisor's libvirtd, and starts it again."""
        return f"kill -KILL $(cat /run/{self.daemon}.pid); {self.start_script}"

    def restart(self) -> None:
        self.run("sh", "-c", self.restart_script)

    def revive(self) -> None:
        """Start libvirtd if a test left none, so that one failure stays one."""
        answer = subprocess.run(
            [*self.prefix, "virsh", "-c", "qemu:///system", "uri"], capture_output=True, check=False
        )
        if answer.returncode:
            self.run("sh", "-c", self.start_script)

    def flushed(self) -> None:
        """Note that nftables is flushed. libvirt, which makes its chains once, is restarted before the next tests."""
        self.run("touch", _FLUSHED)

    def nft(self, command: str) -> str:
        """Let the library carry out a command of nft, and return what it says."""
        if "flush ruleset" in command:
            self.flushed()
        code = "import nftables, sys; print(nftables.Nftables().cmd(sys.argv[1])[1])"
        return self.run("/usr/bin/python3", "-c", code, command)

    def define(self, xml: str) -> None:
        self.virsh("define", "/dev/stdin", stdin=xml)

    def dump(self, domain: str, *, live: bool = False) -> str:
        return self.virsh("dumpxml", "--security-info", *(() if live else ("--inactive",)), domain)

    def define_guest(self, name: str, *interfaces: str, memory: int = 192) -> None:
        """Define a guest with an operating system, which answers hot-plug, and with so many MiB of memory."""
        guest.define(self.cell, name, image.cache_dir(None), memory=memory, interfaces=interfaces)

    def in_guest(self, name: str, *command: str) -> str:
        """Run a command in a guest, once it has booted, and return what it says."""
        return str(guest.execute(self.cell, name, command)["stdout"])

    def clear(self) -> None:
        """Remove all domains, and then all networks, in whatever state a test left them."""
        self.revive()
        for name in self.virsh("list", "--name").split():
            self.virsh("destroy", name)
        for name in self.virsh("list", "--all", "--name").split():
            self.virsh("undefine", "--managed-save", name)
        # A transient network goes with its end.
        for name in self.virsh("net-list", "--name").split():
            self.virsh("net-destroy", name)
        for name in self.virsh("net-list", "--all", "--name").split():
            self.virsh("net-undefine", name)

    def reset(self) -> None:
        """Remove all domains, networks and guards, links but its own and a new up1; see that no more is left."""
        self.clear()
        if self.run("sh", "-c", f"rm {_FLUSHED} 2>/dev/null && echo flushed || true"):
            self.restart()
        self.run("sh", "-c", f"rm -rf {GUARD_FILES}")
        self.hairpin(False)
        stay = {"lo", self.uplink, management.LINK}
        names = {link["ifname"] for link in json.loads(self.run("ip", "-j", "link"))} - stay
        # Some go with another, and the kernel's own stay.
        self.run("sh", "-c", 'for name; do ip link del "$name" 2>/dev/null; done; true', "sh", *sorted(names))
        self.add_up1()
        left_over.clear(self.run, self.uplink)

    def add_up1(self) -> None:
        self.run("ip", "link", "add", "up1", "type", "veth", "peer", "name", "far1")
        for link in ("up1", "far1"):
            self.run("ip", "link", "set", link, "up")


@contextlib.contextmanager
def hypervisors(
    lab: str,
    names: tuple[str, ...],
    indexes: int = 1024,
    *,
    management_network: bool = False,
    uplinks: t.Mapping[str, str] = types.MappingProxyType({}),
    systems: t.Mapping[str, System] = types.MappingProxyType({}),
) -> t.Iterator[list[Hypervisor]]:
    """Make a lab of this name with these hypervisors, and remove it afterwards.

    By a management network each reaches the others as qemu+ssh://hv2/system, or qemu+tls://hv2/system. ``uplinks`` has
    the names of those that are not called eth0, by hypervisor, and ``systems`` what single ones run in place of SYSTEM.
    """
    prefixes: list[list[str]] = []
    try:
        declared = replace(model.declare(lab, names), management=management_network)
        lifecycle.create(declared, index_count=indexes, system=SYSTEM, systems=systems)
        made = [
            Hypervisor(declared.hypervisor(name), uplinks.get(name, model.UPLINK), systems.get(name, SYSTEM))
            for name in names
        ]
        for one in made:
            if one.uplink != model.UPLINK:
                # Before Linux 6.2 a link had to be down for it.
                for words in ((model.UPLINK, "down"), (model.UPLINK, "name", one.uplink), (one.uplink, "up")):
                    one.run("ip", "link", "set", *words)
            one.add_up1()
            left_over.note(one.run, one.uplink)
            prefixes.append(one.prefix)
            preloaded.allow(one.prefix)
        yield made
    finally:
        for prefix in prefixes:
            preloaded.end(prefix)
        lifecycle.destroy(lab)


@contextlib.contextmanager
def hypervisor(lab: str, indexes: int = 1024) -> t.Iterator[Hypervisor]:
    """Make a lab of this name with one hypervisor, and remove it afterwards."""
    with hypervisors(lab, ("hv1",), indexes) as (made,):
        yield made
