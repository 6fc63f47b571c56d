# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a lab is called and where its things are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

from labkit import debian
from labkit.shell import LabError

BASE = Path("/run/linuxvirt-lab")
PYTHON = "/usr/bin/python3"
SWITCH = "lan"
# Of root on a hypervisor.
HOME = "/root"
UPLINK = "eth0"
# A virtual machine's network cards beside the one for management, and whose each is: networkd's, two of its bond0,
# NetworkManager's, ifupdown's.
VM_UPLINKS = ("uplink0", "uplink1", "uplink2", "uplink3", "uplink4")
# Each has a quarter of a documentation prefix.
MAX_VLANS = 4


@dataclasses.dataclass(frozen=True)
class Cell:
    """One set of namespaces: the switch's, or a hypervisor's."""

    lab: str
    name: str

    @property
    def netns(self) -> str:
        return f"{self.lab}-{self.name}"

    @property
    def dir(self) -> Path:
        return BASE / self.lab / self.name

    @property
    def ports(self) -> dict[str, str]:
        """The switch ports that this hypervisor's uplinks are plugged into, by uplink."""
        return {UPLINK: f"port-{self.name}"}

    @property
    def uplink_mac(self) -> str:
        return mac(self.netns)


@dataclasses.dataclass(frozen=True)
class Vm(Cell):
    """A hypervisor that is a virtual machine. What is a cell is its QEMU, on the switch's own network."""

    # Among the lab's virtual machines.
    number: int

    @property
    def netns(self) -> str:
        return f"{self.lab}-{SWITCH}"

    @property
    def ports(self) -> dict[str, str]:
        return {uplink: f"port-{self.name}{n}" for n, uplink in enumerate(VM_UPLINKS)}

    @property
    def ssh_config(self) -> Path:
        return BASE / self.lab / "ssh_config"

    def mac(self, uplink: str) -> str:
        return mac(f"{self.lab}-{self.name} {uplink}")


def mac(of: str) -> str:
    """Locally administered, and the same each time this lab is made."""
    digest = hashlib.sha256(of.encode()).hexdigest()
    return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


@dataclasses.dataclass(frozen=True)
class Lab:
    name: str
    hypervisors: tuple[str, ...]
    vm_names: tuple[str, ...] = ()
    # Of the switch, beside what has no tag.
    vlans: tuple[int, ...] = ()
    # Debian's, of all hypervisors; by default it is this machine's own, and a virtual machine's the lab's choice.
    release: str = ""
    # Whether the hypervisors reach each other by a network of their own: see management.py.
    management: bool = False
    # What virtual machines are instead of the plain one: see variants.py.
    variant: str = ""

    @property
    def dir(self) -> Path:
        return BASE / self.name

    @property
    def lock(self) -> Path:
        return BASE / f".{self.name}.lock"

    @property
    def switch(self) -> Cell:
        return Cell(self.name, SWITCH)

    @property
    def vms(self) -> tuple[Vm, ...]:
        return tuple(Vm(self.name, vm, number) for number, vm in enumerate(self.vm_names))

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.switch, *(Cell(self.name, hv) for hv in self.hypervisors), *self.vms)

    @property
    def ssh_config(self) -> Path:
        return self.dir / "ssh_config"

    @property
    def inventory(self) -> Path:
        return self.dir / "inventory" / "hosts.yml"

    def hypervisor(self, name: str) -> Cell:
        """The hypervisor of that name, a virtual machine or not."""
        found = next((cell for cell in self.cells[1:] if cell.name == name), None)
        if found is None:
            have = ", ".join((*self.hypervisors, *self.vm_names))
            raise LabError(f"lab {self.name} has no hypervisor {name}; it has {have}")
        return found

    def vm(self, name: str) -> Vm:
        found = self.hypervisor(name)
        if not isinstance(found, Vm):
            raise LabError(f"{name} of lab {self.name} is no virtual machine")
        return found


def declare(
    name: str,
    hypervisors: tuple[str, ...],
    vms: tuple[str, ...] = (),
    vlans: tuple[int, ...] = (),
    release: str = "",
) -> Lab:
    """A lab of these names; raises LabError for names that would not fit what is made of them."""
    # A hypervisor's name has no hyphen, so that the last hyphen of a namespace's name ends the lab's name.
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}[a-z0-9]", name):
        raise LabError(f"lab name {name!r}: 2 to 32 lower-case letters, digits and hyphens, a letter first")
    names = (*hypervisors, *vms)
    if not names:
        raise LabError("a lab needs at least one hypervisor")
    # port-NAME, with a digit more for a virtual machine, has to fit IFNAMSIZ.
    for hv, longest in ((hv, 10 if hv in hypervisors else 9) for hv in names):
        if hv == SWITCH or not re.fullmatch(r"[a-z][a-z0-9]*", hv) or len(hv) > longest:
            raise LabError(f"hypervisor name {hv!r}: 1 to {longest} lower-case letters and digits, not '{SWITCH}'")
    if len(set(names)) != len(names):
        raise LabError(f"hypervisors {','.join(names)}: one name twice")
    if len(set(vlans)) != len(vlans) or len(vlans) > MAX_VLANS or not all(1 <= vlan <= 4094 for vlan in vlans):
        raise LabError(f"VLANs {','.join(map(str, vlans))}: at most {MAX_VLANS} different numbers from 1 to 4094")
    lab = Lab(name, hypervisors, vms, vlans, release and debian.required(release))
    ports = [port for cell in lab.cells[1:] for port in cell.ports.values()]
    if len(set(ports)) != len(ports):
        raise LabError(f"hypervisors {','.join(names)}: their switch ports would have one name twice; rename one")
    return lab


def save(lab: Lab) -> None:
    lab.dir.mkdir(parents=True, mode=0o700)
    stored = {
        "hypervisors": lab.hypervisors,
        "vms": lab.vm_names,
        "vlans": lab.vlans,
        "release": lab.release,
        "management": lab.management,
        "variant": lab.variant,
    }
    (lab.dir / "lab.json").write_text(json.dumps(stored) + "\n")


def load(name: str) -> Lab | None:
    """The lab of that name as it was declared, whether or not it was finished; None where there is none."""
    declare(name, ("hv1",))
    try:
        stored = json.loads((BASE / name / "lab.json").read_text())
        hypervisors, vms, vlans = (tuple(stored.get(key, ())) for key in ("hypervisors", "vms", "vlans"))
        others = {key: stored[key] for key in ("release", "management", "variant") if key in stored}
        return Lab(name, hypervisors, vms, vlans, **others)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LabError(f"{BASE / name / 'lab.json'}: {error}; remove that directory by hand") from error


def require(name: str) -> Lab:
    lab = load(name)
    if lab is None or not (lab.dir / "complete").exists():
        raise LabError(f"there is no lab {name}; make it with lab.py create --name {name} (or make demo)")
    return lab
