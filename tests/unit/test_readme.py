# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The README's commands that need no hypervisor. tests/integration/test_readme.py has the others."""

from __future__ import annotations

import pathlib
import re

import pytest
import readme
import yaml
from support import ROOT

# Which test runs the commands under a heading. CI runs `make test` itself.
RUN_BY = {
    "Install": "test_what_install_says_installs_the_collection",
    "Modules": "test_what_install_says_installs_the_collection",
    "A first playbook": "tests/integration/test_readme.py",
    "A fleet": "tests/integration/test_readme.py",
    "What happens when an entry is deleted": "tests/integration/test_readme.py",
    "Try it": "tests/integration/test_readme.py and .ci/run",
}


def test_every_command_is_run_by_a_test() -> None:
    assert {heading for heading, _block in readme.blocks("sh")} == set(RUN_BY)
    # No command is in a block that is not checked.
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^```(\w+)$", shown)) == {"sh", "yaml"}
    assert not re.findall(r"(?m)^    \S", re.sub(r"(?ms)^```.*?^```$", "", shown))


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in readme.commands("Try it")[0]
    assert "exec make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_archive_has_the_version_of_the_collection() -> None:
    for name in ("README.md", "docs/example/collections/requirements.yml"):
        named = set(re.findall(r"linuxvirt-macvtap-[\w.-]+\.tar\.gz", (ROOT / name).read_text(encoding="utf-8")))
        assert named == {readme.ARCHIVE}


def test_the_install_command_installs_the_collection(tmp_path: pathlib.Path) -> None:
    reader = readme.Reader(tmp_path)
    assert f"linuxvirt.macvtap:{readme.VERSION} was installed successfully" in reader.installs()
    assert (tmp_path / ".ansible/collections/ansible_collections/linuxvirt/macvtap/MANIFEST.json").exists()
    ((command,),) = readme.commands("Modules")
    assert "source" in reader.types(command, reader.project).stdout


def test_the_same_command_upgrades_an_older_version(tmp_path: pathlib.Path) -> None:
    reader = readme.Reader(tmp_path)
    current = [
        (path, path.read_text(encoding="utf-8")) for path in (reader.clone / "galaxy.yml", reader.clone / "README.md")
    ]
    galaxy = current[0][0]
    galaxy.write_text(galaxy.read_text(encoding="utf-8").replace(readme.VERSION, "0.1.0"), encoding="utf-8")
    reader.types("make build", reader.clone)
    older = readme.ARCHIVE.replace(readme.VERSION, "0.1.0")
    reader.types(f"ansible-galaxy collection install {reader.clone}/build/{older}", reader.project)
    for path, text in current:
        path.write_text(text, encoding="utf-8")
    assert f"linuxvirt.macvtap:{readme.VERSION} was installed successfully" in reader.installs()
    assert f"linuxvirt.macvtap {readme.VERSION}" in " ".join(
        reader.types("ansible-galaxy collection list linuxvirt.macvtap", reader.project).stdout.split()
    )


@pytest.mark.parametrize(("example", "shown"), [("group_vars/hypervisors.yml", 0), ("host_vars/hv1.yml", 1)])
def test_the_inventory_that_is_shown_is_that_of_the_example(example: str, shown: int) -> None:
    part = yaml.safe_load(re.split(r"(?m)^# inventory/.*\n", readme.file("A fleet"))[shown + 1])
    whole = yaml.safe_load((ROOT / "docs/example/inventory" / example).read_text(encoding="utf-8"))
    assert part.items() <= whole.items()
