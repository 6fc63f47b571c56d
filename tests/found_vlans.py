# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests of two hypervisors in several VLANs, two of which have the same addresses.

Where the kernel has no VLAN links, each VLAN is a bridge of its own, and its uplinks only have the name of such a link.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import tempfile
import time
import typing as t

from labkit import guest, image, model

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

# Their networks; the first two have the same.
VLANS = {10: "192.0.2", 20: "192.0.2", 30: "198.51.100"}


class Placed(t.NamedTuple):
    """A guest with one NIC: its number, from which its name and MAC address follow, and where it is."""

    number: int
    hv: Hypervisor
    vlan: int
    mode: str = "bridge"

    @property
    def name(self) -> str:
        return f"vm{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:00:10:{self.number:02x}"

    @property
    def interface(self) -> str:
        return (
            f"<interface type='direct'><mac address='{self.mac}'/>"
            f"<source dev='eth0.{self.vlan}' mode='{self.mode}'/><model type='virtio'/></interface>"
        )


class Vlan:
    """A LAN with DHCP, to which each hypervisor has an uplink."""

    def __init__(self, number: int, hypervisors: t.Sequence[Hypervisor], directory: pathlib.Path) -> None:
        self.number = number
        self.network = VLANS[number]
        self.netns = f"{model.require(hypervisors[0].cell.lab).name}-v{number}"
        self._leases = directory / f"leases{number}"
        self._hosts = directory / f"hosts{number}"
        self._hosts.write_text("")
        run("ip", "netns", "add", self.netns)
        ip = ["ip", "-n", self.netns]
        run(*ip, "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        run(*ip, "address", "add", f"{self.network}.1/24", "dev", "br0")
        run(*ip, "link", "set", "br0", "up")
        for hv in hypervisors:
            uplink, port = f"eth0.{number}", f"port-{hv.cell.name}"
            run(*ip, "link", "add", port, "type", "veth", "peer", "name", uplink, "netns", hv.cell.netns)
            run(*ip, "link", "set", port, "master", "br0", "up")
            run("ip", "-n", hv.cell.netns, "link", "set", uplink, "up")
        words = (
            f"--keep-in-foreground --port=0 --conf-file=/dev/null --log-facility={directory}/log{number} --pid-file="
        )
        words += " --user=root --group=root --interface=br0 --bind-interfaces --no-ping --dhcp-authoritative"
        words += f" --dhcp-range={self.network}.50,{self.network}.250,255.255.255.0,1h"
        words += f" --dhcp-leasefile={self._leases} --dhcp-hostsfile={self._hosts}"
        self._dnsmasq = subprocess.Popen(["ip", "netns", "exec", self.netns, "dnsmasq", *words.split()])

    def reserve(self, addresses: t.Mapping[str, str]) -> None:
        """Give these MAC addresses these addresses, whatever lease they have."""
        self._hosts.write_text("".join(f"{mac},{address}\n" for mac, address in addresses.items()))
        self._dnsmasq.send_signal(1)

    def leases(self) -> dict[str, tuple[str, int]]:
        """Return the address and the end of the lease, by MAC address."""
        try:
            rows = [line.split() for line in self._leases.read_text().splitlines()]
        except FileNotFoundError:
            return {}
        return {row[1]: (row[2], int(row[0])) for row in rows if len(row) == 5}

    def end(self) -> None:
        self._dnsmasq.terminate()
        self._dnsmasq.wait(10)
        run("ip", "netns", "del", self.netns)


def run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=30)


@contextlib.contextmanager
def vlans(hypervisors: t.Sequence[Hypervisor]) -> t.Iterator[dict[int, Vlan]]:
    """Plug the hypervisors into the VLANs."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        made = {}
        for number in VLANS:
            made[number] = Vlan(number, hypervisors, pathlib.Path(directory))
            stack.callback(made[number].end)
        yield made


def define(placed: t.Iterable[Placed], memory: int = 128) -> None:
    for one in placed:
        one.hv.define_guest(one.name, one.interface, memory=memory)


def leased(placed: t.Collection[Placed], made: t.Mapping[int, Vlan], seconds: float = 240) -> dict[str, str]:
    """Wait until each guest has its lease, and return the addresses by the guest's name."""
    deadline = time.monotonic() + seconds
    while True:
        by_vlan = {number: vlan.leases() for number, vlan in made.items()}
        found = {one.name: by_vlan[one.vlan][one.mac][0] for one in placed if one.mac in by_vlan[one.vlan]}
        if len(found) == len(placed):
            return found
        assert time.monotonic() < deadline, sorted({one.name for one in placed} - found.keys())
        time.sleep(0.1)


def move(one: Placed, to: Hypervisor) -> Placed:
    """Migrate a running guest."""
    guest.install_image(to.cell, image.build(image.cache_dir(None)))
    guest.migrate(one.hv.cell, one.name, to.cell)
    return one._replace(hv=to)
