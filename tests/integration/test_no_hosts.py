# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Playbooks that look at no host, because there is none or none can be looked at, of the built collection."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import installed
import pytest

Play = t.Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    collections = installed.collections(tmp_path_factory.getbasetemp() / "installed")
    home = str(tmp_path_factory.mktemp("home"))
    return {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": home, "ANSIBLE_NOCOLOR": "1"}


@pytest.fixture
def play(environment: dict[str, str], tmp_path: pathlib.Path) -> Play:
    def run(playbook: str, *more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "ansible", "playbook", f"linuxvirt.macvtap.{playbook}", *more]
        variables = {**environment, "PWD": str(tmp_path)}
        return subprocess.run(argv, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run


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
def test_a_run_without_any_host_is_a_failure(play: Play, playbook: str, more: tuple[str, ...], message: str) -> None:
    done = play(playbook, "-i", os.devnull, *more)
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())


def test_the_controller_itself_may_be_the_only_host(play: Play) -> None:
    done = play("verify", "-i", os.devnull, "-e", "macvtap_hosts=localhost", "--list-hosts")
    assert "localhost" in done.stdout.split()
    assert done.returncode == 0


def test_a_host_on_which_not_even_a_module_can_run_is_compared_and_counted(play: Play, tmp_path: pathlib.Path) -> None:
    nic = {"domain": "web1", "mac": "52:54:00:00:00:01"}
    # Ansible fails before it connects. A blank in a name must not hide a host either.
    hosts = {name: {"macvtap_domains_interfaces": [{**nic, "domain": name}]} for name in ("hv1", "rack 2")}
    common = {"ansible_connection": "local", "ansible_become_password": "{{ not_in_the_vault }}"}
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": common}}))
    done = play("preflight", "-i", str(inventory), "-e", "macvtap_preflight_json=found.json")
    assert done.returncode != 0
    assert "52:54:00:00:00:01 is used twice on one network" in done.stdout
    assert "Not checked: hv1, rack 2: could not be checked: " in done.stdout
    assert "No host could be checked. The table above has the reasons" in done.stdout + done.stderr
    # In the directory of the command, not in that of the collection.
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["state"], list(found["by_host"])) == ("failed", ["hv1", "rack 2"])
