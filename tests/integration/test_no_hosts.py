# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Playbooks that look at no host, because there is none or none can be looked at, of the built collection."""

from __future__ import annotations

import json
import os
import pathlib
import re
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


BROKEN = {"ansible_become_password": "{{ not_in_the_vault }}"}
SAME = {"mac": "52:54:00:00:00:01"}
# A blank in a name must not hide a host.
HOSTS: dict[str, dict[str, t.Any]] = {
    "hv1": {"macvtap_domains_interfaces": [{"domain": "web1", **SAME}]},
    "rack 2": {"macvtap_domains_interfaces": [{"domain": "web2", **SAME}]},
}


def preflight(play: Play, directory: pathlib.Path, *broken: str) -> tuple[subprocess.CompletedProcess[str], t.Any]:
    """Run it while Ansible fails on some hosts before it connects; return what it wrote, too."""
    hosts = {name: {**own, **(BROKEN if name in broken else {})} for name, own in HOSTS.items()}
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = directory / "inventory.json"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": common}}))
    (directory / "found.json").write_text('{"state": "ok"}')
    # In the directory of the command, not in that of the collection.
    done = play("preflight", "-i", str(inventory), "-e", "macvtap_preflight_json=found.json")
    return done, json.loads((directory / "found.json").read_text())


@pytest.mark.parametrize("broken", HOSTS)
def test_a_host_on_which_no_module_can_run_is_compared_and_named(
    play: Play, tmp_path: pathlib.Path, broken: str
) -> None:
    done, found = preflight(play, tmp_path, broken)
    assert done.returncode != 0
    assert "52:54:00:00:00:01 is used twice on one network" in done.stdout
    assert f"Not checked: {broken}: could not be checked: " in done.stdout
    assert (found["by_host"][broken]["state"], list(found["by_host"])) == ("failed", list(HOSTS))
    assert re.search("PLAY .Stop at conflicts.(.|\\n)*fatal: ", done.stdout), done.stdout


def test_no_earlier_outcome_stays_if_no_module_can_run_anywhere(play: Play, tmp_path: pathlib.Path) -> None:
    done, found = preflight(play, tmp_path, *HOSTS)
    assert done.returncode != 0
    assert (found["state"], found["by_host"]) == ("failed", {})
