# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests: their domain XML, and what can be done with one from outside."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import shlex
import shutil
import socket
import subprocess
import time
import typing as t
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

from labkit import cells, hypervisor, image, reach, switch
from labkit.model import Cell, Lab, Vm
from labkit.shell import LabError, say

SPARE_PORTS = 8
# All after "panic" is for speed alone: see the virtual machine's.
CMDLINE = "console=ttyS0 quiet panic=1 mitigations=off cryptomgr.notests norandmaps"


def agent_socket(name: str) -> str:
    return f"{hypervisor.GUEST_SOCKETS}/{name}.sock"


def domain_xml(name: str, *, memory: int = 192, interfaces: t.Sequence[str] = (), firmware: bool = False) -> str:
    """A domain without network cards, unless some are given as <interface> elements; memory in MiB.

    With firmware it is that alone, which takes an address from DHCP and one from the router's advertisement and then
    finds nothing to boot. On a hypervisor that is emulated itself a kernel would take minutes.
    """
    root = ET.Element("domain", type="qemu")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "uuid").text = str(uuid.uuid5(uuid.NAMESPACE_OID, f"linuxvirt-lab guest {name}"))
    ET.SubElement(root, "memory", unit="MiB").text = str(memory)
    ET.SubElement(root, "vcpu").text = "1"
    system = ET.SubElement(root, "os")
    ET.SubElement(system, "type", arch="x86_64", machine="q35").text = "hvm"
    if firmware:
        ET.SubElement(system, "boot", dev="network")
    else:
        ET.SubElement(system, "kernel").text = f"{hypervisor.GUEST_IMAGES}/vmlinux"
        ET.SubElement(system, "initrd").text = f"{hypervisor.GUEST_IMAGES}/initramfs.cpio"
        ET.SubElement(system, "cmdline").text = f"{CMDLINE} hostname={name}"
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        ET.SubElement(root, f"on_{event}").text = action
    devices = ET.SubElement(root, "devices")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for index in range(1, SPARE_PORTS + 1):  # each takes one hot-plugged card
        ET.SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")
    for text in interfaces:
        devices.append(ET.fromstring(text))  # noqa: S314
    ET.SubElement(ET.SubElement(devices, "serial", type="pty"), "target", port="0")
    agent = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(agent, "source", mode="bind", path=agent_socket(name))
    ET.SubElement(agent, "target", port="1")
    ET.SubElement(ET.SubElement(devices, "console", type="pty"), "target", type="serial", port="0")
    ET.SubElement(devices, "memballoon", model="none")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def virsh(hv: Cell, *words: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    argv = reach.command(hv, ["virsh", "-q", "-c", "qemu:///system", *words])
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"virsh {' '.join(words)} on {hv.name} did not end within {timeout:g} s") from error


def state(hv: Cell, name: str) -> str | None:
    """As `virsh domstate` has it; None for a domain that is not defined."""
    done = virsh(hv, "domstate", name)
    return done.stdout.strip() if done.returncode == 0 else None


def define(hv: Cell, name: str, cache: Path | None, *, memory: int, interfaces: t.Sequence[str] = ()) -> None:
    """Define the guest unless a domain of that name is there: its network cards are somebody else's matter.

    Without a cache to have a kernel from, it is one of firmware alone.
    """
    if cache is not None:
        install_image(hv, image.build(cache))
    if state(hv, name) is not None:
        say(f"{name} is defined on {hv.name} already")
        return
    xml = domain_xml(name, memory=memory, interfaces=interfaces, firmware=cache is None)
    _checked(virsh(hv, "define", "/dev/stdin", stdin=xml))
    say(f"{name} is defined on {hv.name}")


def install_image(hv: Cell, built: image.Image) -> None:
    """Copied, because the checkout may be where the hypervisor cannot see it (its /tmp and /var are its own)."""
    if isinstance(hv, Vm):  # it has them on a disk
        return
    target = Path(f"{cells.root_of(hv)}{hypervisor.GUEST_IMAGES}")
    target.mkdir(parents=True, exist_ok=True)
    for source in (built.kernel, built.initramfs):
        there = target / source.name
        if not there.exists() or there.stat().st_mtime != source.stat().st_mtime:
            shutil.copy2(source, there.with_suffix(".new"))
            there.with_suffix(".new").rename(there)


def start(hv: Cell, name: str) -> None:
    if _required_state(hv, name) != "running":
        _checked(virsh(hv, "start", name))


def stop(hv: Cell, name: str) -> None:
    if _required_state(hv, name) != "shut off":
        _checked(virsh(hv, "destroy", name))


def migrate(source: Cell, name: str, destination: Cell) -> None:
    """Migrate a running guest with its stored configuration, by plain virsh.

    It runs on the machine itself, which sees the daemons of both; their QEMUs meet in /dev, which is one for all.
    """
    if isinstance(source, Vm) or isinstance(destination, Vm):
        raise LabError("virtual machines have no way for guests to migrate")
    meeting = Path(f"/dev/shm/{source.lab}-{name}-{os.getpid()}")  # noqa: S108
    words = ["migrate", "--live", "--persistent", "--undefinesource", "--migrateuri", f"unix://{meeting}"]
    argv = ["virsh", "--quiet", "--connect", _uri(source), *words, name, _uri(destination)]
    try:
        _checked(subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120))
    finally:
        meeting.unlink(missing_ok=True)


def _uri(hv: Cell) -> str:
    sockets = (f"{cells.root_of(hv)}/run/libvirt/{name}-sock" for name in ("libvirt", "virtqemud"))
    return f"qemu+unix:///system?socket={next(filter(os.path.exists, sockets), '')}"


def execute(hv: Cell, name: str, argv: t.Sequence[str], *, timeout: float = 60, boot: float = 60) -> dict[str, t.Any]:
    """Run a command in the guest; the answer has status, stdout and stderr. Waits up to `boot` s for its agent."""
    with _agent(hv, name, time.monotonic() + boot) as (sock, pending):
        answer = _ask(sock, pending, argv, timeout, time.monotonic() + timeout + 10)
    if answer is None:
        raise LabError(f"{name} on {hv.name} did not answer within {timeout:g} s: {' '.join(argv)}")
    return answer


def wait(lab: Lab, hv: Cell, name: str, *, timeout: float = 60) -> list[dict[str, t.Any]]:
    """Wait until every network card of the guest has its DHCP lease and a global IPv6 address; returns them."""
    deadline = time.monotonic() + timeout
    while True:
        answer = execute(hv, name, ["ip", "address"], boot=max(1.0, deadline - time.monotonic()))
        cards = addresses(str(answer["stdout"]))
        leased = {lease.mac: lease.address for lease in switch.leases(lab)}
        if cards and all(c["ipv6"] and c["ipv4"] and leased.get(c["mac"]) == c["ipv4"] for c in cards):
            return cards
        if time.monotonic() > deadline:
            raise LabError(f"{name} on {hv.name} has no lease within {timeout:g} s; its cards: {json.dumps(cards)}")
        time.sleep(0.2)


def addresses(text: str) -> list[dict[str, t.Any]]:
    """Network cards and their addresses in force, out of `ip address`; busybox's has no JSON."""
    cards: list[dict[str, t.Any]] = []
    for line in text.splitlines():
        words = line.split()
        if not line.startswith(" "):
            cards.append({"name": words[1].rstrip(":"), "mac": None, "ipv4": None, "ipv6": None})
        elif words[0] == "link/ether":
            cards[-1]["mac"] = words[1]
        elif words[0] == "inet":
            cards[-1]["ipv4"] = words[1].split("/")[0]
        elif words[0] == "inet6" and "global" in words and "tentative" not in words:
            cards[-1]["ipv6"] = words[1].split("/")[0]
    return [card for card in cards if card["mac"]]


@contextlib.contextmanager
def _agent(hv: Cell, name: str, deadline: float) -> t.Iterator[tuple[socket.socket, bytearray]]:
    pending = bytearray()
    with contextlib.ExitStack() as stack:
        try:
            sock = stack.enter_context(reach.unix_socket(hv, agent_socket(name)))
        except OSError as error:
            raise LabError(f"{name} on {hv.name} is {_required_state(hv, name)}: start it first") from error
        # QEMU serves one client of the socket at a time: a second one's questions wait here too.
        while _ask(sock, pending, [], 1, min(deadline, time.monotonic() + 0.5)) is None:
            if time.monotonic() > deadline:
                raise LabError(f"the agent of {name} on {hv.name} does not answer: `virsh console {name}` shows why")
        yield sock, pending


def _ask(
    sock: socket.socket, pending: bytearray, argv: t.Sequence[str], timeout: float, deadline: float
) -> dict[str, t.Any] | None:
    """Put a question to the agent; None if there is no answer by the deadline."""
    key = os.urandom(8).hex()
    # The empty line ends whatever half a line a client before us may have left.
    command = base64.b64encode(shlex.join(argv).encode()) or b"-"
    try:
        sock.sendall(b"\n%s %d %s\n" % (key.encode(), math.ceil(timeout), command))
        while (left := deadline - time.monotonic()) > 0:
            while b"\n" in pending:
                line, _newline, rest = bytes(pending).partition(b"\n")
                pending[:] = rest
                words = line.decode(errors="replace").split()
                # A terminal that is not raw yet echoes the question: nothing is done there.
                if len(words) == 5 and words[:2] == [key, "done"]:
                    stdout, stderr = (base64.b64decode(word[1:]).decode(errors="replace") for word in words[3:])
                    return {"status": int(words[2]), "stdout": stdout, "stderr": stderr}
            sock.settimeout(left)
            data = sock.recv(65536)
            if not data:
                raise LabError("the guest ended")
            pending += data
    except TimeoutError:
        pass
    except OSError as error:
        raise LabError(f"the guest's agent socket: {error.strerror}") from error
    return None


def _required_state(hv: Cell, name: str) -> str:
    found = state(hv, name)
    if found is None:
        raise LabError(f"{hv.name} has no guest {name}")
    return found


def _checked(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise LabError(" ".join(done.stderr.split()))
