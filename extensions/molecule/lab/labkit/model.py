# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a lab is called and where its things are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

from labkit.shell import LabError

BASE = Path("/run/linuxvirt-lab")
PYTHON = "/usr/bin/python3"
SWITCH = "lan"
UPLINK = "eth0"


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
    def port(self) -> str:
        """The switch port that this hypervisor's uplink is plugged into."""
        return f"port-{self.name}"

    @property
    def uplink_mac(self) -> str:
        """Locally administered, and the same each time this lab is made."""
        digest = hashlib.sha256(self.netns.encode()).hexdigest()
        return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


@dataclasses.dataclass(frozen=True)
class Lab:
    name: str
    hypervisors: tuple[str, ...]

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
    def cells(self) -> tuple[Cell, ...]:
        return (self.switch, *(Cell(self.name, hv) for hv in self.hypervisors))

    @property
    def ssh_config(self) -> Path:
        return self.dir / "ssh_config"

    @property
    def inventory(self) -> Path:
        return self.dir / "inventory" / "hosts.yml"

    def hypervisor(self, name: str) -> Cell:
        if name not in self.hypervisors:
            raise LabError(f"lab {self.name} has no hypervisor {name}; it has {', '.join(self.hypervisors)}")
        return Cell(self.name, name)


def declare(name: str, hypervisors: tuple[str, ...]) -> Lab:
    """A lab of these names; raises LabError for names that would not fit what is made of them."""
    # A hypervisor's name has no hyphen, so that the last hyphen of a namespace's name ends the lab's name.
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}[a-z0-9]", name):
        raise LabError(f"lab name {name!r}: 2 to 32 lower-case letters, digits and hyphens, a letter first")
    if not hypervisors:
        raise LabError("a lab needs at least one hypervisor")
    for hv in hypervisors:
        if hv == SWITCH or not re.fullmatch(r"[a-z][a-z0-9]{0,9}", hv):  # port-NAME has to fit IFNAMSIZ
            raise LabError(f"hypervisor name {hv!r}: 1 to 10 lower-case letters and digits, not '{SWITCH}'")
    if len(set(hypervisors)) != len(hypervisors):
        raise LabError(f"hypervisors {','.join(hypervisors)}: one name twice")
    return Lab(name, hypervisors)


def save(lab: Lab) -> None:
    lab.dir.mkdir(parents=True, mode=0o700)
    (lab.dir / "lab.json").write_text(json.dumps({"hypervisors": lab.hypervisors}) + "\n")


def load(name: str) -> Lab | None:
    """The lab of that name as it was declared, whether or not it was finished; None where there is none."""
    declare(name, ("hv1",))
    try:
        stored = json.loads((BASE / name / "lab.json").read_text())
        return Lab(name, tuple(stored["hypervisors"]))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LabError(f"{BASE / name / 'lab.json'}: {error}; remove that directory by hand") from error


def require(name: str) -> Lab:
    lab = load(name)
    if lab is None or not (lab.dir / "complete").exists():
        raise LabError(f"there is no lab {name}; make it with: create --name {name}")
    return lab
