# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The commands and files of the README and the guides, to be used as a reader would."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml
from support import ROOT

_GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
VERSION = _GALAXY["version"]
ARCHIVE = f"{_GALAXY['namespace']}-{_GALAXY['name']}-{VERSION}.tar.gz"
# What a clone does not have. That .collections leads back to the checkout is part of it.
_NOT_CLONED = shutil.ignore_patterns(
    ".git", ".venv", ".cache", ".ansible", "build", "__pycache__", ".*_cache", ".hypothesis"
)


def blocks(language: str, page: str = "README.md") -> list[tuple[str, str]]:
    """Return the blocks of this language on a page, each with the heading that it is under."""
    found = []
    heading = ""
    # A comment in a block looks like a heading.
    pattern = r"(?m)^#+ (?P<heading>.*)$|^```(?P<language>\w*)\n(?P<block>(?:.*\n)*?)^```$"
    for match in re.finditer(pattern, (ROOT / page).read_text(encoding="utf-8")):
        heading = match["heading"] or heading
        if match["language"] == language:
            found.append((heading, match["block"]))
    return found


def commands(heading: str, page: str = "README.md") -> list[list[str]]:
    """Return the commands under a heading, those of each block."""
    return [block.splitlines() for under, block in blocks("sh", page) if under == heading]


def file(heading: str, page: str = "README.md") -> str:
    """Return the one file that is shown under a heading."""
    (text,) = [block for under, block in blocks("yaml", page) if under == heading]
    return text


class Reader:
    """Somebody with a home directory, a clone and a directory of playbooks."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        self.clone = home / "clone"
        self.project = home / "project"
        shutil.copytree(ROOT, self.clone, symlinks=True, ignore=_NOT_CLONED)
        self.project.mkdir()

    def types(self, line: str, directory: pathlib.Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line in a shell, in this directory."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment.update(
            HOME=str(self.home),
            ANSIBLE_NOCOLOR="1",
            PATH=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        )
        done = subprocess.run(
            ["sh", "-c", line], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        if check:
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done

    def installs(self) -> str:
        """Do what "Install" says, and return the output of the last command."""
        in_clone, in_project = commands("Install")
        for line in in_clone:
            self.types(line, self.clone)
        shutil.copy(self.clone / "build" / ARCHIVE, self.project)
        (self.project / "requirements.yml").write_text(file("Install"), encoding="utf-8")
        return "".join(self.types(line, self.project).stdout for line in in_project)
