# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The collection as it is published: its archive, and what Ansible installs of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from labkit.shell import LabError

ROOT = Path(__file__).resolve().parents[4]
_ARCHIVES = "linuxvirt-macvtap-*.tar.gz"
_GALAXY = str(ROOT / ".venv/bin/ansible-galaxy")


def build(output: Path) -> Path:
    """Build the archive of this checkout, as ``make release`` and ``make build`` do, and return its path.

    There is no other one beside it: those of other versions that were built here are removed.
    """
    for former in output.glob(_ARCHIVES):
        former.unlink()
    _galaxy("build", "--output-path", str(output), cwd=ROOT)
    (archive,) = output.glob(_ARCHIVES)
    return archive


def install(*what: str, to: Path, cwd: Path) -> None:
    """Install an archive, or what a file of requirements lists, into a directory with collections."""
    _galaxy("install", "--offline", "--force", "-p", str(to), *what, cwd=cwd)


def _galaxy(*words: str, cwd: Path) -> None:
    argv = [_GALAXY, "collection", *words]
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise LabError(f"'{' '.join(argv)}' failed: {error}. make venv installs ansible-core") from error
    if done.returncode:
        raise LabError(f"'{' '.join(argv)}' failed: {' '.join((done.stderr or done.stdout).split())}")
