# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Two hosts and guests on their LAN whose addresses are to be found, and what tests ask about them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import guest_agent
import lan
import libvirtd_fixture
from direct_iface import Result, domain, nic, ok
from labkit import model, switch
from support import PYTHON, ROOT, run_module, running_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

BRIDGE, PRIVATE, ALONE, SHIM, IDLE = (f"52:54:00:00:0f:0{digit}" for digit in range(5))
NETWORK, STATIC = "192.0.2.0/24", "192.0.2.40"


class Lab(t.NamedTuple):
    """Two hosts; ``first`` is what a run on the one with the guests found that began before they were started."""

    hv: Hypervisor
    other: Hypervisor
    first: Result

    def leased(self, mac: str) -> str:
        leases = switch.leases(model.require(self.hv.cell.lab))
        (address,) = [lease.address for lease in leases if lease.mac == mac]
        return address


def ask(hv: Hypervisor, **params: t.Any) -> Result:
    result = ok(run_module("macvtap_guest_addresses_info", params, prefix=hv.prefix))
    assert not result["changed"]
    return result


def addresses(result: Result, mac: str) -> dict[str, Result]:
    """The addresses of a NIC, by address."""
    (found,) = [i for guest in result["guests"] for i in guest["interfaces"] if i["mac"] == mac]
    return {one["address"]: one for one in found["addresses"]}


def in_guest(hv: Hypervisor, name: str) -> set[str]:
    """The addresses that the guest itself has, its own link-local ones included."""
    lines = hv.in_guest(name, "ip", "address", "show", "dev", "eth0").split("\n")
    return {line.split()[1].split("/")[0] for line in lines if line.split()[:1] in (["inet"], ["inet6"])}


# Adds addresses to eth0, or removes them: as one program, because a guest takes long to start one.
_SET_ADDRESSES = """
import socket, struct, sys
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
index, (kind, flags) = socket.if_nametoindex("eth0"), {"add": (20, 0x605), "del": (21, 5)}[sys.argv[1]]
for text in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    address = socket.inet_pton(family, text)
    # Without duplicate address detection.
    body = struct.pack("=BBBBI", family, 64 if ":" in text else 24, 2, 0, index)
    body += b"".join(struct.pack("=HH", 4 + len(address), one) + address for one in (1, 2))
    sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    assert struct.unpack_from("=i", sock.recv(4096), 16) == (0,), text
print("done")
"""


@contextlib.contextmanager
def having(hv: Hypervisor, name: str, mac: str, addresses: t.Sequence[str]) -> t.Iterator[str]:
    """Let a guest have more addresses, and its link receive what is asked about them; yield the link."""
    program = ("python3", "-I", "-S", "-c", _SET_ADDRESSES)
    (link,) = [link for link, _index, address in hv.macvtaps() if address == mac]
    assert hv.in_guest(name, *program, "add", *addresses) == "done\n"
    hv.run("ip", "link", "set", link, "allmulticast", "on")
    try:
        yield link
    finally:
        hv.run("ip", "link", "set", link, "allmulticast", "off")
        # Without the first IPv4 address of a network, the others go with it.
        assert hv.in_guest(name, *program, "del", *reversed(addresses)) == "done\n"


@contextlib.contextmanager
def temporary_addresses(hv: Hypervisor, name: str) -> t.Iterator[set[str]]:
    """Let a guest have a temporary address beside each that follows from its MAC address; yield all that it has."""

    def begin_anew(setting: int, count: int) -> set[str]:
        # It takes its addresses when the router advertises its networks, which is right after the link is up.
        again = f"echo {setting} >/proc/sys/net/ipv6/conf/eth0/use_tempaddr; ip link set eth0 down; ip link set eth0 up"
        hv.in_guest(name, "sh", "-c", again)
        shown = "ip -6 address show dev eth0 scope global | grep -v tentative | grep -c inet6; true"
        assert until(lambda: hv.in_guest(name, "sh", "-c", shown).strip() == str(count), 30)
        return in_guest(hv, name)

    try:
        yield begin_anew(2, 2)
    finally:
        begin_anew(0, 1)


@contextlib.contextmanager
def in_mode(hv: Hypervisor, name: str, mac: str, mode: str) -> t.Iterator[None]:
    """Let the NIC of a running guest, which is in mode bridge, be in another one."""

    def set_mode(word: str) -> None:
        done = run_module("libvirt_direct_iface", {"domain": name, "mac": mac, "mode": word}, prefix=hv.prefix)
        assert {one["impact"] for one in ok(done)["changes"]} <= {"config", "live"}, done

    set_mode(mode)
    try:
        yield
    finally:
        hv.hairpin(False)
        set_mode("bridge")


@contextlib.contextmanager
def made() -> t.Iterator[Lab]:
    """web1 in mode bridge, web2 in mode private, web3 in passthrough without DHCP; an agent's channel but in web3."""
    with libvirtd_fixture.hypervisors(f"finds{os.getpid()}", ("hv1", "hv2")) as (hv, other):
        hv.define_guest("web1", nic(BRIDGE), guest_agent.CHANNEL)
        hv.define_guest("web2", nic(PRIVATE, mode="private"), guest_agent.CHANNEL)
        hv.define_guest("web3", nic(ALONE, "up1", "passthrough"))
        waits = {"macs": [BRIDGE, PRIVATE], "wait_for": {"count": 2, "timeout": 120}}
        with running_module("macvtap_guest_addresses_info", waits, prefix=hv.prefix, stdout=-1) as process:
            for name in ("web1", "web2", "web3"):
                hv.virsh("start", name)
            first = json.loads(process.communicate(timeout=180)[0])
        # Something on the LAN of the other host, so that it asks there.
        other.define(domain("idle1", nic(IDLE)))
        other.virsh("start", "idle1")
        hv.in_guest("web3", "ip", "address", "add", f"{STATIC}/24", "dev", "eth0")
        yield Lab(hv, other, first)


def answers(hv: Hypervisor, address: str) -> bool:
    done = subprocess.run([*hv.prefix, PYTHON, lan.TOOL, "ping", address], check=False, timeout=30)
    return done.returncode == 0


def links(lab: Lab) -> set[str]:
    return {link["ifname"] for link in json.loads(lab.hv.run("ip", "-j", "link"))}


def temporary(lab: Lab) -> set[str]:
    """The locally administered MAC addresses that the LAN has seen on the host's port, less those of its own links."""
    shown = json.loads(lab.hv.run("ip", "-j", "link"))
    port = lab.hv.cell.ports[model.UPLINK]
    netns = model.require(lab.hv.cell.lab).switch.netns
    seen = _fdb(netns, port)
    return {mac for mac in seen if mac.startswith("02:")} - {link.get("address") for link in shown}


def _fdb(netns: str, port: str) -> set[str]:
    listed = subprocess.run(
        ["bridge", "-n", netns, "-j", "fdb", "show", "brport", port], check=True, capture_output=True, text=True
    ).stdout
    return {one["mac"] for one in json.loads(listed) if "permanent" not in one.get("state", "")}


@contextlib.contextmanager
def shim(hv: Hypervisor, address: str) -> t.Iterator[None]:
    """Let the host have a macvlan shim on eth0, by which it and its guests reach each other."""
    hv.run("ip", "link", "add", "host0", "link", "eth0", "address", SHIM, "type", "macvlan", "mode", "bridge")
    try:
        hv.run("ip", "link", "set", "host0", "up")
        hv.run("ip", "address", "add", f"{address}/24", "dev", "host0")
        yield
    finally:
        hv.run("ip", "link", "del", "host0")


@contextlib.contextmanager
def agent(hv: Hypervisor, name: str, mac: str, *answer: str) -> t.Iterator[None]:
    """Run an agent in a guest that says it has the address ``answer``, or never answers."""
    listed = [
        {
            "name": "eth0",
            "hardware-address": mac,
            "ip-addresses": [
                {"ip-address-type": "ipv6", "ip-address": one, "prefix": 64}
                if ":" in one
                else {"ip-address-type": "ipv4", "ip-address": one, "prefix": 24}
                for one in answer
            ],
        }
    ]
    guest_agent.run(hv, name, {"guest-network-get-interfaces": listed} if answer else None)
    try:
        yield
    finally:
        guest_agent.end(hv, name)


def inventory(directory: pathlib.Path, *arguments: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run ansible-inventory on a file of the plugin with these options."""
    file = directory / "macvtap_guests.yml"
    file.write_text(json.dumps({"plugin": "linuxvirt.macvtap.guests", **options}))
    sources = [word for source in sorted(directory.glob("*.yml")) for word in ("-i", str(source))]
    return subprocess.run(
        [sys.executable, "-m", "ansible", "inventory", *sources, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=180,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )


def without_marks(value: Result) -> t.Any:
    """Return a value of ansible-inventory's JSON without the mark that it is no template."""
    return value.get("__ansible_unsafe", value)
