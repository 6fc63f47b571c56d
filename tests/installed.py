# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The built and installed collection, and a lab's hypervisors to run its playbooks over."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import re
import subprocess
import sys
import typing as t

from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import cells, collection, indexes, lifecycle, model

if t.TYPE_CHECKING:
    import pytest

BIN = pathlib.Path(sys.executable).parent
EXAMPLE = ROOT / "docs/example/inventory"


class Fleet:
    """Hypervisors, and the installed collection."""

    def __init__(self, lab: model.Lab, home: pathlib.Path, collections: pathlib.Path) -> None:
        self.lab = lab
        self.home = home
        self.collections = collections
        self.as_after = ""
        """The playbook, site or teardown, that has made of all hypervisors what it makes, if nothing was changed since.
        Who changes anything by other means empties it."""
        self.core: pathlib.Path | None = None
        """Where another ansible-core than that of the virtual environment is, which then runs the playbooks."""
        self.python = os.environ.get("MACVTAP_TEST_CONTROLLER", str(BIN / "python"))
        """What runs them, with an ansible-core that it has or is given."""

    def play(
        self, playbook: str, *more: str, inventory: pathlib.Path = EXAMPLE, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **({"PYTHONPATH": str(self.core)} if self.core else {}),
        }
        done = subprocess.run(
            [
                *(self.python, "-m", "ansible", "playbook"),
                playbook if playbook.endswith(".yml") else f"linuxvirt.macvtap.{playbook}",
                *("-i", str(inventory), "-i", str(self.lab.inventory)),
                *more,
            ],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if playbook in {"site", "teardown"} and "--check" not in more:
            whole = set(more) <= {"-vvv"} and inventory == EXAMPLE and done.returncode == 0
            self.as_after = playbook if whole else ""
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def brought_to(self, playbook: str) -> None:
        """Play site or teardown, unless that is what was done last."""
        if self.as_after != playbook:
            self.play(playbook)

    def on(self, hypervisor: str, *command: str, stdin: str = "") -> str:
        argv = [*cells.enter(self.lab.hypervisor(hypervisor)), *command]
        return subprocess.run(argv, input=stdin, check=True, capture_output=True, text=True).stdout


def changed(done: subprocess.CompletedProcess[str]) -> list[int]:
    return [int(found) for found in re.findall(r"\bchanged=(\d+)", done.stdout)]


@functools.lru_cache
def collections(directory: pathlib.Path) -> pathlib.Path:
    """Build the collection and install it below a directory, once for all files of tests."""
    directory.mkdir()
    archive = collection.build(directory)
    collection.install(str(archive), to=directory / "collections", cwd=directory)
    return directory / "collections"


@contextlib.contextmanager
def fleet(factory: pytest.TempPathFactory, hypervisors: t.Iterable[str]) -> t.Iterator[Fleet]:
    """Have the collection installed, and make a lab, which is removed afterwards."""
    installed = collections(factory.getbasetemp() / "installed")
    lab = lifecycle.create(model.declare(f"pytest-{os.getpid()}", tuple(hypervisors)), index_count=indexes.COUNT)
    try:
        yield Fleet(lab, factory.mktemp("home"), installed)
    finally:
        lifecycle.destroy(lab.name)
