# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Hosts between which guests migrate, where a guest is, and what the LAN notices of it meanwhile.

The hosts reach each other as qemu+ssh://hv2/system and qemu+tls://hv2/system. Their uplinks have unlike names, and are
plugged into one switch. That switch is a place on the LAN that no guest leaves or comes to.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import types
import typing as t
from dataclasses import dataclass

import guest_traffic
import lan
import libvirtd_fixture
from direct_iface import A, attempt, element, nic
from labkit import cells, guest, image
from libvirtd_fixture import Hypervisor
from support import run_module, until

if t.TYPE_CHECKING:
    from labkit.hypervisor import System

UPLINKS = {"hv1": "eth0", "hv2": "lan0", "hv3": "enp7s0"}
ECHO_PORT = 7
# Of a guest that has booted once: to boot takes ten times as long as to restore it.
_IMAGE = "/run/moved-guests.save"


@dataclass(frozen=True)
class Guest:
    """A running guest: its address on the LAN, where it echoes at ``ECHO_PORT`` too, and its kernel's boot ID."""

    name: str
    mac: str
    address: str
    boot_id: str


@dataclass(frozen=True)
class Where:
    """The hosts, by name, where a domain runs, where it is paused, and where it is stored."""

    runs: list[str]
    paused: list[str]
    stored: list[str]


@dataclass
class Hosts:
    """The first one is where guests start. ``lan`` is the command that runs another one on the switch."""

    all: list[Hypervisor]
    booted: Guest | None = None

    @property
    def source(self) -> Hypervisor:
        return self.all[0]

    @property
    def destination(self) -> Hypervisor:
        return self.all[1]

    @property
    def lan(self) -> list[str]:
        return cells.enter(self.source.lab.switch)

    def on(self, name: str) -> Hypervisor:
        return next(hv for hv in self.all if hv.cell.name == name)

    def clear(self) -> None:
        """Remove all domains and networks."""
        for hv in self.all:
            hv.clear()

    def reset(self) -> None:
        """Make them as they were at first; see that no more is left."""
        for hv in self.all:
            hv.reset()


@contextlib.contextmanager
def made(
    lab: str,
    names: tuple[str, ...] = ("hv1", "hv2"),
    indexes: int = 1024,
    systems: t.Mapping[str, System] = types.MappingProxyType({}),
) -> t.Iterator[Hosts]:
    """Make a lab of this name with two hosts, or with hv3 too, and remove it afterwards.

    ``systems`` has what single ones run in place of the others' system, by name.
    """
    uplinks = {name: UPLINKS[name] for name in names}
    with libvirtd_fixture.hypervisors(
        lab, names, indexes, management_network=True, uplinks=uplinks, systems=systems
    ) as hosts:
        for hv in hosts:
            # libvirt has a guest's kernel and initramfs read on each host, and copies none.
            guest.install_image(hv.cell, image.build(image.cache_dir(None)))
        yield Hosts(hosts)


def uri(hv: Hypervisor, transport: str = "ssh") -> str:
    """Return what the other hosts reach this one's libvirt by; ``transport`` is ssh or tls."""
    return f"qemu+{transport}://{hv.cell.name}/system"


def boot(hv: Hypervisor, name: str, *nics: str) -> Guest:
    """Start a new guest, and wait until it has its lease on its first NIC, and echoes."""
    hv.define_guest(name, *nics)
    hv.virsh("start", name)
    script = f"""
until ip -4 address show dev eth0 | grep -q inet; do sleep 0.1; done
setsid nc -ll -p {ECHO_PORT} -e cat </dev/null >/dev/null 2>&1 &
until grep -q ':{ECHO_PORT:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done
cat /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id
ip -4 address show dev eth0
"""
    mac, boot_id, shown = hv.in_guest(name, "sh", "-c", script).split("\n", 2)
    address = re.search(r"inet ([0-9.]+)/", shown)
    assert address, shown
    return Guest(name, mac, address[1], boot_id)


def prepare(hosts: Hosts) -> Guest:
    """Boot the guest that start() restores, unless that was done before.

    It boots on the uplink itself. Who makes something else of that, such as a port of a bridge, prepares it first.
    """
    if hosts.booted is None:
        hv = hosts.source
        guest_booted = boot(hv, "web1", nic(A, hv.uplink))
        hv.virsh("save", "web1", _IMAGE, "--running")
        hv.virsh("undefine", "web1")
        hosts.booted = guest_booted
    return hosts.booted


def start(hosts: Hosts, interface: str = "") -> Guest:
    """Start the guest web1 on the source, with a virtio NIC of the MAC address A, by default on the uplink itself.

    Only the first one of these hosts boots. All others are restored as that was then.
    """
    hv, booted = hosts.source, prepare(hosts)
    xml = hv.virsh("save-image-dumpxml", _IMAGE, "--security-info")
    if interface:
        xml = xml.replace(element(xml, A), interface)
    hv.define(xml)
    hv.virsh("restore", _IMAGE, "--xml", "/dev/stdin", stdin=xml)
    return booted


def migrate(source: Hypervisor, name: str, to: str, *words: str) -> str:
    """Migrate a running guest, and its stored configuration, by plain virsh on its host; return the error, or "".

    The guest is stopped meanwhile, unless ``words`` has --live. On a busy machine an emulated guest does not always
    survive that (QEMU 7.2): of some ten, one has rebooted, or its kernel has lost the state of a connection.
    """
    return attempt(source, "migrate", name, to, "--p2p", "--persistent", "--undefinesource", *words)


def options(source: Hypervisor, destination: Hypervisor, **more: t.Any) -> dict[str, t.Any]:
    """Return the options of libvirt_guest_migrate that move web1 from one host to the other's uplink.

    The guest is stopped meanwhile, unless ``more`` has ``live``: see migrate().
    """
    uplinks = {source.uplink: destination.uplink}
    return {"domain": "web1", "destination_uri": uri(destination), "uplinks": uplinks, "live": False, **more}


def move(
    source: Hypervisor, destination: Hypervisor, *, check: bool = False, patch: str = "", **more: t.Any
) -> dict[str, t.Any]:
    """Move web1 by libvirt_guest_migrate, which runs on the source, and return its result."""
    given = options(source, destination, **more)
    return run_module(
        "libvirt_guest_migrate",
        given,
        check=check,
        diff=True,
        python=source.python,
        prefix=source.prefix,
        patch=patch,
    )


def where(hosts: Hosts, name: str) -> Where:
    """Return where a domain is at this moment."""

    def listed(*words: str) -> list[str]:
        return [hv.cell.name for hv in hosts.all if name in hv.virsh("list", "--name", *words).split()]

    return Where(listed("--state-running"), listed("--state-paused"), listed("--all", "--persistent"))


def assert_whole(hosts: Hosts, guest: Guest, on: Hypervisor) -> None:
    """Check that a guest runs on this host alone, as it was, is stored there alone, and that no other has its link."""
    name = on.cell.name
    assert where(hosts, guest.name) == Where([name], [], [name])
    assert on.in_guest(guest.name, "cat", "/proc/sys/kernel/random/boot_id").strip() == guest.boot_id
    others = {hv.cell.name: [link for link in hv.macvtaps() if link[2] == guest.mac] for hv in hosts.all if hv != on}
    assert not any(others.values()), others
    assert answers(hosts, guest)


def answers(hosts: Hosts, guest: Guest) -> bool:
    """Whether a guest answers to the LAN, within some seconds."""
    argv = [*hosts.lan, sys.executable, lan.TOOL, "ping", guest.address]
    return until(lambda: subprocess.run(argv, check=False, timeout=30).returncode == 0, 10)


def watched(hosts: Hosts, guest: Guest) -> t.ContextManager[list[guest_traffic.Noticed]]:
    """As ``guest_traffic.watched``, from the switch."""
    return guest_traffic.watched(hosts.lan, guest.address)


def streaming(hosts: Hosts, guest: Guest) -> t.ContextManager[None]:
    """As ``guest_traffic.streaming``, from the switch."""
    return guest_traffic.streaming(hosts.lan, guest.address, ECHO_PORT)
