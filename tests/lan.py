# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A LAN in network namespaces: a switch, a hypervisor with a guest's link on its uplink, and another machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import namespaces
import preloaded
from support import run_module

sys.path.append(str(Path(__file__).resolve().parents[1] / "extensions" / "molecule" / "lab"))

from labkit import indexes

TOOL = str(Path(__file__).with_name("nettool.py"))
# The MAC address of each machine, and the last part of its IP addresses.
HOST, GUEST, PEER, SHIM = ("52:54:00:00:00:01", "1"), ("52:54:00:00:00:77", "77"), ("52:54:00:00:00:09", "9"), (
    "52:54:00:00:00:fa",
    "250",
)  # fmt: skip
ACCESS = {
    "name": "host0",
    "parent": "eth0",
    "mac": SHIM[0],
    "addresses": ["192.0.2.250", "2001:db8::250"],
    "guests": ["192.0.2.77", "2001:db8::77"],
}
Result = t.Dict[str, t.Any]


class Machine(namespaces.Named):
    """A network namespace whose link to the LAN is eth0."""

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.prefix, *command], check=check, capture_output=True, text=True, timeout=60)

    def sysctl(self, link: str, setting: str, value: int | None = None) -> int:
        family, _slash, name = setting.partition("/")
        file = f"/proc/sys/net/{family}/conf/{link}/{name}"
        if value is not None:
            self.run("sh", "-c", f"echo {value} >{file}")
        return int(self.run("cat", file).stdout)

    def pings(self, to: str, source: str = "") -> bool:
        return self.tool("ping", to, source, check=False).returncode == 0

    def asks(self, target: str, sender: str) -> list[str]:
        """Ask who has an IPv4 address, and return the MAC addresses in the replies, as many as there are."""
        return sorted(self.tool("arp", "eth0", target, sender).stdout.split())

    def tool(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, TOOL, *words, check=check)

    def knows(self, address: str) -> str | None:
        """Return the MAC address that the machine has for an address in its table."""
        words = self.ip("neigh", "show", address, "dev", "eth0").split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else None

    def has(self, mac: str, last: str) -> None:
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "address", mac, "up")
        self.ip("address", "add", f"192.0.2.{last}/24", "dev", "eth0")
        self.ip("address", "add", f"2001:db8::{last}/64", "dev", "eth0", "nodad")

    def forget(self) -> None:
        self.ip("neigh", "flush", "all")


class Lan:
    """The machines, with nothing on the hypervisor but its uplink; ``guest`` is none before :meth:`start_guest`."""

    def __init__(self, switch: Machine, host: Machine, guest: Machine, peer: Machine) -> None:
        self.switch, self.host, self.guest, self.peer = switch, host, guest, peer

    def access(self, params: t.Mapping[str, t.Any] | None = None, **how: t.Any) -> Result:
        how = {"prefix": self.host.prefix, **how}
        return run_module("macvtap_host_access", ACCESS if params is None else params, **how)

    def done(self, params: t.Mapping[str, t.Any] | None = None, **how: t.Any) -> Result:
        result = self.access(params, **how)
        assert not result.get("failed"), result
        return result

    def refuses(self, params: t.Mapping[str, t.Any], **how: t.Any) -> str:
        """Run the module, which is to fail and to leave everything as it was, and return what it says."""
        before = self.state()
        failed = self.access(params, **how)
        assert failed.get("failed"), failed
        assert failed["rc"] == 1
        now = self.state()
        assert now == before, [line for line in zip(before, now) if line[0] != line[1]]
        return str(failed["msg"])

    def state(self) -> tuple[str, ...]:
        """All that the host has, less what changes by itself."""
        links = self.host.ip("-o", "-d", "link", "show").splitlines()
        kept = [" ".join(word for word in line.split() if word not in ("promiscuity", "0", "1")) for line in links]
        shown = [self.host.ip(family, "route", "show", "table", "all") for family in ("-4", "-6")]
        # A link-local address comes into use a moment after its link.
        routes = [line.strip() for line in "".join(shown).splitlines() if not line.startswith("local fe80::")]
        return (*kept, self.host.ip("-o", "address", "show").replace(" tentative", ""), *routes)

    def start_guest(self, kind: str = "macvlan") -> None:
        self.host.ip("link", "add", "guest0", "link", "eth0", "type", kind, "mode", "bridge")
        self.host.ip("link", "set", "guest0", "netns", self.guest.name)
        self.guest.ip("link", "set", "guest0", "name", "eth0")
        self.guest.has(*GUEST)

    def clear(self) -> None:
        """Bring back what there was in the beginning."""
        for machine in (self.host, self.guest):
            for link in machine.ip("-br", "link", "show").splitlines():
                name = link.split()[0].partition("@")[0]
                if machine is self.guest or name not in ("lo", "eth0"):
                    machine.run("ip", "link", "del", name, check=False)
        for machine, what in ((self.host, HOST), (self.peer, PEER)):
            for family in ("-4", "-6"):
                machine.ip(family, "route", "flush", "table", "main")
            machine.ip("address", "flush", "dev", "eth0", "scope", "global")
            # Anew, so that it has its link-local address and the routes to it again.
            machine.ip("link", "set", "eth0", "down")
            machine.has(*what)
            machine.forget()
        self.hairpin(False)
        self.switch.ip("link", "set", "to-host", "up")

    def hairpin(self, on: bool) -> None:
        word = "on" if on else "off"
        subprocess.run(["bridge", "-n", self.switch.name, "link", "set", "dev", "to-host", "hairpin", word], check=True)


_LANS, _NUMBERS = itertools.count(), itertools.count(2200)


def another_port() -> str:
    return str(next(_NUMBERS))


class Connected:
    """Runs modules below a process that holds a connection from ``machine`` to ``address`` of the host."""

    def __init__(self, lan: Lan, machine: Machine, address: str, directory: Path) -> None:
        self._lan, self._machine, self._address, self._directory = lan, machine, address, directory

    def access(self, params: t.Mapping[str, t.Any], *, module: str = "macvtap_host_access", **how: t.Any) -> Result:
        port = another_port()
        ready = str(self._directory / port)
        client = [*self._machine.prefix, sys.executable, TOOL, "connect", self._address, port, ready]
        with subprocess.Popen(client) as process:
            served = [*self._lan.host.prefix, sys.executable, TOOL, "serve", self._address, port, ready]
            result = run_module(module, params, prefix=served, **how)
            process.wait(30)
        assert result["rc"] != 99, f"the connection was cut off: {result}"
        return result

    def refused(self, params: t.Mapping[str, t.Any], message: str, **how: t.Any) -> None:
        before = self._lan.state()
        result = self.access(params, **how)
        assert result.get("failed"), result
        assert re.search(message, result["msg"]), result["msg"]
        assert self._lan.state() == before


@contextlib.contextmanager
def speaking_as(machine: Machine, address: str, network: str) -> t.Iterator[None]:
    """Let the machine have one more address, and connect to the LAN from that."""
    own = "77" if machine.name.startswith("access-guest") else "9"
    machine.ip("address", "add", f"{address}/{network}", "dev", "eth0")
    machine.ip("route", "change", "192.0.2.0/24", "dev", "eth0", "src", address)
    try:
        yield
    finally:
        machine.ip("route", "change", "192.0.2.0/24", "dev", "eth0", "src", f"192.0.2.{own}")
        machine.ip("address", "del", f"{address}/{network}", "dev", "eth0")


@contextlib.contextmanager
def session(lan: Lan, directory: Path, name: str) -> t.Iterator[None]:
    """Let a process called ``name`` hold a connection from the guest to the shim, which is to live to the end."""
    port, ready = another_port(), str(directory / "session")
    with contextlib.ExitStack() as stack:
        client = [*lan.guest.prefix, sys.executable, TOOL, "connect", "192.0.2.250", port, ready]
        stack.enter_context(subprocess.Popen(client))
        server = [*lan.host.prefix, sys.executable, TOOL, "session", "192.0.2.250", port, ready, name]
        process = stack.enter_context(
            subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        try:
            yield
        finally:
            process.stdin.close()
            assert process.wait(30) == 0


@contextlib.contextmanager
def made() -> t.Iterator[Lan]:
    number = next(_LANS)
    names = [f"access-{what}-{os.getpid()}-{number}" for what in ("switch", "host", "guest", "peer")]
    machines = [Machine(name) for name in names]
    switch, host, _guest, peer = machines
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        # /dev/tapN is named after the interface index, and /dev is one for all namespaces.
        for name in names[1:3]:
            indexes.reserve(name, 512)
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        for machine, what, end in ((host, HOST, "to-host"), (peer, PEER, "to-peer")):
            switch.ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
            switch.ip("link", "set", end, "master", "br0", "up")
            machine.has(*what)
        preloaded.allow(host.prefix)
        yield Lan(*machines)
    finally:
        preloaded.end(host.prefix)
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
        indexes.release(names)
