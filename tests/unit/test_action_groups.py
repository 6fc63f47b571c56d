# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Action groups: every option that a group is documented with is in all of its modules."""

from __future__ import annotations

import importlib
import re
import typing as t

import pytest
import yaml
from support import MODULES, ROOT, documented

from ansible_collections.linuxvirt.macvtap.plugins.doc_fragments.attributes import ModuleDocFragment

PREFIX = "linuxvirt.macvtap."
GROUPS: dict[str, list[str]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["action_groups"]


def shown() -> dict[str, tuple[list[str], list[str]]]:
    """Return the modules and the options of each group in the README's table."""
    rows = re.findall(
        rf"(?m)^\| `group/{re.escape(PREFIX)}(\w+)` \| (.*) \| (.*) \|$", (ROOT / "README.md").read_text()
    )
    return {name: (re.findall(r"`(\w+)`", modules), re.findall(r"`(\w+)`", options)) for name, modules, options in rows}


def module_of(name: str) -> t.Any:
    return importlib.import_module(f"{MODULES}.{name}")


def fragments(name: str) -> set[str]:
    return set(yaml.safe_load(module_of(name).DOCUMENTATION)["extends_documentation_fragment"])


def test_the_readme_shows_the_groups_with_their_modules() -> None:
    assert {name: modules for name, (modules, _options) in shown().items()} == GROUPS


@pytest.mark.parametrize(("group", "module"), [(group, module) for group, names in GROUPS.items() for module in names])
def test_a_module_has_all_options_of_its_group_and_says_so(group: str, module: str) -> None:
    options = shown()[group][1]
    found = documented(module_of(module))
    assert [option for option in options if option not in found] == []
    # One meaning for all modules.
    first = documented(module_of(GROUPS[group][0]))
    assert [found[option]["type"] for option in options] == [first[option]["type"] for option in options]
    text = yaml.safe_load(getattr(ModuleDocFragment, group.upper()))["attributes"]["action_group"]
    assert re.findall(r"O\((\w+)\)", text["description"]) == options
    assert text["membership"] == [f"{PREFIX}{group}"]
    assert f"{PREFIX}attributes.{group}" in fragments(module)


def test_no_other_module_says_that_it_is_in_a_group() -> None:
    named = {group: f"{PREFIX}attributes.{group}" for group in GROUPS}
    modules = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
    claimed = {group: [name for name in modules if fragment in fragments(name)] for group, fragment in named.items()}
    assert claimed == {group: sorted(names) for group, names in GROUPS.items()}
