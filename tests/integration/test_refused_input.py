# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Variables that a role refuses, and tags that select nothing: the playbooks fail before a role runs.

With the built collection, and this machine in the place of the hypervisors. Nothing may be changed on it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t

import installed
import pytest
import yaml

if t.TYPE_CHECKING:
    import pathlib

Variables = t.Dict[str, t.Any]
WRONG: dict[str, Variables] = {
    "n1": {"macvtap_host_access_persistence": "ifupdwn", "macvtap_domains_timeout": "soon", "macvtap_links_tap": 5},
    "n2": {"macvtap_domains_interfaces": None},
    "n3": {"macvtap_domains_uri": ["a"], "macvtap_kernel_state": "laoded", "macvtap_networks_force": "perhaps"},
}
LINK: Variables = {"macvtap_links_links": [{"name": "mvref0", "mac": "52:54:00:00:00:01", "persistence": "none"}]}
# A playbook of a user's, with a play of its own.
IMPORTING = """
- ansible.builtin.import_playbook: linuxvirt.macvtap.verify
- hosts: hypervisors
  gather_facts: false
  tasks: [{ansible.builtin.debug: {msg: a play of its own}, tags: web}]
"""


class Controller:
    """Where playbooks run, with an inventory of hosts that are this machine."""

    def __init__(self, directory: pathlib.Path, collections: pathlib.Path) -> None:
        self.directory = directory
        more = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(directory), "ANSIBLE_NOCOLOR": "1"}
        self._environment = {**os.environ, **more}

    def play(self, playbook: str, hosts: t.Mapping[str, Variables], *more: str) -> tuple[int, str]:
        """Return the exit code and what was shown."""
        common = {"ansible_connection": "local", "ansible_become": False, "macvtap_uplink": "lo"}
        common["ansible_python_interpreter"] = "/usr/bin/python3"
        inventory = self.directory / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"hypervisors": {"vars": common, "hosts": dict(hosts)}}), encoding="utf-8")
        argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), playbook, *more]
        done = subprocess.run(
            argv, cwd=self.directory, env=self._environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def controller(tmp_path: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    return Controller(tmp_path, installed.collections(tmp_path_factory.getbasetemp() / "installed"))


def roles(shown: str) -> set[str]:
    """Return the roles of which a task has run."""
    return set(re.findall(r"^TASK \[linuxvirt\.macvtap\.(\w+) : ", shown, re.MULTILINE))


def test_preflight_and_verify_name_each_variable_that_a_role_refuses_once(controller: Controller) -> None:
    for playbook in ("preflight", "verify"):
        code, shown = controller.play(f"linuxvirt.macvtap.{playbook}", WRONG)
        assert code == 2, shown
        (table,) = re.findall(r'"msg": \[\n(.*?)\n    \]', shown, re.DOTALL)
        for name in (name for variables in WRONG.values() for name in variables):
            assert table.count(f"{name}: ") == 1, table
        assert "'soon' is not a whole number" in table
        assert "must be a dictionary, not 5" in table
        assert "macvtap_domains_interfaces: has no value" in table
        # Neither of Ansible's own words, nor what the module makes of such a value.
        assert not re.findall(r"iterable|no len\(\)|unable to convert|value of \w+ must be one of", shown)
        assert "0 of 3 hosts ok" in shown


@pytest.mark.parametrize(
    ("playbook", "more"),
    [
        ("site", ()),
        ("site", ("-e", "macvtap_preflight=false")),
        # Ansible checks the variables of a role with any tags.
        ("site", ("-e", "macvtap_preflight=false", "--tags", "links")),
        ("teardown", ()),
        ("teardown", ("--tags", "host_access")),
    ],
)
def test_what_the_last_role_refuses_stops_the_playbook_before_the_first_one(
    controller: Controller, playbook: str, more: tuple[str, ...]
) -> None:
    wrong = {**LINK, "macvtap_domains_timeout": "soon"}
    code, shown = controller.play(f"linuxvirt.macvtap.{playbook}", {"n1": wrong}, "--check", *more)
    assert code == 2, shown
    assert "macvtap_domains_timeout: 'soon' is not a whole number" in shown
    assert roles(shown) <= {"macvtap_preflight"}


@pytest.mark.parametrize(
    ("playbook", "tags", "message"),
    [
        ("site", ("--tags", "lnks"), "'lnks' selects nothing of site, verify and teardown; did you mean links?"),
        ("verify", ("--tags", "lnks"), "'lnks' selects nothing of site, verify and teardown; did you mean links?"),
        ("teardown", ("--tags", "lnks"), "'lnks' selects nothing of site, verify and teardown; did you mean links?"),
        (
            "verify",
            ("--tags", "never"),
            "'never' selects nothing of site, verify and teardown. Their tags are kernel, ",
        ),
        ("verify", ("--skip-tags", "all"), "--skip-tags all leaves nothing of site, verify and teardown"),
    ],
)
def test_tags_that_select_nothing_are_no_success(
    controller: Controller, playbook: str, tags: tuple[str, ...], message: str
) -> None:
    report = controller.directory / "outcome.json"
    written = f"macvtap_verify_json={report}"
    code, shown = controller.play(f"linuxvirt.macvtap.{playbook}", {"n1": {}}, "--check", "-e", written, *tags)
    assert code == 2, shown
    assert f"tags: {message}" in shown
    assert not re.search(r"n1: as declared|[1-9] of 1 host ok", shown)
    assert playbook != "verify" or json.loads(report.read_text())["state"] == "failed"


@pytest.mark.parametrize(
    "tags", [("--tags", "links"), ("--tags", "all"), ("--tags", "tagged"), ("--tags", "lnks,links")]
)
def test_tags_that_select_a_part_are_as_before(controller: Controller, tags: tuple[str, ...]) -> None:
    _code, shown = controller.play("linuxvirt.macvtap.site", {"n1": {}}, "--check", *tags)
    assert "selects nothing" not in shown
    assert "n1: as declared" in shown


def test_tags_of_a_play_beside_these_stop_nothing_and_say_nothing_untrue(controller: Controller) -> None:
    playbook = controller.directory / "mine.yml"
    playbook.write_text(IMPORTING, encoding="utf-8")
    code, shown = controller.play(str(playbook), {"n1": {}}, "--tags", "web")
    assert code == 0, shown
    assert "a play of its own" in shown
    assert "n1: failed: tags: 'web' selects nothing of site, verify and teardown" in shown
    assert "0 of 1 host ok" in shown
    code, shown = controller.play(str(playbook), {"n1": {}}, "--tags", "lnks")
    assert code == 2, shown
    assert "did you mean links?" in shown
