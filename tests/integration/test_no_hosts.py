# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Playbooks that would look at no host, as in a directory without an ansible.cfg, of the built collection."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import installed
import pytest

if t.TYPE_CHECKING:
    import pathlib


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    collections = installed.collections(tmp_path_factory.getbasetemp() / "installed")
    home = str(tmp_path_factory.mktemp("home"))
    return {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": home, "ANSIBLE_NOCOLOR": "1"}


@pytest.mark.parametrize(
    ("playbook", "more", "message"),
    [
        ("site", (), "The inventory has no host, so nothing was looked at"),
        ("verify", (), "The inventory has no host, so nothing was looked at"),
        ("teardown", ("--tags", "domains"), "The inventory has no host, so nothing was looked at"),
        ("evacuate", (), "The inventory has no host, so nothing was looked at"),
        ("verify", ("--limit", "hv1"), "no host of the inventory is in 'hypervisors'"),
        ("return", ("-i", "web1,"), "no host of the inventory is in 'hypervisors'"),
    ],
)
def test_a_run_without_any_host_is_a_failure(
    environment: dict[str, str], tmp_path: pathlib.Path, playbook: str, more: tuple[str, ...], message: str
) -> None:
    argv = [sys.executable, "-m", "ansible", "playbook", f"linuxvirt.macvtap.{playbook}", "-i", os.devnull, *more]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())


def test_the_controller_itself_may_be_the_only_host(environment: dict[str, str], tmp_path: pathlib.Path) -> None:
    argv = [sys.executable, "-m", "ansible", "playbook", "linuxvirt.macvtap.verify", "-i", os.devnull]
    argv += ["-e", "macvtap_hosts=localhost", "--list-hosts"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "localhost" in done.stdout.split()
    assert done.returncode == 0
