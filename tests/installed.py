# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The built and installed collection, and a lab's hypervisors to run its playbooks over."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import typing as t

from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import cells, indexes, lifecycle, model

BIN = pathlib.Path(sys.executable).parent
EXAMPLE = ROOT / "docs/example/inventory"


class Fleet:
    """Hypervisors, and the collection installed in a path of its own."""

    def __init__(self, lab: model.Lab, home: pathlib.Path) -> None:
        self.lab = lab
        self.home = home
        self.core: pathlib.Path | None = None
        """Where another ansible-core than that of the virtual environment is, which then runs the playbooks."""

    def play(
        self, playbook: str, *more: str, inventory: pathlib.Path = EXAMPLE, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.home / "collections"),
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **({"PYTHONPATH": str(self.core)} if self.core else {}),
        }
        done = subprocess.run(
            [
                *(str(BIN / "python"), "-m", "ansible", "playbook"),
                f"linuxvirt.macvtap.{playbook}",
                *("-i", str(inventory), "-i", str(self.lab.inventory)),
                *more,
            ],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def on(self, hypervisor: str, *command: str, stdin: str = "") -> str:
        argv = [*cells.enter(self.lab.hypervisor(hypervisor)), *command]
        return subprocess.run(argv, input=stdin, check=True, capture_output=True, text=True).stdout


def changed(done: subprocess.CompletedProcess[str]) -> list[int]:
    return [int(found) for found in re.findall(r"\bchanged=(\d+)", done.stdout)]


@contextlib.contextmanager
def fleet(home: pathlib.Path, hypervisors: t.Iterable[str]) -> t.Iterator[Fleet]:
    """Install the collection below ``home``, and make a lab, which is removed afterwards."""
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    subprocess.run([*galaxy, "build", "--output-path", home], cwd=ROOT, check=True, capture_output=True)
    (artefact,) = home.glob("linuxvirt-macvtap-*.tar.gz")
    subprocess.run(
        [*galaxy, "install", "--offline", "-p", home / "collections", artefact],
        cwd=home,
        check=True,
        capture_output=True,
    )
    lab = lifecycle.create(model.declare(f"pytest-{os.getpid()}", tuple(hypervisors)), index_count=indexes.COUNT)
    try:
        yield Fleet(lab, home)
    finally:
        lifecycle.destroy(lab.name)
