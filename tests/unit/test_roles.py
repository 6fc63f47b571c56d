# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The documentation of every role's variables."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from support import ROOT

ALLOW = "allow_host_disconnect"


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda role: role.name)
def test_every_variable_has_its_default_its_use_and_its_line_in_the_readme(role: pathlib.Path) -> None:
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    # What follows from the host's facts is no value to be documented.
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert {name: spec["default"] for name, spec in specs.items() if "default" in spec} == plain
    readme = (role / "README.md").read_text()
    # The role macvtap_preflight has the variables of the playbooks.
    playbooks = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("plugins/module_utils/_fleet/*.py")]
    # The action plugin libvirt_guest_migrate reads what a destination says of itself.
    playbooks.append(ROOT / "plugins/module_utils/_migration/inventory.py")
    used = "".join(path.read_text() for path in (*role.glob("tasks/*.yml"), *role.glob("vars/main.yml"), *playbooks))
    for name in specs:
        assert f"| `{name}` |" in readme
        assert name in used


@pytest.mark.parametrize("tasks", ["main", "absent"])
@pytest.mark.parametrize("role", ["macvtap_links", "macvtap_host_access"])
def test_what_is_written_for_the_next_boot_is_forced_as_the_links_are(role: str, tasks: str) -> None:
    """Or the next boot would lack what a module has left alone, and what was forced would come back."""
    found: dict[str, list[dict[str, str]]] = {}
    for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/{tasks}.yml").read_text()):
        for module, options in task.items():
            if module.startswith("linuxvirt.macvtap."):
                found.setdefault(module.rpartition(".")[2], []).append(options)
    written = found.pop("macvtap_persistence")
    needed = {name for those in found.values() for options in those for name in options} & {"force", ALLOW}
    assert ALLOW in needed
    assert ("force" in needed) is (role == "macvtap_links")
    for options in written:
        assert {name: options.get(name) for name in needed} == {name: f"{{{{ {role}_{name} }}}}" for name in needed}


def names_set_by(tasks: t.Any) -> set[str]:
    """Return the variables that these tasks or plays set themselves."""
    found = set()
    for task in tasks or ():
        found |= {*task.get("vars", {}), *task.get("ansible.builtin.set_fact", {})}
        # For other jobs.
        found |= {*task.get("ansible.builtin.set_stats", {}).get("data", {})}
        found |= {task["register"]} if "register" in task else set()
        for inner in ("roles", "tasks", "post_tasks", "block", "rescue"):
            found |= names_set_by(task.get(inner))
    return found


@pytest.mark.parametrize("playbook", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda playbook: playbook.name)
def test_every_variable_of_a_playbook_is_in_an_argument_specification(playbook: pathlib.Path) -> None:
    documented: set[str] = set()
    set_here: set[str] = set()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        documented |= set(yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"])
    # One playbook sets a variable of another that it imports.
    for path in (*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")):
        set_here |= names_set_by(yaml.safe_load(path.read_text()))
    # Comments, and names of roles and modules, are no variables.
    text = re.sub(r"(?m)#.*$|linuxvirt\.macvtap\.\w+", "", playbook.read_text())
    used = set(re.findall(r"\bmacvtap_\w+", text))
    assert used
    assert used - documented - set_here == set()


@pytest.mark.parametrize("playbook", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda playbook: playbook.name)
def test_a_playbook_first_refuses_an_inventory_without_hosts(playbook: pathlib.Path) -> None:
    play, *_others = yaml.safe_load(playbook.read_text())
    if "ansible.builtin.import_playbook" in play:
        play, *_others = yaml.safe_load((playbook.parent / play["ansible.builtin.import_playbook"]).read_text())
    first = [task for name in ("pre_tasks", "tasks") for task in play.get(name, ())][:2]
    assert "tasks/inventory.yml" in [task.get("ansible.builtin.import_tasks") for task in first]
    assert "else 'localhost' if groups.all | length == 0 and ansible_limit is not defined else undef(" in play["hosts"]


@pytest.mark.parametrize("file", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*/*/*.yml")))
def test_no_template_is_none_by_itself(file: str) -> None:
    # ansible-core before 2.19 makes it an empty text, which is neither number nor list. Within a dictionary it stays.
    assert not re.findall(r"\w+: [\"']\{\{[^{}]*default\(none\) \}\}", (ROOT / file).read_text())


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda role: role.name)
def test_a_bool_that_comes_as_a_text_is_one(role: pathlib.Path) -> None:
    # `-e key=false` and INI inventories give a text, and "false" is true unless it is converted. Modules convert it.
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    bools = {name for spec in specs.values() for name, option in spec["options"].items() if option["type"] == "bool"}
    for file in (*role.glob("tasks/*.yml"), *role.glob("vars/*.yml")):
        for name in bools:
            tested = rf"\b(?:if|or|and|not|when:)\s+{name}\b(?!\s*\|\s*bool)|\b{name}\s+(?:or|and)\b"
            assert not re.findall(tested, file.read_text()), file.name
