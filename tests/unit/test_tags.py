# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The tags of the playbooks: each selects one part, and nothing else."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml
from support import ROOT

ROLES = {
    "kernel": "macvtap_kernel",
    "guard": "macvtap_guard",
    "links": "macvtap_links",
    "networks": "macvtap_networks",
    "domains": "macvtap_domains",
    "host_access": "macvtap_host_access",
}
PLAYBOOKS = ("site", "teardown")


class Task(t.NamedTuple):
    role: str  # "" for a task of the playbook itself
    name: str
    tags: frozenset[str]


@functools.lru_cache
def tasks() -> dict[str, list[Task]]:
    """Return the tasks of each playbook, as Ansible lists them."""
    program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
    command = [program, "--list-tasks", *(f"playbooks/{name}.yml" for name in PLAYBOOKS)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[Task]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("playbook: "):
            current = found[pathlib.Path(line).stem] = []
        match = re.fullmatch(r"      (?:linuxvirt\.macvtap\.(\w+) : )?(.*?)\tTAGS: \[(.*)\]", line)
        if match:
            role = match[1] or including().get(match[2], "")
            current.append(Task(role, match[2], frozenset(match[3].split(", ")) - {""}))
    return found


@functools.lru_cache
def including() -> dict[str, str]:
    """Return the roles of the tasks that include another role, by the tasks' names: Ansible lists them without."""
    return {
        task["name"]: path.parts[-3]
        for path in ROOT.glob("roles/*/tasks/*.yml")
        for task in yaml.safe_load(path.read_text(encoding="utf-8")) or ()
        if "ansible.builtin.include_role" in task
    }


def selected(playbook: str, tag: str) -> list[Task]:
    """Return the tasks that run only because of this tag."""
    return [task for task in tasks()[playbook] if tag in task.tags and "always" not in task.tags]


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_task_has_a_tag(playbook: str) -> None:
    assert [task for task in tasks()[playbook] if not task.tags] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
@pytest.mark.parametrize("tag", ROLES)
def test_the_tag_of_a_role_selects_that_role(playbook: str, tag: str) -> None:
    if (playbook, tag) == ("teardown", "kernel"):
        assert selected(playbook, tag) == []
        return
    whole = [task for task in tasks()[playbook] if task.role == ROLES[tag] and "always" not in task.tags]
    assert whole
    assert selected(playbook, tag) == whole


@pytest.mark.parametrize(
    ("tag", "playbook", "names"),
    [
        (
            "vlans",
            "site",
            ["Make the VLAN links persistent", "Manage VLAN links", "Remove VLAN links that are declared absent"],
        ),
        (
            "vlans",
            "teardown",
            ["Remove the declared VLAN links", "Remove the persistent configuration of the declared VLAN links"],
        ),
        (
            "persistence",
            "site",
            [
                "Refuse a purge without a group",
                "Make the links persistent",
                "Make the VLAN links persistent",
                "Make the MAC addresses of new links persistent",
                "Make the host interfaces persistent",
                "Remove the persistent configuration of undeclared host interfaces",
                "Make the addresses of new host interfaces persistent",
            ],
        ),
        (
            "persistence",
            "teardown",
            [
                "Remove the persistent configuration of the host interfaces",
                "Remove the persistent configuration of the declared links",
                "Remove the persistent configuration of the declared VLAN links",
            ],
        ),
    ],
)
def test_a_tag_of_a_part_selects_that_part(tag: str, playbook: str, names: list[str]) -> None:
    assert [task.name for task in selected(playbook, tag)] == names


def test_the_readme_shows_all_tags() -> None:
    shown = re.findall(r"(?m)^\| `(\w+)` \| .* \| .* \|$", section("Tags"))
    known = {tag for found in tasks().values() for task in found for tag in task.tags} - {"always"}
    assert sorted(shown) == sorted(known)


def section(heading: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?ms)^### {re.escape(heading)}$(.*?)(?=^##)", text)
    return str(found)


def plays(playbook: str) -> list[dict[str, t.Any]]:
    found = yaml.safe_load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"))
    return [play for play in found if "ansible.builtin.import_playbook" not in play]


@pytest.mark.parametrize("playbook", ["preflight", "verify", "show", "report", "evacuate", "return"])
def test_no_strategy_of_the_user_lets_hosts_run_ahead_of_what_all_have_to_pass(playbook: str) -> None:
    """With another strategy, Ansible ignores run_once and any_errors_fatal."""
    needing = [
        play
        for play in plays(playbook)
        if play.get("any_errors_fatal") or play.get("serial") or "run_once" in json.dumps(play)
    ]
    assert needing
    assert {play.get("strategy") for play in needing} == {"ansible.builtin.linear"}


@pytest.mark.parametrize("playbook", ["preflight", "show", "report"])
def test_no_tag_leaves_a_look_at_the_fleet_out(playbook: str) -> None:
    assert {play.get("tags") for play in plays(playbook)} == {"always"}
