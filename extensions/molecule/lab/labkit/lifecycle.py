# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Make, look at and remove a whole lab."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import types
import typing as t
from pathlib import Path

from labkit import cells, debian, hypervisor, image, indexes, management, model, reach, ssh, switch, vm, vmimage
from labkit.model import Cell, Lab, Vm
from labkit.shell import LabError, locked, say

PROGRAMS = {
    "dnsmasq": "dnsmasq-base",
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
}
VM_PROGRAMS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
MANAGEMENT_PROGRAMS = {"openssl": "openssl", "ssh": "openssh-client"}


class Interrupted(BaseException):
    """SIGTERM or SIGHUP; like KeyboardInterrupt no Exception, so that nothing handles it by accident."""


@contextlib.contextmanager
def interruptible() -> t.Iterator[None]:
    def raise_it(signum: int, _frame: object) -> None:
        raise Interrupted(signal.Signals(signum).name)

    before = {number: signal.signal(number, raise_it) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def create(
    lab: Lab,
    *,
    index_count: int = indexes.COUNT,
    cache: Path | None = None,
    system: hypervisor.System = hypervisor.MACHINE,
    systems: t.Mapping[str, hypervisor.System] = types.MappingProxyType({}),
) -> Lab:
    """Make the lab unless it is there; on failure or interruption nothing of it stays.

    The cache has the images of virtual machines, where the lab has any. The system is that of the others, but for those
    that have one of their own, by name.
    """
    check_machine(
        {**PROGRAMS, **(VM_PROGRAMS if lab.vm_names else {}), **(MANAGEMENT_PROGRAMS if lab.management else {})}
    )
    with interruptible(), locked(lab.lock):
        there = model.load(lab.name)
        if there is not None and not problems(there):
            if there != lab:
                raise LabError(f"lab {lab.name} is there with hypervisors {described(there)}; destroy it first")
            say(f"lab {lab.name} is up already")
            return there
        if there is not None or lab.dir.exists():
            say(f"lab {lab.name}: clearing away an unfinished or broken one")
            remove(there or lab)
        try:
            build(lab, index_count, cache or image.cache_dir(None), system, systems)
        except BaseException:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            say(f"lab {lab.name}: not finished; removing what there is of it")
            remove(lab)
            raise
    return lab


def described(lab: Lab) -> str:
    return ", ".join(
        [
            ",".join((*lab.hypervisors, *lab.vm_names)),
            *(f"VLAN {vlan}" for vlan in lab.vlans),
            *([f"Debian {lab.release}"] if lab.release else []),
            *(["a management network"] if lab.management else []),
            *([lab.variant] if lab.variant else []),
        ]
    )


def check_machine(programs: t.Mapping[str, str]) -> None:
    if os.geteuid():
        raise LabError("the lab is made of namespaces and links: run it as root")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({package for program, package in programs.items() if not shutil.which(program, path=path)})
    if missing:
        raise LabError(f"missing Debian packages: apt-get install {' '.join(missing)}")


def build(
    lab: Lab,
    index_count: int,
    cache: Path,
    system: hypervisor.System,
    systems: t.Mapping[str, hypervisor.System],
) -> None:
    model.save(lab)
    if lab.release and lab.hypervisors:
        system = dataclasses.replace(system, root=debian.hypervisor_root(cache, lab.release))
    if lab.vms:
        # The guests' first: it takes seconds, and others who need it would wait for the machine's, which takes minutes.
        image.build(cache)
        vmimage.build(cache, lab.release or vmimage.RELEASE, lab.variant)
    say(f"lab {lab.name}: the switch, with DHCP and router advertisements on the LAN")
    switch.create(lab)
    ssh.make_keys(lab)
    if lab.management:
        management.create(lab)
    for machine in lab.vms:
        say(f"lab {lab.name}: virtual machine {machine.name} boots (emulated: half a minute or more)")
        vm.start(lab, machine, cache)
    for name in lab.hypervisors:
        say(f"lab {lab.name}: hypervisor {name} (namespaces, interface indexes, libvirtd)")
        hypervisor.create(lab, lab.hypervisor(name), index_count, systems.get(name, system))
    for machine in lab.vms:
        vm.wait(machine)
    lab.inventory.parent.mkdir()
    lab.inventory.write_text(ssh.inventory(lab))
    (lab.dir / "complete").touch()
    say(f"lab {lab.name} is up: ssh -F {lab.ssh_config} {lab.cells[1].name}")


def problems(lab: Lab) -> list[str]:
    """Why this lab cannot be used; nothing if it can."""
    found = [f"{cell.name} is not running" for cell in lab.cells if cells.pid_of(cell) is None]
    return found if (lab.dir / "complete").exists() else ["it was never finished", *found]


def destroy(name: str) -> None:
    """Remove a lab, whatever there is of it; harmless where there is none."""
    lab = model.load(name) or model.declare(name, ("none",))
    if not lab.dir.exists():
        say(f"there is no lab {name}")
        return
    with interruptible(), locked(lab.lock):
        remove(model.load(name) or lab)
    say(f"lab {name} is gone")


def remove(lab: Lab) -> None:
    for cell in reversed(lab.cells):
        cells.end(cell)
        if not isinstance(cell, Vm):
            cells.delete_netns(cell)
    indexes.release([cell.netns for cell in lab.cells])
    shutil.rmtree(lab.dir, ignore_errors=True)
    if lab.dir.exists():
        raise LabError(f"{lab.dir} cannot be removed")


def status(lab: Lab) -> dict[str, t.Any]:
    ranges = {r.netns: r for r in indexes.reserved()}
    hypervisors: dict[str, t.Any] = {}
    for name in lab.hypervisors:
        hv = lab.hypervisor(name)
        span = ranges.get(hv.netns)
        hypervisors[name] = {
            "netns": hv.netns,
            "pid": cells.pid_of(hv),
            "uplink_mac": hv.uplink_mac,
            "management": management.address(lab, hv) if lab.management else None,
            "indexes": [span.start, span.end - 1] if span else None,
            "hairpin": _hairpin(lab, hv.ports[model.UPLINK]),
            "guests": _guests(hv),
        }
    vms: dict[str, t.Any] = {}
    for machine in lab.vms:
        uplinks = {
            uplink: {"mac": machine.mac(uplink), "hairpin": _hairpin(lab, port)}
            for uplink, port in machine.ports.items()
        }
        vms[machine.name] = {
            "pid": cells.pid_of(machine),
            "console": str(vm.console(machine)),
            "uplinks": uplinks,
            "guests": _guests(machine),
        }
    return {
        "name": lab.name,
        "problems": problems(lab),
        "switch": {
            "netns": lab.switch.netns,
            "pid": cells.pid_of(lab.switch),
            "ipv4": switch.IPV4,
            "ipv6": switch.IPV6,
            "vlans": {switch.vlan_link(vlan): address for vlan, address in switch.vlan_addresses(lab).items()},
        },
        "hypervisors": hypervisors,
        "vms": vms,
        "ssh_config": str(lab.ssh_config),
        "inventory": str(lab.inventory),
    }


def _hairpin(lab: Lab, port: str) -> bool | None:
    with contextlib.suppress(LabError, OSError):
        flag = Path(f"{cells.root_of(lab.switch)}/sys/class/net/{port}/brport/hairpin_mode")
        return flag.read_text().strip() == "1"
    return None


def _guests(hv: Cell) -> dict[str, str]:
    with contextlib.suppress(LabError):
        argv = reach.command(hv, ["virsh", "-q", "-c", "qemu:///system", "list", "--all"])
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        rows = [line.split(None, 2) for line in done.stdout.splitlines()]
        return {row[1]: row[2] for row in rows if len(row) == 3}
    return {}
